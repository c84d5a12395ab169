"""All SQL by which bindings get their numbers, and give them back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    FromClause,
    Select,
    and_,
    bindparam,
    or_,
    select,
    tuple_,
    update,
)

from xiaohao.bindings.lending_store import LendingStatements
from xiaohao.database.direct import Cursor, ForKeys, Row, Statement
from xiaohao.database.schema import numbers
from xiaohao.numbers.model import Kind, NumberState

#: rows that one statement of a big batch reads or writes
AT_ONCE: Final = 1024
_BOUND_STATES: Final = ("none", "verified")


@dataclass(slots=True)
class NumberFacts:
    """A platform number as a group of reservations knows it; altered as the group goes on."""

    number: str
    kind: str
    city: str | None
    state: str
    displayable: bool
    displayed_as: str | None
    verification: str
    verified_until: int | None
    relations: int
    customer_id: str | None
    pool_id: str | None
    assigned_to_key: bytes | None = field(repr=False)
    assigned_by: str | None
    fixed: bool
    last_used_at: int
    #: nobody else changes the row before the end of this transaction
    locked: bool = False
    #: legs that the group adds
    added: int = 0
    #: place in the order of use within the group; 0: not used by it
    used: int = 0
    #: the group makes it somebody's X: its state, and whose it was, before that
    lent: tuple[str, bytes | None] | None = field(default=None, repr=False)
    #: nobody may dial it
    alone: bool = False
    assigned_to_sealed: bytes | None = field(default=None, repr=False)

    def may_be_bound(self, now: int) -> bool:
        """Whether it is verified where it must be. The rule of `IS_VERIFIED`."""
        return self.kind != Kind.MOBILE or (
            self.verification in _BOUND_STATES and (self.verified_until is None or self.verified_until > now)
        )


FACTS: Final = tuple(
    numbers.c[name]
    for name in (
        *("number", "kind", "city", "state", "displayable", "displayed_as", "verification", "verified_until"),
        *("relations", "customer_id", "pool_id", "assigned_to_key", "assigned_by", "fixed", "last_used_at"),
    )
)


def is_verified(table: FromClause) -> ColumnElement[bool]:
    """Whether numbers of a table or alias are verified where they must be, at the moment `now`."""
    until = table.c.verified_until
    return or_(
        table.c.kind != Kind.MOBILE.value,
        and_(
            or_(*(table.c.verification == state for state in _BOUND_STATES)),
            or_(until.is_(None), until > bindparam("now", type_=BigInteger)),
        ),
    )


IS_VERIFIED: Final = is_verified(numbers)


class NumberStatements:
    """What reservations ask of and write to `numbers`, compiled for one of the two databases."""

    def __init__(self, dialect: Dialect) -> None:
        self.is_sqlite = dialect.name == "sqlite"
        self._find = ForKeys(dialect, lambda keys: _facts(numbers.c.number.in_(keys)), AT_ONCE)
        self._own = ForKeys(dialect, lambda keys: _facts(numbers.c.assigned_to_key.in_(keys)), AT_ONCE)
        self._lock = {waiting: ForKeys(dialect, _locking(waiting), AT_ONCE) for waiting in (False, True)}
        self._windows = {
            (of_city, locking): Statement(dialect, _window(of_city, locking))
            for of_city in (False, True)
            for locking in (False, True)
        }
        self._use = ForKeys(dialect, _use, AT_ONCE)
        #: what changes states, and writes their history
        self.lending = LendingStatements(dialect, AT_ONCE)

    def find(self, cursor: Cursor, wanted: Sequence[str]) -> list[NumberFacts]:
        """Those of the wanted numbers that are the platform's, whoever's they are."""
        return _numbers(self._find.fetch(cursor, wanted))

    def own(self, cursor: Cursor, keys: Sequence[bytes]) -> list[NumberFacts]:
        """The numbers that are these people's X."""
        return _numbers(self._own.fetch(cursor, keys))

    def lock(self, cursor: Cursor, wanted: Sequence[str], *, waiting: bool = True) -> list[NumberFacts]:
        """The same as `find`; nobody else changes them before the end of the transaction.

        Not `waiting`: without those that somebody else has locked.
        """
        return _numbers(self._lock[waiting].fetch(cursor, sorted(wanted)))

    def window(
        self,
        cursor: Cursor,
        pool_id: str,
        city: str | None,
        after: tuple[int, str],
        now: int,
        limit: int,
        most_relations: int,
        *,
        locking: bool,
    ) -> list[NumberFacts]:
        """Numbers of a pool (of a city) that may be given out, those after `after` in the order of last use.

        None has `most_relations` legs. `locking`: only those that no other reservation is just taking, and
        nobody takes them from now on.
        """
        statement = self._windows[city is not None, locking]
        statement.run(
            cursor,
            pool_id=pool_id,
            city=city,
            used_after=after[0],
            after=after[1],
            now=now,
            limit=limit,
            most_relations=most_relations,
        )
        return _numbers(cursor.fetchall())

    def use(self, cursor: Cursor, used: Sequence[str], added: int, now: int) -> None:
        """Note that numbers are used now, each by so many new legs."""
        self._use.run(cursor, sorted(used), now=now, added=added)


def _numbers(rows: Sequence[Row]) -> list[NumberFacts]:
    return [NumberFacts(*row) for row in rows]


def _facts(where: ColumnElement[bool]) -> Select[Any]:
    return select(*FACTS).where(where)


def _locking(waiting: bool) -> Callable[[list[Any]], Select[Any]]:
    def make(keys: list[Any]) -> Select[Any]:
        query = _facts(numbers.c.number.in_(keys)).order_by(numbers.c.number)
        return query.with_for_update(key_share=True, skip_locked=not waiting)

    return make


def _window(of_city: bool, locking: bool) -> Select[Any]:
    after = tuple_(bindparam("used_after", type_=BigInteger), bindparam("after"))
    order = (numbers.c.last_used_at, numbers.c.number)
    query = (
        select(*FACTS)
        .where(
            numbers.c.pool_id == bindparam("pool_id"),
            numbers.c.state == NumberState.AVAILABLE.value,
            numbers.c.assigned_to_key.is_(None),
            tuple_(*order) > after,
            IS_VERIFIED,
            numbers.c.relations < bindparam("most_relations", type_=BigInteger),
        )
        .order_by(*order)
        .limit(bindparam("limit", type_=BigInteger))
    )
    if of_city:
        query = query.where(numbers.c.city == bindparam("city"))
    return query.with_for_update(skip_locked=True, key_share=True) if locking else query


def _use(keys: list[Any]) -> Any:
    return (
        update(numbers)
        .where(numbers.c.number.in_(keys))
        .values(
            last_used_at=bindparam("now", type_=BigInteger),
            relations=numbers.c.relations + bindparam("added", type_=BigInteger),
        )
    )
