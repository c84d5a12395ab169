"""Tables of billing: contracts, usage, invoices, and what is rated anew or compared with a carrier."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


_OWNERSHIP = sa.text("reason IN ('imported', 'moved', 'released_to_pool', 'taken_to_stock', 'retired')")


def upgrade() -> None:
    """Create every table."""
    _contracts()
    _billing_accounts()
    _closed_months()
    _payments()
    _billing_entries()
    _usages()
    _usage_sums()
    _invoices()
    _reratings()
    _reconciliations()
    _reconciliation_items()
    _owners()


def downgrade() -> None:
    """Drop every table."""
    op.drop_index("number_history_owners", "number_history")
    op.drop_index("number_history_owner", "number_history")
    for table in (
        "reconciliation_items",
        "reconciliations",
        "reratings",
        "invoices",
        "usage_sums",
        "usages",
        "billing_entries",
        "payments",
        "closed_months",
        "billing_accounts",
        "contracts",
    ):
        op.drop_table(table)


def _owners() -> None:
    op.create_index(
        "number_history_owner",
        "number_history",
        ["owner_id", "number"],
        sqlite_where=_OWNERSHIP,
        postgresql_where=_OWNERSHIP,
    )
    op.create_index(
        "number_history_owners",
        "number_history",
        ["number", "at"],
        sqlite_where=_OWNERSHIP,
        postgresql_where=_OWNERSHIP,
    )


def _contracts() -> None:
    op.create_table(
        "contracts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("from_month", sa.Integer(), nullable=False),
        sa.Column("to_month", sa.Integer()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("contracts_version", "contracts", ["customer_id", "from_month", "version"], unique=True)


def _billing_accounts() -> None:
    op.create_table(
        "billing_accounts",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("prepaid", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("funds", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spending_limit", sa.BigInteger()),
        sa.Column("warn_below", sa.BigInteger()),
        sa.Column("running_amount", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_amount", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("warned_at", sa.BigInteger()),
        sa.Column("notices", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stopped_at", sa.BigInteger()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id"),
    )


def _closed_months() -> None:
    op.create_table(
        "closed_months",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("invoiced", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("changes", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "month"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "closed_months_due",
        "closed_months",
        ["month"],
        sqlite_where=sa.text("NOT invoiced"),
        postgresql_where=sa.text("NOT invoiced"),
    )


def _payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("payments_customer", "payments", ["customer_id", "created_at"])


def _billing_entries() -> None:
    op.create_table(
        "billing_entries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("billing_entries_month", "billing_entries", ["customer_id", "month", "id"])


def _usages() -> None:
    op.create_table(
        "usages",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("application", sa.Text()),
        sa.Column("order_ref", sa.Text()),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("acd_s", sa.Integer(), nullable=False),
        sa.Column("protections", sa.Integer(), nullable=False),
        sa.Column("recordings", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", "part"),
        sqlite_with_rowid=False,
    )
    op.create_index("usages_order", "usages", ["customer_id", "month", "at", "call_id", "part"])


def _usage_sums() -> None:
    op.create_table(
        "usage_sums",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.BigInteger(), nullable=False),
        sa.Column("acd_s", sa.BigInteger(), nullable=False),
        sa.Column("protections", sa.BigInteger(), nullable=False),
        sa.Column("recordings", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "month", "number"),
        sqlite_with_rowid=False,
    )


def _invoices() -> None:
    op.create_table(
        "invoices",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("number", sa.Text()),
        sa.Column("corrects", sa.Text()),
        sa.Column("contract_id", sa.Text()),
        sa.Column("net_amount", sa.BigInteger(), nullable=False),
        sa.Column("vat_amount", sa.BigInteger(), nullable=False),
        sa.Column("gross_amount", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("document_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger()),
        sa.Column("paid_at", sa.BigInteger()),
        sa.Column("voided_at", sa.BigInteger()),
        sa.Column("note", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index("invoices_corrects", "invoices", ["corrects"])
    op.create_index("invoices_customer", "invoices", ["customer_id", "id"])
    op.create_index(
        "invoices_one_a_month",
        "invoices",
        ["customer_id", "month"],
        unique=True,
        sqlite_where=sa.text("kind = 'invoice' AND state <> 'void'"),
        postgresql_where=sa.text("kind = 'invoice' AND state <> 'void'"),
    )


def _reratings() -> None:
    op.create_table(
        "reratings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("contract_id", sa.Text()),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("reratings_customer", "reratings", ["customer_id", "id"])


def _reconciliations() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("trunk_id", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _reconciliation_items() -> None:
    op.create_table(
        "reconciliation_items",
        sa.Column("reconciliation_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("finding", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer()),
        sa.Column("call_id", sa.Text()),
        sa.Column("number", sa.Text()),
        sa.Column("person_sealed", sa.LargeBinary()),
        sa.Column("at", sa.BigInteger()),
        sa.Column("our_seconds", sa.BigInteger()),
        sa.Column("their_seconds", sa.BigInteger()),
        sa.Column("our_amount", sa.BigInteger()),
        sa.Column("their_amount", sa.BigInteger()),
        sa.PrimaryKeyConstraint("reconciliation_id", "place"),
        sqlite_with_rowid=False,
    )
