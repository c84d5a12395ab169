"""The part of the first schema that is about the paths of calls."""

import sqlalchemy as sa
from alembic import op

TABLES = ("event_failures", "sip_messages", "call_paths")


def create() -> None:
    """Create the tables."""
    op.create_table(
        "call_paths",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("facts_sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("call_id"),
    )
    op.create_table(
        "sip_messages",
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("cut", sa.Integer(), nullable=False),
        sa.Column("messages_sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", "at"),
    )
    op.create_table(
        "event_failures",
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_seq", "at"),
    )
