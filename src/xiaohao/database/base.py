"""What every table of the schema is made with."""

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData()

#: `INTEGER PRIMARY KEY` on SQLite (the row id), `BIGSERIAL` on PostgreSQL.
Serial = BigInteger().with_variant(Integer, "sqlite")
