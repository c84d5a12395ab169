"""The part of the first schema that is about recordings."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create the tables."""
    _recordings()
    _recording_rules()
    _recording_deletions()


def _recordings() -> None:
    op.create_table(
        "recordings",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("pool_id", sa.Text()),
        sa.Column("edge_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("announcements", sa.Text()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("failure", sa.Text()),
        sa.Column("path", sa.Text()),
        sa.Column("format", sa.Text()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("sha256", sa.Text()),
        sa.Column("duration_ms", sa.BigInteger()),
        sa.Column("rate", sa.Integer()),
        sa.Column("cut_off", sa.Boolean()),
        sa.Column("codecs_a", sa.Text()),
        sa.Column("codecs_b", sa.Text()),
        sa.Column("voice_ms_a", sa.BigInteger()),
        sa.Column("voice_ms_b", sa.BigInteger()),
        sa.Column("level_a", sa.Float()),
        sa.Column("level_b", sa.Float()),
        sa.Column("picture_bytes", sa.BigInteger()),
        sa.Column("stored_bytes", sa.BigInteger()),
        sa.Column("stored_sha256", sa.Text()),
        sa.Column("audio_key_sealed", sa.LargeBinary()),
        sa.Column("ready_at", sa.BigInteger()),
        sa.Column("delete_at", sa.BigInteger()),
        sa.Column("held_at", sa.BigInteger()),
        sa.Column("hold_reason_sealed", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("call_id"),
    )
    done = "state IN ('ready', 'failed') AND held_at IS NULL"
    for name, columns, condition in (
        ("recordings_due", ["edge_id", "due_at"], "state = 'pending'"),
        ("recordings_failed", ["call_id"], "state = 'failed'"),
        ("recordings_by_rule", ["delete_at"], f"{done} AND delete_at IS NOT NULL"),
        ("recordings_by_default", ["ended_at"], f"{done} AND delete_at IS NULL"),
        ("recordings_deleting", ["call_id"], "state = 'deleting'"),
    ):
        where = sa.text(condition)
        op.create_index(name, "recordings", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("recordings_customer", "recordings", ["customer_id", "call_id"])


def _recording_rules() -> None:
    op.create_table(
        "recording_rules",
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("keep_days", sa.Integer()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("applied_to", sa.Text()),
        sa.PrimaryKeyConstraint("scope_id"),
    )


def _recording_deletions() -> None:
    op.create_table(
        "recording_deletions",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text()),
        sa.Column("asked_by", sa.Text()),
        sa.Column("reason_sealed", sa.LargeBinary()),
        sa.Column("path", sa.Text()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("sha256", sa.Text()),
        sa.Column("stored_bytes", sa.BigInteger()),
        sa.Column("stored_sha256", sa.Text()),
        sa.Column("gone_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("call_id"),
    )
