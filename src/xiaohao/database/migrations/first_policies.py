"""The part of the first schema that is about policies."""

import sqlalchemy as sa
from alembic import op

TABLES = (
    "policy_seats",
    "policy_hits",
    "policy_alarms",
    "policy_days",
    "policy_rules",
    "policy_entries",
)


def create() -> None:
    """Create the tables."""
    _entries()
    _rules()
    _days()
    _alarms()
    _counters()


def _entries() -> None:
    op.create_table(
        "policy_entries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("list", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("person_key", sa.LargeBinary(), nullable=False),
        sa.Column("person_sealed", sa.LargeBinary()),
        sa.Column("other_key", sa.LargeBinary(), nullable=False),
        sa.Column("other_sealed", sa.LargeBinary()),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("note_sealed", sa.LargeBinary()),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger()),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("policy_entries_revision", "policy_entries", ["revision", "id"])
    op.create_index("policy_entries_layer", "policy_entries", ["customer_id", "set_by", "id"])
    op.create_index(
        "policy_entries_whom",
        "policy_entries",
        ["customer_id", "set_by", "person_key", "other_key", "prefix"],
        unique=True,
    )
    op.create_index(
        "policy_entries_removed",
        "policy_entries",
        ["removed_at"],
        sqlite_where=sa.text("removed_at IS NOT NULL"),
        postgresql_where=sa.text("removed_at IS NOT NULL"),
    )


def _rules() -> None:
    op.create_table(
        "policy_rules",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Text()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("policy_rules_layer", "policy_rules", ["customer_id", "set_by", "id"])


def _days() -> None:
    op.create_table(
        "policy_days",
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day"),
    )


def _alarms() -> None:
    op.create_table(
        "policy_alarms",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text()),
        sa.Column("per", sa.Text(), nullable=False),
        sa.Column("subject_key", sa.LargeBinary(), nullable=False),
        sa.Column("subject_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("quiet_until", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("blocked_until", sa.BigInteger()),
        sa.Column("lifted_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("policy_alarms_layer", "policy_alarms", ["customer_id", "set_by", "id"])
    op.create_index("policy_alarms_subject", "policy_alarms", ["rule_id", "subject_key", "at"])
    op.create_index("policy_alarms_blocks", "policy_alarms", ["blocked_until"])


def _counters() -> None:
    op.create_table(
        "policy_hits",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "at", "call_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("policy_hits_at", "policy_hits", ["at"])
    op.create_table(
        "policy_seats",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "call_id", "place"),
        sqlite_with_rowid=False,
    )
    op.create_index("policy_seats_call", "policy_seats", ["call_id"])
