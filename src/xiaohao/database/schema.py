"""Every table of the platform, once; SQLite and PostgreSQL are made from the same description.

Units: `*_at` and `*_until` are microseconds since 1970-01-01T00:00:00Z (0 = never where not null);
`*_ms` are milliseconds, `*_s` seconds. `*_sealed` is written by `secrecy.Vault.seal`, `*_key` by
`secrecy.Vault.index`. Platform numbers (X, Y) are not secret and stand in the clear, as `+86…`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData()

#: `INTEGER PRIMARY KEY` on SQLite (the row id), `BIGSERIAL` on PostgreSQL.
Serial = BigInteger().with_variant(Integer, "sqlite")

customers = Table(
    "customers",
    metadata,
    Column("id", Text, primary_key=True),  # cus_…
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # active | suspended
    Column("webhook_url", Text),
    Column("webhook_secret_sealed", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),  # key_…
    Column("customer_id", Text, index=True),  # null: the operator
    Column("digest", LargeBinary, nullable=False, unique=True),  # SHA-256 of the whole key
    Column("label", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

trunks = Table(
    "trunks",
    metadata,
    Column("id", Text, primary_key=True),  # trk_…
    Column("name", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),  # active | disabled
    Column("spec_sealed", LargeBinary, nullable=False),  # JSON of trunks.model.TrunkSpec
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False, index=True),
)

pools = Table(
    "pools",
    metadata,
    Column("id", Text, primary_key=True),  # pool_…
    Column("customer_id", Text, index=True),  # null: shared
    Column("name", Text, nullable=False),
    Column("recycle_s", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

numbers = Table(
    "numbers",
    metadata,
    Column("number", Text, primary_key=True),  # canonical, +86…
    Column("kind", Text, nullable=False),  # 400 | landline | mobile | 95 | 700 | foreign
    Column("city", Text),  # area code without the leading 0
    Column("state", Text, nullable=False),  # available | in_service | suspended | retired
    Column("customer_id", Text),
    Column("pool_id", Text),
    Column("trunk_id", Text),  # the trunk that owns it
    # An X is one person's alone (null together); `fixed`: it stays theirs when no binding is left.
    Column("assigned_to_key", LargeBinary, index=True),
    Column("assigned_to_sealed", LargeBinary),
    Column("assigned_by", Text),  # the customer whose person it is
    Column("fixed", Boolean, nullable=False, server_default=false()),
    Column("last_used_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # with the number at its end: an order without ties costs the same in a pool of any size
    Index("numbers_allocation", "pool_id", "state", "last_used_at", "number"),
    Index("numbers_customer", "customer_id", "number"),
)

bindings = Table(
    "bindings",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),  # bnd_…
    Column("customer_id", Text, nullable=False),
    Column("mode", Text, nullable=False),  # AXYB
    Column("state", Text, nullable=False),  # live | released | expired
    Column("a_key", LargeBinary, nullable=False),
    Column("a_sealed", LargeBinary, nullable=False),
    Column("b_key", LargeBinary, nullable=False),
    Column("b_sealed", LargeBinary, nullable=False),
    Column("x", Text, nullable=False),
    Column("y", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("recycle_until", BigInteger),
    Column("record", Boolean, nullable=False),
    Column("max_duration_s", Integer),
    Column("order_ref", Text),
    Column("user_data", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("bindings_customer", "customer_id", "seq"),
    Index("bindings_pair", "customer_id", "a_key", "b_key"),
    # two requests for one pair at the same moment: the second one finds the pair taken
    Index(
        "bindings_live_pair",
        "customer_id",
        "a_key",
        "b_key",
        unique=True,
        sqlite_where=text("state = 'live'"),
        postgresql_where=text("state = 'live'"),
    ),
    Index("bindings_expiry", "state", "expires_at"),
    sqlite_autoincrement=True,
)

#: The heart: who may be connected to whom. A leg in quarantine keeps its key until `until`.
legs = Table(
    "legs",
    metadata,
    Column("caller_key", LargeBinary, primary_key=True),
    Column("dialled", Text, primary_key=True),
    Column("binding_id", Text, nullable=False, index=True),
    Column("customer_id", Text, nullable=False),
    Column("role", Text, nullable=False),  # who dials this leg: a | b
    Column("state", Text, nullable=False),  # live | quarantined
    Column("callee_sealed", LargeBinary, nullable=False),
    Column("display", Text, nullable=False),
    Column("valid_until", BigInteger),  # a live leg past this moment counts as expired
    Column("quarantine_until", BigInteger),
    Column("record", Boolean, nullable=False),
    Column("max_duration_s", Integer),
    Column("order_ref", Text),
    Column("user_data", Text),
    Index("legs_dialled", "dialled"),
    Index("legs_quarantine", "state", "quarantine_until"),
    sqlite_with_rowid=False,
)

#: Calls in progress, so that a machine that stops leaves none without a CDR. The row goes when the CDR comes.
calls = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),  # UUID that begins with the time
    Column("customer_id", Text),
    Column("edge_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # received | ringing | answered
    Column("binding_id", Text),
    Column("dialled", Text, nullable=False),
    Column("displayed", Text),
    Column("received_at", BigInteger, nullable=False),
    Column("answered_at", BigInteger),
    Column("facts_sealed", LargeBinary, nullable=False),  # JSON of calls.model.Call
)

#: What the API asks the switch to do with a live call; the switch takes the row away when it has acted.
call_commands = Table(
    "call_commands",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("call_id", Text, nullable=False),
    Column("command", Text, nullable=False),  # hang_up
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

cdrs = Table(
    "cdrs",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("call_id", Text, nullable=False, unique=True),
    Column("customer_id", Text),  # null: nobody's number was dialled
    Column("binding_id", Text, index=True),
    Column("caller_key", LargeBinary),
    Column("caller_sealed", LargeBinary),
    Column("callee_key", LargeBinary),
    Column("callee_sealed", LargeBinary),
    Column("dialled", Text, nullable=False),
    Column("displayed", Text),
    Column("trunk_in", Text),
    Column("trunk_out", Text),
    Column("received_at", BigInteger, nullable=False),
    Column("ringing_at", BigInteger),
    Column("answered_at", BigInteger),
    Column("ended_at", BigInteger, nullable=False),
    Column("ended_by", Text, nullable=False),  # caller | callee | platform
    Column("reason", Text, nullable=False),  # calls.model.Reason
    Column("sip_code", Integer),
    Column("q850_cause", Integer),
    Column("order_ref", Text),
    Column("user_data", Text),
    Column("tries", Text, nullable=False),  # JSON list of calls.model.Try
    Column("recorded", Boolean, nullable=False),
    Index("cdrs_customer", "customer_id", "seq"),
    Index("cdrs_received", "received_at"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),  # evt_…: call id and sequence, found by these two
    Column("customer_id", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False),  # place of the kind in a call's life, the order of delivery
    Column("kind", Text, nullable=False),  # call.received …
    Column("occurred_at", BigInteger, nullable=False),
    Column("body_sealed", LargeBinary, nullable=False),  # the JSON that is POSTed
    Column("state", Text, nullable=False),  # due | delivered | dead | unwanted
    Column("due_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("last_error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),
    # Few indexes: each costs every call some written pages.
    Index("events_call", "call_id", "sequence", unique=True),
    Index(
        "events_due",
        "customer_id",
        "due_at",
        sqlite_where=text("state = 'due'"),
        postgresql_where=text("state = 'due'"),
    ),
    sqlite_autoincrement=True,
)

recordings = Table(
    "recordings",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("edge_id", Text, nullable=False),  # whose machine holds the capture
    Column("state", Text, nullable=False),  # pending | ready | failed
    Column("received_at", BigInteger, nullable=False),  # the zero of the recording's time line
    Column("ended_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("error", Text),
    Column("path", Text),
    Column("format", Text),  # wav | mp3 | opus
    Column("bytes", BigInteger),
    Column("sha256", Text),
    Column("duration_ms", BigInteger),
    Column("ready_at", BigInteger),
    Index(
        "recordings_due",
        "edge_id",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("customer_id", Text, primary_key=True),  # "" for the operator
    Column("key", Text, primary_key=True),
    Column("request_digest", LargeBinary, nullable=False),
    Column("status", Integer),  # null inside the transaction only that carries the request out
    Column("body_sealed", LargeBinary),
    Column("created_at", BigInteger, nullable=False, index=True),
)

#: A shared counter or mark, e.g. the version of the trunk table that the switches watch.
marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

#: Who of several processes does something that only one may do at a time, e.g. deliver a customer's events.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),  # deliver:cus_…
    Column("owner", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)
