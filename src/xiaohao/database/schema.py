"""Every table of the platform, once; SQLite and PostgreSQL are made from the same description.

Units: `*_at` and `*_until` are microseconds since 1970-01-01T00:00:00Z (0 = never where not null);
`*_ms` are milliseconds, `*_s` seconds. `*_sealed` is written by `secrecy.Vault.seal`, `*_key` by
`secrecy.Vault.index`. Platform numbers (X, Y) are not secret and stand in the clear, as `+86…`.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, false, text

from xiaohao.database.base import Serial, metadata
from xiaohao.database.binding_tables import binding_versions, bindings, legs
from xiaohao.database.number_tables import (
    complaints,
    number_history,
    numbers,
    pool_samples,
    pools,
    verifications,
)
from xiaohao.database.recording_tables import recording_deletions, recording_rules, recordings

__all__ = [
    "Serial",
    "api_keys",
    "audit",
    "binding_versions",
    "bindings",
    "call_commands",
    "calls",
    "cdrs",
    "complaints",
    "customers",
    "digests",
    "events",
    "idempotency",
    "leases",
    "legs",
    "marks",
    "metadata",
    "number_history",
    "numbers",
    "pool_samples",
    "pools",
    "recording_deletions",
    "recording_rules",
    "recordings",
    "trunks",
    "verifications",
]

customers = Table(
    "customers",
    metadata,
    Column("id", Text, primary_key=True),  # cus_…
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),  # active | suspended
    Column("webhook_url", Text),
    Column("webhook_secret_sealed", LargeBinary),
    # the secret before, which signs as well for a while
    Column("webhook_old_secret_sealed", LargeBinary),
    Column("webhook_old_secret_until", BigInteger),
    Column("webhook_kinds", Text),  # JSON list of the kinds that are POSTed; null: all
    Column("webhook_cdr_batch", Integer),  # at most so many CDRs in one POST; null: each by itself
    # whether the real name of every A must have been verified before A is bound
    Column("real_names", Boolean, nullable=False, server_default=false()),
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

#: Who looked at what may only be looked at for a reason.
audit = Table(
    "audit",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("key_id", Text),  # key_…
    Column("customer_id", Text),  # whose key; null: the operator's
    Column("action", Text, nullable=False),
    Column("subject", Text),  # masked
    Column("subject_key", LargeBinary),
    Column("subject_sealed", LargeBinary),
    Column("details_sealed", LargeBinary),  # JSON: a reason is a person's text and may name a number
    Index("audit_customer", "customer_id", "seq"),
    sqlite_autoincrement=True,
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
    Column("command", Text, nullable=False),  # hang_up; hang_up_binding, with a binding in the call's place
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
    Column("in_grace", Boolean, nullable=False, server_default=false()),  # after the end of the binding
    Column("acd_ms", BigInteger, nullable=False, server_default="0"),  # how long the ACD had the call
    Column("routing", Text),  # JSON of calls.model.Routed, where the customer was to decide
    Index("cdrs_customer", "customer_id", "seq"),
    # What is searched for comes in the order of the calls' arrival, whatever it is searched by (0099).
    Index("cdrs_received", "received_at", "seq"),
    Index("cdrs_customer_received", "customer_id", "received_at", "seq"),
    Index("cdrs_caller", "caller_key", "received_at", "seq"),
    Index("cdrs_callee", "callee_key", "received_at", "seq"),
    Index("cdrs_dialled", "dialled", "received_at", "seq"),
    Index("cdrs_displayed", "displayed", "received_at", "seq"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),  # evt_…: call id and sequence, found by these two
    Column("customer_id", Text, nullable=False),
    Column("call_id", Text, nullable=False),  # or the number that it tells of
    Column("sequence", BigInteger, nullable=False),  # place in a call's or number's life, order of delivery
    Column("kind", Text, nullable=False),  # call.received …
    Column("occurred_at", BigInteger, nullable=False),
    Column("body_sealed", LargeBinary, nullable=False),  # the JSON that is POSTed
    Column("state", Text, nullable=False),  # due | delivered | dead | unwanted
    Column("due_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("last_error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),
    Column("replayed_at", BigInteger),  # since when it is tried anew
    # Few indexes: each costs every call some written pages.
    Index("events_call", "call_id", "sequence", unique=True),
    Index("events_customer", "customer_id", "seq"),
    Index(
        "events_dead",
        "customer_id",
        "seq",
        sqlite_where=text("state = 'dead'"),
        postgresql_where=text("state = 'dead'"),
    ),
    Index(
        "events_due",
        "customer_id",
        "due_at",
        sqlite_where=text("state = 'due'"),
        postgresql_where=text("state = 'due'"),
    ),
    sqlite_autoincrement=True,
)

#: What both sides compare: a customer's CDRs of an hour, by the end of the call.
digests = Table(
    "digests",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True),  # its first moment
    # the CDRs of the hour stand between these two, among others
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("due_at", BigInteger),  # when it is to be made, or made again; null: it is made
    Column("revision", Integer, nullable=False),  # 0: not made yet
    Column("count", Integer),
    Column("billable_s", BigInteger),
    Column("sha256", Text),
    Column("created_at", BigInteger),
    Index(
        "digests_due",
        "due_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("customer_id", Text, primary_key=True),  # "" for the operator
    Column("key", Text, primary_key=True),  # its blind index, in hex
    # The digest of the request. In the clear, whoever knows all of it but a number could try every number.
    Column("request_sealed", LargeBinary, nullable=False),
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

# A room with many tables describes them beside this page, in the same metadata.
from xiaohao.database import announcer_tables as _announcer_tables  # noqa: E402, F401
from xiaohao.database import billing_tables as _billing_tables  # noqa: E402, F401
from xiaohao.database import call_tables as _call_tables  # noqa: E402, F401
from xiaohao.database import policy_tables as _policy_tables  # noqa: E402, F401
from xiaohao.database import prompt_tables as _prompt_tables  # noqa: E402, F401
from xiaohao.database import routing_tables as _routing_tables  # noqa: E402, F401
from xiaohao.database import trace_tables as _trace_tables  # noqa: E402, F401
