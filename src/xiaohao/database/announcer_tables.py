"""The table of callers whom no binding knows, of the same schema as `schema.py` and with its conventions."""

from sqlalchemy import BigInteger, Column, LargeBinary, Table, Text

from xiaohao.database.base import metadata

#: What becomes of a caller whom no binding knows, by customer or by pool.
stranger_terms = Table(
    "stranger_terms",
    metadata,
    Column("scope_id", Text, primary_key=True),  # cus_… | pool_…
    Column("customer_id", Text, nullable=False),
    Column("treatment", Text, nullable=False),  # refuse | announce | last_digits | order_code | hotline
    Column("hotline_sealed", LargeBinary),
    Column("updated_at", BigInteger, nullable=False),
)
