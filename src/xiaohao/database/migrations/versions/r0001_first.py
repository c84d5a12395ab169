"""The first schema: customers, numbers, bindings, calls and what follows from them."""

import sqlalchemy as sa
from alembic import op

from xiaohao.database.migrations import (
    first_announcer,
    first_calls,
    first_numbers,
    first_policies,
    first_prompts,
    first_recordings,
    first_routing,
    first_traces,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table."""
    _customers()
    _api_keys()
    _trunks()
    first_numbers.create()
    first_routing.create()
    first_announcer.create()
    _audit()
    _calls()
    _call_commands()
    _cdrs()
    first_calls.create()
    _events()
    _digests()
    first_recordings.create()
    _idempotency()
    _marks()
    _leases()
    first_prompts.create()
    first_policies.create()
    first_traces.create()


def downgrade() -> None:
    """Drop every table."""
    for table in (
        *first_announcer.TABLES,
        *first_routing.TABLES,
        *first_prompts.TABLES,
        *first_policies.TABLES,
        *first_traces.TABLES,
        "leases",
        "marks",
        "idempotency",
        "recording_deletions",
        "recording_rules",
        "recordings",
        "digests",
        "events",
        "cdr_retention",
        "cdr_corrections",
        "cdrs",
        "call_commands",
        "calls",
        "legs",
        "binding_versions",
        "bindings",
        "audit",
        "pool_samples",
        "complaints",
        "verifications",
        "number_history",
        "numbers",
        "pools",
        "trunks",
        "api_keys",
        "customers",
    ):
        op.drop_table(table)


def _customers() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("webhook_url", sa.Text()),
        sa.Column("webhook_secret_sealed", sa.LargeBinary()),
        sa.Column("webhook_old_secret_sealed", sa.LargeBinary()),
        sa.Column("webhook_old_secret_until", sa.BigInteger()),
        sa.Column("webhook_kinds", sa.Text()),
        sa.Column("webhook_cdr_batch", sa.Integer()),
        sa.Column("real_names", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("ix_api_keys_customer_id", "api_keys", ["customer_id"])


def _trunks() -> None:
    op.create_table(
        "trunks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("spec_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index("ix_trunks_updated_at", "trunks", ["updated_at"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text()),
        sa.Column("customer_id", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("subject_key", sa.LargeBinary()),
        sa.Column("subject_sealed", sa.LargeBinary()),
        sa.Column("details_sealed", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_customer", "audit", ["customer_id", "seq"])


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("edge_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("binding_id", sa.Text()),
        sa.Column("dialled", sa.Text(), nullable=False),
        sa.Column("displayed", sa.Text()),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger()),
        sa.Column("facts_sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _call_commands() -> None:
    op.create_table(
        "call_commands",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )


def _cdrs() -> None:
    op.create_table(
        "cdrs",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text()),
        sa.Column("binding_id", sa.Text()),
        sa.Column("caller_key", sa.LargeBinary()),
        sa.Column("caller_sealed", sa.LargeBinary()),
        sa.Column("callee_key", sa.LargeBinary()),
        sa.Column("callee_sealed", sa.LargeBinary()),
        sa.Column("dialled", sa.Text(), nullable=False),
        sa.Column("displayed", sa.Text()),
        sa.Column("trunk_in", sa.Text()),
        sa.Column("trunk_out", sa.Text()),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("ringing_at", sa.BigInteger()),
        sa.Column("answered_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sip_code", sa.Integer()),
        sa.Column("q850_cause", sa.Integer()),
        sa.Column("order_ref", sa.Text()),
        sa.Column("user_data", sa.Text()),
        sa.Column("tries", sa.Text(), nullable=False),
        sa.Column("recorded", sa.Boolean(), nullable=False),
        sa.Column("in_grace", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("acd_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("routing", sa.Text()),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("call_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("cdrs_customer", "cdrs", ["customer_id", "seq"])
    op.create_index("cdrs_received", "cdrs", ["received_at", "seq"])
    op.create_index("cdrs_customer_received", "cdrs", ["customer_id", "received_at", "seq"])
    for name, column in (
        ("cdrs_caller", "caller_key"),
        ("cdrs_callee", "callee_key"),
        ("cdrs_dialled", "dialled"),
        ("cdrs_displayed", "displayed"),
    ):
        op.create_index(name, "cdrs", [column, "received_at", "seq"])
    op.create_index("ix_cdrs_binding_id", "cdrs", ["binding_id"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger()),
        sa.Column("replayed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_call", "events", ["call_id", "sequence"], unique=True)
    op.create_index("events_customer", "events", ["customer_id", "seq"])
    op.create_index(
        "events_dead",
        "events",
        ["customer_id", "seq"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "events_due",
        "events",
        ["customer_id", "due_at"],
        sqlite_where=sa.text("state = 'due'"),
        postgresql_where=sa.text("state = 'due'"),
    )


def _digests() -> None:
    op.create_table(
        "digests",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer()),
        sa.Column("billable_s", sa.BigInteger()),
        sa.Column("sha256", sa.Text()),
        sa.Column("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("customer_id", "hour"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "digests_due",
        "digests",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("body_sealed", sa.LargeBinary()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "key"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def _marks() -> None:
    op.create_table(
        "marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
