"""The tables of bindings, of the same schema as `schema.py`, whose conventions hold here."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, false, text

from xiaohao.database.base import Serial, metadata

#: Makes the bindings of a pair different from one another, but for two live ones; the live one is the last.
PAIR_TURN: Final = "(CASE WHEN state = 'live' THEN 9223372036854775807 ELSE seq END)"
#: live bindings in which A dials their own X to reach one B
AX_WITH_B: Final = "state = 'live' AND mode = 'ax' AND b_key IS NOT NULL"

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
    Column("x_recycle_until", BigInteger),  # of X alone
    Column("y_recycle_until", BigInteger),
    Column("x_grace_until", BigInteger),  # so long X connected the pair after the end; null: it did not
    Column("y_grace_until", BigInteger),
    Column("record", Boolean, nullable=False),
    Column("max_duration_s", Integer),
    Column("prompts", Text),  # JSON
    Column("order_ref", Text),
    Column("user_data", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("bindings_customer", "customer_id", "seq"),
    # A pair has one live binding (two requests at the same moment: the second one finds the pair taken) and
    # any number of ended ones: one index for both, as each costs every new binding a page at a random place.
    # The person comes first: whoever means this index writes `customer_id` so that no index is found by it.
    Index("bindings_pair", "a_key", "b_key", "customer_id", text(PAIR_TURN), unique=True),
    # who was behind this number at this second?
    Index("bindings_x", "x", "created_at"),
    Index("bindings_y", "y", "created_at"),
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
    # Whom A of mode AX reaches, and who dials nothing: is this the real number of somebody?
    Index(
        "bindings_ax_b",
        "b_key",
        sqlite_where=text(AX_WITH_B),
        postgresql_where=text(AX_WITH_B),
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
#: With row ids on SQLite: only the keys lie at random places then, a hundred to a page, and rows come one
#: behind the other (decision 0111).
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
)
