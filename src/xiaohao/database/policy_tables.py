"""The tables of policies, of the same schema as `schema.py`, whose conventions hold here.

`set_by` and `customer_id` say whose policy it is; '' stands for all customers. `revision` is the value that
the mark `policies` had when a row was changed, by which switches find what is new. A row that is taken away
stays for a while with its `removed_at`, so that they learn of that, too.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, text

from xiaohao.database.base import metadata

policy_entries = Table(
    "policy_entries",
    metadata,
    Column("id", Text, primary_key=True),  # pen_…
    Column("set_by", Text, nullable=False),  # operator | customer
    Column("customer_id", Text, nullable=False),
    Column("list", Text, nullable=False),  # black | white
    Column("kind", Text, nullable=False),  # person | pair | prefix
    Column("side", Text, nullable=False),  # caller | callee | any
    Column("person_key", LargeBinary, nullable=False),  # x'': none
    Column("person_sealed", LargeBinary),
    Column("other_key", LargeBinary, nullable=False),  # of a pair the one whose number is greater
    Column("other_sealed", LargeBinary),
    Column("prefix", Text, nullable=False),  # '': none
    Column("expires_at", BigInteger),
    Column("note_sealed", LargeBinary),
    Column("created_by", Text),  # key_…
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
    Column("revision", BigInteger, nullable=False),
    Index("policy_entries_revision", "revision", "id"),
    Index(
        "policy_entries_whom",
        "customer_id",
        "set_by",
        "person_key",
        "other_key",
        "prefix",
        unique=True,
    ),
    Index("policy_entries_layer", "customer_id", "set_by", "id"),
    Index(
        "policy_entries_removed",
        "removed_at",
        sqlite_where=text("removed_at IS NOT NULL"),
        postgresql_where=text("removed_at IS NOT NULL"),
    ),
)

policy_rules = Table(
    "policy_rules",
    metadata,
    Column("id", Text, primary_key=True),  # rul_…
    Column("set_by", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("number", Text),  # for calls to this platform number only
    Column("enabled", Boolean, nullable=False),
    Column("spec", Text, nullable=False),  # JSON of policies.model.Spec
    Column("created_by", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("policy_rules_layer", "customer_id", "set_by", "id"),
)

#: What the operator says of days, beside what is published.
policy_days = Table(
    "policy_days",
    metadata,
    Column("day", Text, primary_key=True),  # 2027-02-06
    Column("kind", Text, nullable=False),  # workday | holiday
    Column("name", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

#: Suspicions of fraud, and for how long they block.
policy_alarms = Table(
    "policy_alarms",
    metadata,
    Column("id", Text, primary_key=True),  # alm_…
    Column("rule_id", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("number", Text),  # the rule's: only calls to this platform number are blocked
    Column("per", Text, nullable=False),  # caller | displayed
    Column("subject_key", LargeBinary, nullable=False),
    Column("subject_sealed", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("quiet_until", BigInteger, nullable=False),  # no further alarm of the same before
    Column("found", Text, nullable=False),  # JSON
    Column("blocked_until", BigInteger),
    Column("lifted_at", BigInteger),
    Index("policy_alarms_layer", "customer_id", "set_by", "id"),
    Index("policy_alarms_subject", "rule_id", "subject_key", "at"),
    Index("policy_alarms_blocks", "blocked_until"),
)

#: Calls that were let through, of those whose number somebody limits. `subject` is a keyed hash of whose
#: calls are counted; it is not computed anew with another master key: counting begins anew then.
policy_hits = Table(
    "policy_hits",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("call_id", Text, primary_key=True),
    Index("policy_hits_at", "at"),
    sqlite_with_rowid=False,
)

#: Calls in progress, of those whose number at a time somebody limits.
policy_seats = Table(
    "policy_seats",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("call_id", Text, primary_key=True),
    Column("place", Integer, primary_key=True),  # a call that comes in and leaves over one trunk has two
    Column("at", BigInteger, nullable=False),
    Index("policy_seats_call", "call_id"),
    sqlite_with_rowid=False,
)
