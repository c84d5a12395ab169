"""The tables of prompts and dialogues, of the same schema as `schema.py`, whose conventions hold here.

`owner` is a customer, or "" for the operator, whose prompts all customers share. `revision` is the value of
the mark `prompts` or `graphs` with which a row was changed: whoever knows all before it reads only what came
later.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text

from xiaohao.database.base import metadata

prompts = Table(
    "prompts",
    metadata,
    Column("id", Text, primary_key=True),  # prm_…
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),  # of a deleted one: its id, so that the name is free
    Column("version", Integer, nullable=False),  # the one that is played; 0: it was deleted
    Column("revision", BigInteger, nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("prompts_name", "owner", "name", unique=True),
)

prompt_versions = Table(
    "prompt_versions",
    metadata,
    Column("prompt_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("source", Text, nullable=False),  # upload | text
    Column("texts_sealed", LargeBinary),  # JSON: language → text, of a text
    Column("languages", Text, nullable=False),  # JSON list
    Column("sha256", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("loudness", Text, nullable=False),  # LUFS
    Column("audio", LargeBinary, nullable=False),  # WAV, 8 kHz, one channel, 16 bit
    Column("created_by", Text),  # key_…
    Column("created_at", BigInteger, nullable=False),
)

#: Which prompt is played in a situation.
prompt_choices = Table(
    "prompt_choices",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("pool_id", Text, primary_key=True),  # "": wherever no pool says otherwise
    Column("situation", Text, primary_key=True),
    Column("prompt_id", Text),  # null: none any more
    Column("revision", BigInteger, nullable=False, index=True),
    Column("updated_at", BigInteger, nullable=False),
    Index("prompt_choices_prompt", "prompt_id"),
)

#: Dialogues with callers as data.
graphs = Table(
    "graphs",
    metadata,
    Column("id", Text, primary_key=True),  # gra_…
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),  # of a deleted one: its id
    Column("document_sealed", LargeBinary),  # JSON: it may name a real number; null: it was deleted
    Column("revision", BigInteger, nullable=False, index=True),
    Column("created_by", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("graphs_name", "owner", "name", unique=True),
)

#: Which dialogue a caller is led through.
graph_choices = Table(
    "graph_choices",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("occasion", Text, primary_key=True),  # ivr.model.Occasion
    Column("pool_id", Text, primary_key=True),  # "" with `number` "": wherever nothing else is said
    Column("number", Text, primary_key=True),
    Column("graph", Text),  # gra_…, or the name of a built-in one; null: none any more
    Column("revision", BigInteger, nullable=False, index=True),
    Column("updated_at", BigInteger, nullable=False),
    Index("graph_choices_graph", "graph"),
)
