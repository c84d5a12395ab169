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
    true,
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

pools = Table(
    "pools",
    metadata,
    Column("id", Text, primary_key=True),  # pool_…
    Column("customer_id", Text, index=True),  # null: shared
    Column("name", Text, nullable=False),
    Column("recycle_s", Integer, nullable=False),
    # an ended binding still connects its pair for so long within the recycle time (lost property); 0: never
    Column("grace_s", Integer, nullable=False, server_default="0"),
    Column("kind", Text),  # the only kind of number taken; null: any
    Column("cities", Text),  # JSON list of area codes; null: any
    Column("city_rule", Text, nullable=False, server_default="strict"),  # strict | nearest
    Column("fallback_cities", Text),  # JSON list, in the order of trying; null: the provincial capital
    Column("choice", Text, nullable=False, server_default="least_recently_used"),  # or sticky
    Column("max_relations", Integer),  # legs that one number may carry; null: as many as fit
    Column("complaints_limit", Integer),  # so many complaints suspend a number; null: never
    Column("complaint_rest_s", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

numbers = Table(
    "numbers",
    metadata,
    Column("number", Text, primary_key=True),  # canonical, +86…
    Column("kind", Text, nullable=False),  # 400 | landline | mobile | 95 | 700 | foreign
    Column("city", Text),  # area code without the leading 0
    Column("carrier", Text),  # whose network it is of
    Column("state", Text, nullable=False),  # in_stock | available | in_service | ageing | suspended | retired
    Column("state_reason", Text),
    Column("state_at", BigInteger, nullable=False, server_default="0"),
    Column("suspended_until", BigInteger),  # null: until it is resumed
    # false: it is only dialled, and `displayed_as` stands on the other's display
    Column("displayable", Boolean, nullable=False, server_default=true()),
    Column("displayed_as", Text),
    Column("dialled_by", Text, nullable=False, server_default="anyone"),  # anyone | domestic
    # Mobile numbers are neither bound nor displayed before they are verified.
    Column("verification", Text, nullable=False, server_default="none"),  # none | pending | verified | …
    Column("verified_until", BigInteger),
    Column("relations", Integer, nullable=False, server_default="0"),  # live legs that are dialled on it
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
    Index(
        "numbers_allocation_city",
        *("pool_id", "city", "state", "last_used_at", "number"),
        sqlite_where=text("city IS NOT NULL"),
        postgresql_where=text("city IS NOT NULL"),
    ),
    Index("numbers_customer", "customer_id", "number"),
)

#: Every change of a number's state and of whose it is.
number_history = Table(
    "number_history",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("number", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("from_state", Text),  # null: it came into the inventory
    Column("to_state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed_by", Text),  # key_…; null: the platform itself
    Column("note", Text),
    Column("customer_id", Text),
    Column("person_key", LargeBinary),  # whose X it is from now on; null: nobody's
    Column("person_sealed", LargeBinary),
    Index("number_history_number", "number", "at"),
    sqlite_autoincrement=True,
)

#: Real names: of a mobile number of the platform, or of a person behind A. References to documents only.
verifications = Table(
    "verifications",
    metadata,
    Column("id", Text, primary_key=True),  # ver_…
    Column("customer_id", Text),
    Column("number", Text, unique=True),
    Column("person_key", LargeBinary),
    Column("person_sealed", LargeBinary),
    Column("state", Text, nullable=False),  # pending | verified | expired | rejected
    Column("documents", Text, nullable=False),  # JSON list of references
    Column("valid_until", BigInteger),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("verifications_person", "customer_id", "person_key", unique=True),
    Index("verifications_due", "state", "valid_until"),
)

complaints = Table(
    "complaints",
    metadata,
    Column("id", Text, primary_key=True),  # cmp_…
    Column("number", Text, nullable=False),
    Column("customer_id", Text),
    Column("at", BigInteger, nullable=False),
    Column("source", Text, nullable=False),  # operator | carrier | customer
    Column("note", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("complaints_number", "number", "at"),
)

#: How a pool stood at an hour: what days-until-exhausted is reckoned from.
pool_samples = Table(
    "pool_samples",
    metadata,
    Column("pool_id", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),  # the beginning of the hour
    Column("usable", Integer, nullable=False),
    Column("assigned", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("resting", Integer, nullable=False),
    Column("free", Integer, nullable=False),
    Column("peak", Integer, nullable=False),  # the most numbers that one person holds, living and resting
    Index("pool_samples_at", "at"),
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

bindings = Table(
    "bindings",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),  # bnd_…
    Column("customer_id", Text, nullable=False),
    Column("mode", Text, nullable=False),  # axyb | axb | ax | axe | x
    Column("state", Text, nullable=False),  # live | released | expired
    Column("parent_id", Text),  # the binding of A and X by which this pair came about on the spot
    Column("a_key", LargeBinary),  # null: mode x
    Column("a_sealed", LargeBinary),
    Column("b_key", LargeBinary),  # null: anyone
    Column("b_sealed", LargeBinary),
    Column("x", Text, nullable=False),
    Column("y", Text),  # null: modes with one number, or not given out yet
    Column("extension", Text),  # mode axe
    Column("direction", Text, nullable=False, server_default="both"),  # both | a_to_b | b_to_a
    Column("y_on_demand", Boolean, nullable=False, server_default=false()),
    Column("y_pool", Text),
    Column("y_life_s", Integer),  # of the pairs that come about on the spot; null: as long as this binding
    Column("expires_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("recycle_until", BigInteger),
    Column("record", Boolean, nullable=False),
    Column("max_duration_s", Integer),
    Column("prompts", Text),  # JSON
    Column("order_ref", Text),
    Column("user_data", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("bindings_customer", "customer_id", "seq"),
    Index("bindings_pair", "customer_id", "a_key", "b_key"),
    # who was behind this number at this second?
    Index("bindings_x", "x", "created_at"),
    Index("bindings_y", "y", "created_at"),
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
    Index(
        "bindings_expiry",
        "expires_at",
        sqlite_where=text("state = 'live'"),
        postgresql_where=text("state = 'live'"),
    ),
    Index(
        "bindings_parent",
        "parent_id",
        sqlite_where=text("parent_id IS NOT NULL"),
        postgresql_where=text("parent_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

#: What a binding said before it was changed; what it says now stands in `bindings`.
binding_versions = Table(
    "binding_versions",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("binding_id", Text, nullable=False, index=True),
    Column("customer_id", Text, nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_until", BigInteger, nullable=False),
    Column("a_key", LargeBinary),
    Column("a_sealed", LargeBinary),
    Column("b_key", LargeBinary),
    Column("b_sealed", LargeBinary),
    Column("x", Text, nullable=False),
    Column("y", Text),
    Column("extension", Text),
    Column("changed_by", Text),  # key_…
    Index("binding_versions_x", "x", "valid_from"),
    Index("binding_versions_y", "y", "valid_from"),
    sqlite_autoincrement=True,
)

#: The heart: who may be connected to whom. A leg in quarantine keeps its key until `quarantine_until`.
#: `caller_key` is a person's blind index (16 bytes), or one of `bindings.model`'s keys for anyone.
legs = Table(
    "legs",
    metadata,
    Column("caller_key", LargeBinary, primary_key=True),
    Column("dialled", Text, primary_key=True),
    Column("binding_id", Text, nullable=False, index=True),
    Column("customer_id", Text, nullable=False),
    Column("role", Text, nullable=False),  # who dials this leg: a | b
    Column("mode", Text, nullable=False),  # of the binding
    Column("state", Text, nullable=False),  # live | quarantined
    Column("barred", Boolean, nullable=False, server_default=false()),  # against the binding's direction
    Column("callee_sealed", LargeBinary),  # null: nobody yet, or the customer is asked
    Column("display", Text),
    Column("valid_until", BigInteger),  # a live leg past this moment counts as expired
    Column("quarantine_until", BigInteger),
    Column("grace_until", BigInteger),  # until then a leg in quarantine still connects
    Column("record", Boolean, nullable=False),
    Column("max_duration_s", Integer),
    Column("prompts", Text),
    Column("order_ref", Text),
    Column("user_data", Text),
    Index("legs_dialled", "dialled"),
    Index(
        "legs_quarantine",
        "quarantine_until",
        sqlite_where=text("state = 'quarantined'"),
        postgresql_where=text("state = 'quarantined'"),
    ),
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
from xiaohao.database import billing_tables as _billing_tables  # noqa: E402, F401
