"""SQL of `events` for those who read them in order, ask for them again, or let go of old ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, delete, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import events
from xiaohao.notifications.model import EventState, told_of

_SHOWN: Final = (
    events.c.seq,
    events.c.id,
    events.c.customer_id,
    events.c.sequence,
    events.c.kind,
    events.c.occurred_at,
    events.c.body_sealed,
    events.c.state,
    events.c.due_at,
    events.c.tries,
    events.c.last_error,
    events.c.delivered_at,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; each field that is not None must hold. Moments are those of the facts, in microseconds.

    `since` is within the time asked for, `until` just outside.
    """

    customer_id: str | None = None
    ids: Sequence[str] | None = None
    kinds: Sequence[str] | None = None
    state: EventState | None = None
    call_id: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def _few(self) -> bool:
        # What an event tells of leads to few rows. No planner is to walk all events, or all of a customer's,
        # in their order instead: so neither column is named as an index has it.
        return self.ids is not None or self.call_id is not None

    @property
    def place(self) -> ColumnElement[int]:
        """The events' `seq`, to be compared and ordered by."""
        return events.c.seq + literal_column("0") if self._few else events.c.seq

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The same in SQL."""
        chosen: list[ColumnElement[bool]] = []
        if self.customer_id is not None:
            column = func.coalesce(events.c.customer_id, "") if self._few else events.c.customer_id
            chosen.append(column == self.customer_id)
        if self.ids is not None:
            things = {thing for name in self.ids if (thing := told_of(name)) is not None}
            chosen += [events.c.call_id.in_(sorted(things)), events.c.id.in_(self.ids)]
        if self.kinds is not None:
            chosen.append(events.c.kind.in_(self.kinds))
        if self.state is not None:
            # in so many words: a partial index is used only where the statement says its condition
            chosen.append(events.c.state == literal_column(f"'{self.state.value}'"))
        if self.call_id is not None:
            chosen.append(events.c.call_id == self.call_id)
        if self.since is not None:
            chosen.append(events.c.occurred_at >= self.since)
        if self.until is not None:
            chosen.append(events.c.occurred_at < self.until)
        return chosen


async def page(
    connection: AsyncConnection, after: int, until: int, limit: int, wanted: Wanted
) -> list[RowMapping]:
    """Events stored after the one with seq `after` and not after `until`, the oldest first."""
    place = wanted.place
    query = select(*_SHOWN).where(place > after, place <= until, *wanted.conditions)
    return list((await connection.execute(query.order_by(place).limit(limit))).mappings())


async def newest(connection: AsyncConnection) -> int:
    """The greatest seq; 0 where there is none."""
    return (await connection.execute(select(func.max(events.c.seq)))).scalar_one() or 0


def _can_be_replayed(wanted: Wanted, before: int) -> list[ColumnElement[bool]]:
    at_rest = events.c.state.in_([s.value for s in EventState if s is not EventState.DUE])
    return [*wanted.conditions, at_rest, events.c.created_at <= before]


async def count_replayable(connection: AsyncConnection, wanted: Wanted, before: int) -> int:
    """How many events of these, stored not after `before`, `replay` would send again."""
    query = select(func.count()).select_from(events).where(*_can_be_replayed(wanted, before))
    return int((await connection.execute(query)).scalar_one())


async def to_replay(
    connection: AsyncConnection, after: int, wanted: Wanted, now: int, limit: int
) -> list[int]:
    """The seqs of up to `limit` events of these that can be sent again, the oldest first, behind `after`."""
    query = select(events.c.seq).where(wanted.place > after, *_can_be_replayed(wanted, now))
    return list((await connection.execute(query.order_by(wanted.place).limit(limit))).scalars())


async def replay(connection: AsyncConnection, seqs: Sequence[int], now: int) -> int:
    """Make those of these events due again that are not; gives their number."""
    values: dict[str, Any] = {
        "state": EventState.DUE.value,
        "due_at": now,
        "tries": 0,
        "last_error": None,
        "delivered_at": None,
        "replayed_at": now,
    }
    chosen = (events.c.seq.in_(seqs), events.c.state != EventState.DUE.value)
    return (await connection.execute(update(events).where(*chosen).values(**values))).rowcount


async def forget(connection: AsyncConnection, after: int, before: int, limit: int) -> tuple[int, int | None]:
    """Delete what was stored before the moment `before` and is not due, among `limit` events after `after`.

    Gives how many were deleted, and the seq to go on after; None where younger events begin or none is left.
    """
    query = select(events.c.seq, events.c.created_at).where(events.c.seq > after)
    rows = (await connection.execute(query.order_by(events.c.seq).limit(limit))).all()
    old = [row.seq for row in rows if row.created_at < before]
    if not old:
        return 0, None
    result = await connection.execute(
        delete(events).where(
            events.c.seq > after,
            events.c.seq <= old[-1],
            events.c.created_at < before,
            events.c.state != EventState.DUE.value,
        )
    )
    return result.rowcount, old[-1] if len(old) == limit else None
