"""The tables of the inventory, of the same schema as `schema.py`, whose conventions hold here."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    false,
    text,
    true,
)

from xiaohao.database.base import Serial, metadata

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
    Column("routing", Text),  # ask | bindings: who decides its calls; null: as its pool says
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
    Index(
        "numbers_displayed_as",
        "displayed_as",
        sqlite_where=text("displayed_as IS NOT NULL"),
        postgresql_where=text("displayed_as IS NOT NULL"),
    ),
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
    Column("note_sealed", LargeBinary),
    Column("customer_id", Text),
    Column("person_key", LargeBinary),  # whose X it is from now on; null: nobody's
    Column("person_sealed", LargeBinary),
    # whose number it is from now on, and of which pool; of lines that say that (billing_tables.OWNERSHIP)
    Column("owner_id", Text),
    Column("pool_id", Text),
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
    Column("documents_sealed", LargeBinary, nullable=False),  # JSON list of references
    Column("valid_until", BigInteger),
    Column("named_for", Text),  # the customer whose number or person it was when documents were named
    Column("renewal_sealed", LargeBinary),  # JSON: documents and valid_until that wait for the operator
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
    Column("note_sealed", LargeBinary),
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
