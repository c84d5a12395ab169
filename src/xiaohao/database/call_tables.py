"""What stands beside the CDRs, of the same schema as `schema.py`, whose conventions hold here."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text

from xiaohao.database.base import Serial, metadata

#: A CDR stays as it was written; what was wrong in it stands in a row of its own that names what it corrects.
#: Each row holds every field that can be corrected, as they are from then on.
cdr_corrections = Table(
    "cdr_corrections",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),  # cor_…
    Column("call_id", Text, nullable=False),
    Column("number", Integer, nullable=False),  # of the corrections of this call, from 1
    Column("corrects", Text, nullable=False),  # the call for the first one, else the correction before
    Column("customer_id", Text),
    Column("ringing_at", BigInteger),
    Column("answered_at", BigInteger),
    Column("ended_at", BigInteger, nullable=False),
    Column("ended_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sip_code", Integer),
    Column("q850_cause", Integer),
    Column("acd_ms", BigInteger, nullable=False),
    Column("note_sealed", LargeBinary, nullable=False),  # why; a person's text may name a number
    Column("created_by", Text),  # key_…
    Column("created_at", BigInteger, nullable=False),
    # two who correct the same call at once do so one after the other
    Index("cdr_corrections_call", "call_id", "number", unique=True),
    Index("cdr_corrections_customer", "customer_id", "seq"),
    sqlite_autoincrement=True,
)

#: For how many days a customer's CDRs are kept, where that is not the platform's own number.
cdr_retention = Table(
    "cdr_retention",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("days", Integer, nullable=False),  # 0: for ever
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
