"""The part of the first schema that is about scheme 2."""

import sqlalchemy as sa
from alembic import op

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TABLES = ("routing_answers", "routing_pools", "routings")


def create() -> None:
    """Create the tables."""
    op.create_table(
        "routings",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("terms_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id"),
    )
    op.create_index("ix_routings_version", "routings", ["version"])
    op.create_table(
        "routing_pools",
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("routing", sa.Text()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id"),
    )
    op.create_index("ix_routing_pools_version", "routing_pools", ["version"])
    op.create_table(
        "routing_answers",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("dialled", sa.Text(), nullable=False),
        sa.Column("caller_key", sa.LargeBinary(), nullable=False),
        sa.Column("caller_sealed", sa.LargeBinary()),
        sa.Column("answer_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_routing_answers_expires_at", "routing_answers", ["expires_at"])
    op.create_index(
        "routing_answers_pair",
        "routing_answers",
        ["customer_id", "dialled", "caller_key"],
        unique=True,
    )
