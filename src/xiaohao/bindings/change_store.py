"""All SQL by which a live binding is changed, and by which its calls are ended with it."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, and_, bindparam, delete, func, literal, select, update

from xiaohao.bindings.allocation_store import AT_ONCE
from xiaohao.bindings.model import BindingState, LegState
from xiaohao.bindings.writing_store import BindingRow
from xiaohao.calls.model import HANG_UP_BINDING
from xiaohao.clock import SECOND
from xiaohao.database.direct import Cursor, ForKeys, ForRows, Insert, Statement, dialect_of
from xiaohao.database.schema import (
    binding_versions,
    bindings,
    call_commands,
    legs,
    number_history,
    numbers,
    pools,
)
from xiaohao.numbers.model import DEFAULT_RECYCLE_S

#: what `Changing` may alter in a row
_CHANGED: Final = (
    *("a_key", "a_sealed", "b_key", "b_sealed", "x", "y", "extension", "direction", "y_pool", "y_life_s"),
    *("expires_at", "record", "max_duration_s", "prompts", "order_ref", "user_data", "updated_at"),
)
_VERSION_COLUMNS: Final = tuple(c.name for c in binding_versions.columns if c.name != "seq")
_HISTORY_COLUMNS: Final = tuple(c.name for c in number_history.columns if c.name != "seq")
_LEG_COLUMNS: Final = tuple(column.name for column in legs.columns)
_HOLDERS: Final = """
WITH given(caller_key, dialled) AS (VALUES {rows})
SELECT l.caller_key, l.dialled, l.binding_id, l.state, l.quarantine_until, l.customer_id
FROM given CROSS JOIN legs AS l WHERE l.caller_key = given.caller_key AND l.dialled = given.dialled
"""


class ChangeStatements:
    """Compiled for one of the two databases."""

    def __init__(self, dialect: Dialect) -> None:
        by_id = bindings.c.id == bindparam("id")
        people = select(bindings.c.customer_id, bindings.c.a_key, bindings.c.b_key)
        self._people = Statement(dialect, people.where(by_id))
        self._children = ForKeys(dialect, _children, AT_ONCE)
        self._live_legs = Statement(dialect, select(legs).where(_leg_of_binding()))
        self._holders = ForRows(dialect, 2, lambda rows: _HOLDERS.format(rows=rows))
        self._rest = Statement(dialect, _rest())
        self._remove = Statement(dialect, delete(legs).where(_leg_of_binding()))
        self._put_legs = Insert(dialect, legs, _LEG_COLUMNS, lambda into: into)
        changed = {name: bindparam(f"new_{name}", type_=bindings.c[name].type) for name in _CHANGED}
        self._put = Statement(dialect, update(bindings).where(by_id).values(changed))
        self._versioned_until = Statement(
            dialect,
            select(func.max(binding_versions.c.valid_until)).where(
                binding_versions.c.binding_id == bindparam("id")
            ),
        )
        self._put_version = Insert(dialect, binding_versions, _VERSION_COLUMNS, lambda into: into)
        self._serves_others = ForKeys(dialect, _serves_others)
        self._pass_on = Statement(dialect, _pass_on())
        self._put_history = Insert(dialect, number_history, _HISTORY_COLUMNS, lambda into: into)
        self._put_commands = Insert(
            dialect, call_commands, ("call_id", "command", "created_at"), lambda into: into
        )

    def people(self, cursor: Cursor, binding_id: str, customer_id: str | None = None) -> list[bytes] | None:
        """Keys of a binding's people as they are now, unlocked; None where it is not there.

        `customer_id` None: whoever's it is.
        """
        self._people.run(cursor, id=binding_id)
        for owner, *keys in cursor.fetchall():
            if customer_id in (None, owner):
                return [key for key in keys if key is not None]
        return None

    def children(self, cursor: Cursor, parents: Collection[str]) -> list[tuple[str, str]]:
        """The live pairs that came about by these bindings: (id of the binding, id of the pair)."""
        return [(parent, id_) for parent, id_ in self._children.fetch(cursor, sorted(parents))]

    def live_legs(self, cursor: Cursor, binding_id: str) -> list[dict[str, Any]]:
        """The live legs of a binding."""
        self._live_legs.run(cursor, id=binding_id)
        return [dict(zip(_LEG_COLUMNS, row, strict=True)) for row in cursor.fetchall()]

    def holders(
        self, cursor: Cursor, keys: Sequence[tuple[bytes, str]]
    ) -> list[tuple[bytes, str, str, str, int | None, str]]:
        """Who has these keys: (key, number, binding, state of the leg, end of its quarantine, customer)."""
        return [tuple(row) for row in self._holders.fetch(cursor, keys)]

    def rest(self, cursor: Cursor, keys: Sequence[tuple[bytes, str]], now: int) -> None:
        """Put live legs into quarantine, without a time of grace: their caller is somebody else now."""
        for key, number in sorted(keys):
            self._rest.run(cursor, key=key, number=number, now=now)

    def replace_live_legs(self, cursor: Cursor, binding_id: str, leg_rows: Sequence[dict[str, Any]]) -> None:
        """Put these in the place of those live legs that a binding still has."""
        self._remove.run(cursor, id=binding_id)
        rows = [tuple(leg[name] for name in _LEG_COLUMNS) for leg in leg_rows]
        self._put_legs.run(cursor, sorted(rows, key=lambda leg: leg[:2]))

    def put(self, cursor: Cursor, row: BindingRow) -> None:
        """Write a binding as it is from now on."""
        self._put.run(cursor, id=row["id"], **{f"new_{name}": row[name] for name in _CHANGED})

    def put_version(self, cursor: Cursor, was: BindingRow, until: int, changed_by: str | None) -> None:
        """Keep who could be reached by a binding until now."""
        self._versioned_until.run(cursor, id=was["id"])
        ((since,),) = cursor.fetchall()
        version = {name: was.get(name) for name in _VERSION_COLUMNS} | {
            "binding_id": was["id"],
            "valid_from": was["created_at"] if since is None else since,
            "valid_until": until,
            "changed_by": changed_by,
        }
        self._put_version.run(cursor, [tuple(version[name] for name in _VERSION_COLUMNS)])

    def serves_others(self, cursor: Cursor, x: str, ids: Sequence[str]) -> bool:
        """Whether a live binding besides these has this X."""
        return self.other_with(cursor, x, ids) is not None

    def other_with(self, cursor: Cursor, x: str, ids: Sequence[str]) -> str | None:
        """A live binding besides these that has this X."""
        return next((id_ for (id_,) in self._serves_others.fetch(cursor, ids, x=x)), None)

    def pass_on(self, cursor: Cursor, row: BindingRow, changed_by: str | None) -> None:
        """Make the X of a binding the new A's."""
        self._pass_on.run(
            cursor, x=row["x"], a_key=row["a_key"], a_sealed=row["a_sealed"], now=row["updated_at"]
        )
        ((state,),) = cursor.fetchall()
        entry = dict.fromkeys(_HISTORY_COLUMNS) | {
            "number": row["x"],
            "at": row["updated_at"],
            "from_state": state,
            "to_state": state,
            "reason": "assigned",
            "changed_by": changed_by,
            "customer_id": row["customer_id"],
            "person_key": row["a_key"],
            "person_sealed": row["a_sealed"],
        }
        self._put_history.run(cursor, [tuple(entry[name] for name in _HISTORY_COLUMNS)])

    def hang_up(self, cursor: Cursor, ids: Sequence[str], now: int) -> None:
        """Ask the switch to end the live calls of these bindings, also one that it has just let through."""
        self._put_commands.run(cursor, [(id_, HANG_UP_BINDING, now) for id_ in ids])


@lru_cache(maxsize=2)
def change_statements(dialect_name: str) -> ChangeStatements:
    """Compiled once for each of the two databases."""
    return ChangeStatements(dialect_of(dialect_name))


def _leg_of_binding() -> Any:
    # The `+` keeps SQLite off the index by state, which holds every live leg.
    return and_(legs.c.binding_id == bindparam("id"), legs.c.state + "" == LegState.LIVE.value)


def _children(parents: list[Any]) -> Any:
    return (
        select(bindings.c.parent_id, bindings.c.id)
        .where(bindings.c.parent_id.in_(parents), bindings.c.state + "" == BindingState.LIVE.value)
        .order_by(bindings.c.id)
    )


def _rest() -> Any:
    recycle_s = (
        select(pools.c.recycle_s)
        .join(numbers, numbers.c.pool_id == pools.c.id)
        .where(numbers.c.number == legs.c.dialled)
        .scalar_subquery()
    )
    rest = func.coalesce(recycle_s, DEFAULT_RECYCLE_S) * literal(SECOND, BigInteger)
    return (
        update(legs)
        .where(legs.c.caller_key == bindparam("key"), legs.c.dialled == bindparam("number"))
        .values(
            state=LegState.QUARANTINED.value,
            quarantine_until=bindparam("now", type_=BigInteger) + rest,
        )
    )


def _serves_others(ids: list[Any]) -> Any:
    return (
        select(bindings.c.id)
        .where(
            bindings.c.x == bindparam("x"),
            bindings.c.state + "" == BindingState.LIVE.value,
            bindings.c.id.not_in(ids),
        )
        .limit(1)
    )


def _pass_on() -> Any:
    return (
        update(numbers)
        .where(numbers.c.number == bindparam("x"))
        .values(
            assigned_to_key=bindparam("a_key"),
            assigned_to_sealed=bindparam("a_sealed"),
            updated_at=bindparam("now", type_=BigInteger),
        )
        .returning(numbers.c.state)
    )
