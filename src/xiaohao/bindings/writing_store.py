"""All SQL by which bindings and their legs are written, over a plain connection; reading them is `store.py`.

Who writes several rows takes their locks in one order, so that no two writers wait for each other: people
(advisory), bindings, numbers, legs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Dialect,
    bindparam,
    literal_column,
    or_,
    select,
    text,
)

from xiaohao.bindings import ending_store
from xiaohao.bindings.allocation_store import AT_ONCE, NumberStatements
from xiaohao.bindings.model import BindingState, Role
from xiaohao.database.binding_tables import PAIR_TURN
from xiaohao.database.direct import Cursor, ForKeys, ForRows, Row, Statement, dialect_of
from xiaohao.database.schema import bindings, customers, legs, pools, verifications
from xiaohao.numbers.model import is_proven
from xiaohao.pools.model import POLICY_COLUMNS

BINDING_COLUMNS: Final = tuple(column.name for column in bindings.columns)
_NEW_BINDING: Final = BINDING_COLUMNS[1:]  # `seq` comes from the database
_LEG_COLUMNS: Final = tuple(column.name for column in legs.columns)
# These make hundreds of tuples a millisecond.
_binding_values = itemgetter(*_NEW_BINDING)
_leg_values = itemgetter(*_LEG_COLUMNS)
_leg_key = itemgetter(0, 1)
_POOL_COLUMNS: Final = ("id", "customer_id", *POLICY_COLUMNS)
#: SQLite knows only numbers for these
_BOOLEANS: Final = tuple(column.name for column in bindings.columns if column.type.python_type is bool)

#: any number will do that is no person's
_LOCK_PURGE: Final = "SELECT pg_advisory_xact_lock(0, 1)"
_LOCK_PEOPLE: Final = "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key"
# `CROSS JOIN` keeps SQLite from beginning at the wrong end; PostgreSQL finds the right one by itself.
_OF_PAIRS: Final = """
WITH given(customer_id, a_key, b_key) AS (VALUES {rows})
SELECT {columns} FROM given CROSS JOIN bindings AS b
WHERE b.a_key = given.a_key AND b.b_key = given.b_key AND b.customer_id || '' = given.customer_id
AND (b.state = 'live' OR b.recycle_until > {marker})
ORDER BY b.seq DESC
"""
# As text: SQLAlchemy takes a tenth of a second for the first statement of so many rows.
_ADD_LEGS: Final = "INSERT INTO legs ({columns}) VALUES {rows}"
_ADD: Final = "INSERT INTO bindings ({columns}) VALUES {rows} RETURNING id, seq"
_FREE_KEYS: Final = """
WITH given(caller_key, dialled) AS (VALUES {rows})
DELETE FROM legs
WHERE state = 'quarantined' AND (caller_key, dialled) IN (SELECT caller_key, dialled FROM given)
"""
# PostgreSQL: who takes one of these keys, or lets it rest for longer, does not want it gone.
_PURGE_FREE: Final = """
WITH given(caller_key, dialled) AS (VALUES {rows}), over AS MATERIALIZED (
    SELECT legs.caller_key, legs.dialled FROM given CROSS JOIN legs
    WHERE legs.caller_key = given.caller_key AND legs.dialled = given.dialled
    AND state = 'quarantined' AND quarantine_until <= {marker} FOR UPDATE OF legs SKIP LOCKED
)
DELETE FROM legs USING over WHERE legs.caller_key = over.caller_key AND legs.dialled = over.dialled
"""
_PURGE: Final = f"{_FREE_KEYS} AND quarantine_until <= {{marker}}"

# A partial index is used only where the statement says its condition in so many words.
_LIVE: Final[Any] = literal_column("'live'")
_QUARANTINED: Final[Any] = literal_column("'quarantined'")

BindingRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """Whether a customer may bind, and whom."""

    state: str
    real_names: bool


@dataclass(slots=True)
class LegFacts:
    """Who holds the key (person, dialled number)."""

    binding_id: str
    state: str
    quarantine_until: int | None
    customer_id: str


class WritingStatements:
    """Everything that bindings are written with, compiled for one of the two databases."""

    def __init__(self, dialect: Dialect) -> None:
        self.numbers = NumberStatements(dialect)
        self.is_sqlite = dialect.name == "sqlite"
        marker = "?" if self.is_sqlite else "%s"
        self._customers = ForKeys(
            dialect,
            lambda keys: select(customers.c.id, customers.c.state, customers.c.real_names).where(
                customers.c.id.in_(keys)
            ),
        )
        of_pool = [pools.c[name] for name in _POOL_COLUMNS]
        self._pools = ForKeys(
            dialect,
            lambda keys: select(*of_pool).where(pools.c.id.in_(keys)),
        )
        columns = ", ".join(f"b.{name}" for name in BINDING_COLUMNS)
        self._of_pairs = ForRows(
            dialect, 3, lambda rows: _OF_PAIRS.format(rows=rows, columns=columns, marker=marker), AT_ONCE
        )
        self._is_verified = Statement(dialect, _verification())
        self._last_of_pair = Statement(dialect, _last_of_pair())
        self._dialled = ForKeys(dialect, _dialled, AT_ONCE)
        self._holder = Statement(dialect, _holder())
        self._diallers = Statement(dialect, _diallers())
        self._find = ForKeys(dialect, _find, AT_ONCE)
        self._free_keys = ForRows(dialect, 2, lambda rows: _FREE_KEYS.format(rows=rows), AT_ONCE)
        self._add_legs = ForRows(dialect, len(_LEG_COLUMNS), _adding(_ADD_LEGS, _LEG_COLUMNS), AT_ONCE)
        self._add = ForRows(dialect, len(_NEW_BINDING), _adding(_ADD, _NEW_BINDING), AT_ONCE)
        self._due = Statement(dialect, _due())
        self._count_off = ForKeys(dialect, ending_store.count_off, AT_ONCE)
        self._dialled_on = ForKeys(dialect, ending_store.dialled_on, AT_ONCE)
        self._rest_legs = ForKeys(dialect, ending_store.rest_legs, AT_ONCE)
        self._end = ForKeys(dialect, ending_store.end, AT_ONCE)
        self._over = Statement(dialect, _over())
        over = _PURGE if self.is_sqlite else _PURGE_FREE
        self._delete_legs = ForRows(dialect, 2, lambda rows: over.format(rows=rows, marker=marker), AT_ONCE)

    def lock_people(self, cursor: Cursor, keys: Iterable[bytes]) -> None:
        """Make others who write about these people wait. SQLite has one writer at a time anyway."""
        if not self.is_sqlite:
            numbered = sorted({int.from_bytes(key[:8], signed=True) for key in keys})
            cursor.execute(_LOCK_PEOPLE, (numbered,))
            cursor.fetchall()

    def customers(self, cursor: Cursor, ids: Sequence[str]) -> dict[str, CustomerFacts]:
        """Those of the customers that there are."""
        found = self._customers.fetch(cursor, ids)
        return {id_: CustomerFacts(state, bool(real_names)) for id_, state, real_names in found}

    def is_verified(self, cursor: Cursor, customer_id: str, key: bytes, now: int) -> bool:
        """Whether the real name of a customer's person is proven at the moment `now`."""
        self._is_verified.run(cursor, of_customer=customer_id, key=key)
        return any(is_proven(state, until, now) for state, until in cursor.fetchall())

    def pools(self, cursor: Cursor, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Those of the pools that there are, whoever's they are."""
        return [dict(zip(_POOL_COLUMNS, row, strict=True)) for row in self._pools.fetch(cursor, ids)]

    def of_pairs(self, cursor: Cursor, pairs: Sequence[Row], now: int) -> list[BindingRow]:
        """Of each pair (customer, key of A, key of B) what is live or in quarantine, newest first."""
        return [binding_row(row) for row in self._of_pairs.fetch(cursor, pairs, now)]

    def last_of_pair(self, cursor: Cursor, pair: Row) -> BindingRow | None:
        """The newest binding of (customer, key of A, key of B) that there ever was."""
        customer_id, a_key, b_key = pair
        self._last_of_pair.run(cursor, of_customer=customer_id, a=a_key, b=b_key)
        return next((binding_row(row) for row in cursor.fetchall()), None)

    def dialled(self, cursor: Cursor, keys: Sequence[bytes]) -> list[tuple[bytes, str, LegFacts]]:
        """Everything that these people dial, live or in quarantine."""
        return [(key, number, LegFacts(*facts)) for key, number, *facts in self._dialled.fetch(cursor, keys)]

    def holder(self, cursor: Cursor, key: bytes, number: str) -> LegFacts | None:
        """Who has this key on this number."""
        self._holder.run(cursor, key=key, wanted=number)
        rows = cursor.fetchall()
        return LegFacts(*rows[0]) if rows else None

    def diallers(self, cursor: Cursor, number: str, now: int) -> set[str]:
        """The customers of whom a leg is dialled on this number that lives or rests."""
        self._diallers.run(cursor, wanted=number, now=now)
        return {customer_id for (customer_id,) in cursor.fetchall()}

    def find(self, cursor: Cursor, ids: Sequence[str]) -> list[BindingRow]:
        """Bindings by their ids, whoever's they are; nobody else ends or changes them from now on."""
        return [binding_row(row) for row in self._find.fetch(cursor, sorted(ids))]

    def free_keys(self, cursor: Cursor, keys: Sequence[tuple[bytes, str]]) -> None:
        """Take away the quarantined legs with these keys."""
        self._free_keys.run(cursor, sorted(keys))

    def add(
        self, cursor: Cursor, rows: Sequence[BindingRow], leg_rows: Sequence[dict[str, Any]]
    ) -> dict[str, int]:
        """Insert bindings and legs; gives the seq of each id. Raises IntegrityError where one is taken."""
        of_legs = map(_leg_values, leg_rows)
        self._add_legs.run(cursor, sorted(of_legs, key=_leg_key))
        added = self._add.fetch(cursor, [_binding_values(row) for row in rows])
        return dict(added)

    def due(self, cursor: Cursor, now: int, limit: int) -> list[str]:
        """Live bindings past their expiry that nobody else is ending; locked."""
        self._due.run(cursor, now=now, limit=limit)
        return [id_ for (id_,) in cursor.fetchall()]

    def end(
        self, cursor: Cursor, ids: Sequence[str], state: BindingState, now: int, ended_at: int | None
    ) -> None:
        """End live bindings, put their legs into quarantine. `ended_at` None: each at its own expiry."""
        ids = sorted(ids)
        self.take_off(cursor, ids)
        self._rest_legs.run(cursor, ids, ended_at=ended_at)
        self.numbers.lending.let_age(cursor, ids, now)
        self._end.run(cursor, ids, state=state.value, now=now, ended_at=ended_at)

    def expire(self, cursor: Cursor, ids: Sequence[str], now: int) -> None:
        """End those of these bindings that still live, whose time is over, each at its own expiry."""
        live = [row["id"] for row in self.find(cursor, ids) if row["state"] == BindingState.LIVE]
        self.end(cursor, live, BindingState.EXPIRED, now, None)

    def lock_numbers(self, cursor: Cursor, ids: Sequence[str]) -> None:
        """Keep others from changing the numbers on which these bindings have live legs."""
        if not self.is_sqlite:
            found = {number for (number,) in self._dialled_on.fetch(cursor, ids)}
            self.numbers.lock(cursor, sorted(found))

    def take_off(self, cursor: Cursor, ids: Sequence[str]) -> None:
        """Count the live legs of these bindings off `numbers.relations`, before they rest or go."""
        self.lock_numbers(cursor, ids)
        self._count_off.run(cursor, ids)

    def purge(self, cursor: Cursor, now: int, limit: int) -> int:
        """Delete legs whose quarantine is over and give back what was lent; says how many legs."""
        if not self.is_sqlite:
            # Who sweeps at the same time would find the same rows, and wait for each of them.
            cursor.execute(_LOCK_PURGE)
            cursor.fetchall()
        self._over.run(cursor, now=now, limit=limit)
        found = cursor.fetchall()
        if not found:
            return 0
        lent = sorted({dialled for _, dialled, role in found if role == Role.B})
        self.numbers.lock(cursor, lent)
        # A key that was taken again in the meantime is live, or rests for longer.
        self._delete_legs.run(cursor, sorted((key, dialled) for key, dialled, _ in found), now)
        self.numbers.lending.give_back(cursor, lent, now)
        return len(found)


@lru_cache(maxsize=2)
def writing_statements(dialect_name: str) -> WritingStatements:
    """Compiled once for each of the two databases."""
    return WritingStatements(dialect_of(dialect_name))


def _adding(text: str, columns: Sequence[str]) -> Callable[[str], str]:
    return lambda rows: text.format(columns=", ".join(columns), rows=rows)


def binding_row(row: Row) -> BindingRow:
    """A row of BINDING_COLUMNS by their names."""
    named = dict(zip(BINDING_COLUMNS, row, strict=True))
    for name in _BOOLEANS:
        named[name] = bool(named[name])
    return named


def _verification() -> Any:
    return select(verifications.c.state, verifications.c.valid_until).where(
        verifications.c.customer_id == bindparam("of_customer"),
        verifications.c.person_key == bindparam("key"),
    )


def _last_of_pair() -> Any:
    return (
        select(bindings)
        .where(
            bindings.c.customer_id + "" == bindparam("of_customer"),
            bindings.c.a_key == bindparam("a"),
            bindings.c.b_key == bindparam("b"),
        )
        .order_by(text(f"{PAIR_TURN} DESC"))
        .limit(1)
    )


def _dialled(keys: list[Any]) -> Any:
    facts = (legs.c.binding_id, legs.c.state, legs.c.quarantine_until, legs.c.customer_id)
    columns = (legs.c.caller_key, legs.c.dialled, *facts)
    return select(*columns).where(legs.c.caller_key.in_(keys))


def _holder() -> Any:
    columns = (legs.c.binding_id, legs.c.state, legs.c.quarantine_until, legs.c.customer_id)
    return select(*columns).where(
        legs.c.caller_key == bindparam("key"), legs.c.dialled == bindparam("wanted")
    )


def _diallers() -> Any:
    still = or_(
        legs.c.quarantine_until.is_(None), legs.c.quarantine_until > bindparam("now", type_=BigInteger)
    )
    return select(legs.c.customer_id).where(legs.c.dialled == bindparam("wanted"), still).distinct()


def _find(ids: list[Any]) -> Any:
    return select(bindings).where(bindings.c.id.in_(ids)).order_by(bindings.c.id).with_for_update()


def _due() -> Any:
    return (
        select(bindings.c.id)
        .where(
            bindings.c.state == _LIVE,
            bindings.c.expires_at <= bindparam("now", type_=BigInteger),
        )
        .order_by(bindings.c.expires_at)
        .limit(bindparam("limit", type_=BigInteger))
        .with_for_update(skip_locked=True)
    )


def _over() -> Any:
    return (
        select(legs.c.caller_key, legs.c.dialled, legs.c.role)
        .where(
            legs.c.state == _QUARANTINED,
            legs.c.quarantine_until <= bindparam("now", type_=BigInteger),
        )
        .order_by(legs.c.quarantine_until)
        .limit(bindparam("limit", type_=BigInteger))
    )
