"""The tables of scheme 2, of the same schema as `schema.py`, whose conventions hold here."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from xiaohao.database.base import Serial, metadata

#: How a customer is asked. `version` grows with every change of any row here or of `routing_pools`.
routings = Table(
    "routings",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("terms_sealed", LargeBinary, nullable=False),  # JSON of routing.model.Terms: URLs, secrets, …
    Column("version", BigInteger, nullable=False, index=True),
    Column("updated_at", BigInteger, nullable=False),
)

#: Pools whose numbers ask, or do not ask although their customer's other numbers do.
routing_pools = Table(
    "routing_pools",
    metadata,
    Column("pool_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("routing", Text),  # ask | bindings | null: as the customer's other numbers
    Column("version", BigInteger, nullable=False, index=True),
)

#: The last good answer for a pair, of customers who want to fall back on it.
routing_answers = Table(
    "routing_answers",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("customer_id", Text, nullable=False),
    Column("dialled", Text, nullable=False),
    Column("caller_key", LargeBinary, nullable=False),  # empty where the caller hid their number
    Column("caller_sealed", LargeBinary),
    Column("answer_sealed", LargeBinary, nullable=False),  # the JSON of the answer
    Column("expires_at", BigInteger, nullable=False, index=True),
    Index("routing_answers_pair", "customer_id", "dialled", "caller_key", unique=True),
    sqlite_autoincrement=True,
)
