"""The tables of the paths of calls, of the same schema as `schema.py`, whose conventions hold here.

A call's id begins with the time, so that what is old is one piece of the primary key and goes cheaply.
"""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from xiaohao.database.base import metadata

#: What was decided about a call that has ended, and how its media were.
call_paths = Table(
    "call_paths",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("facts_sealed", LargeBinary, nullable=False),  # trace.packing: a Path
)

#: SIP messages of a call, those of some seconds in one row.
sip_messages = Table(
    "sip_messages",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),  # of the first one
    Column("count", Integer, nullable=False),
    Column("cut", Integer, nullable=False),  # further ones that were not kept
    Column("messages_sealed", LargeBinary, nullable=False),  # trace.packing: a list of Message
)

#: Tries to deliver an event that failed; the one that did not stands in the event itself.
event_failures = Table(
    "event_failures",
    metadata,
    Column("event_seq", BigInteger, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("error", Text, nullable=False),
)
