"""The part of the first schema that is about prompts and dialogues."""

import sqlalchemy as sa
from alembic import op

#: in the order in which they are dropped
TABLES = ("graph_choices", "graphs", "prompt_choices", "prompt_versions", "prompts")


def create() -> None:
    """Create the tables."""
    _prompts()
    _graphs()


def _prompts() -> None:
    op.create_table(
        "prompts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_prompts_revision", "prompts", ["revision"])
    op.create_index("prompts_name", "prompts", ["owner", "name"], unique=True)
    op.create_table(
        "prompt_versions",
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("texts_sealed", sa.LargeBinary()),
        sa.Column("languages", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("loudness", sa.Text(), nullable=False),
        sa.Column("audio", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("prompt_id", "version"),
    )
    op.create_table(
        "prompt_choices",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("situation", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text()),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "pool_id", "situation"),
    )
    op.create_index("ix_prompt_choices_revision", "prompt_choices", ["revision"])
    op.create_index("prompt_choices_prompt", "prompt_choices", ["prompt_id"])


def _graphs() -> None:
    op.create_table(
        "graphs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document_sealed", sa.LargeBinary()),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_graphs_revision", "graphs", ["revision"])
    op.create_index("graphs_name", "graphs", ["owner", "name"], unique=True)
    op.create_table(
        "graph_choices",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("graph", sa.Text()),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "occasion", "pool_id", "number"),
    )
    op.create_index("ix_graph_choices_revision", "graph_choices", ["revision"])
    op.create_index("graph_choices_graph", "graph_choices", ["graph"])
