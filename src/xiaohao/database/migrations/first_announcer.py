"""The part of the first schema that is about callers whom no binding knows."""

import sqlalchemy as sa
from alembic import op

TABLES = ("stranger_terms",)


def create() -> None:
    """Create the table."""
    op.create_table(
        "stranger_terms",
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("treatment", sa.Text(), nullable=False),
        sa.Column("hotline_sealed", sa.LargeBinary()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope_id"),
    )
