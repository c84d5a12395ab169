"""What can be done with bindings: reserve, read, release; and what time does to them.

What writes is a job that the writer's thread carries out (`jobs.py`, `clerk.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from xiaohao.bindings import lookup_store, store
from xiaohao.bindings.asking import changed_values, new_numbers, number_of, wish_of
from xiaohao.bindings.changing import Change
from xiaohao.bindings.choice import Exhausted
from xiaohao.bindings.clerk import Clerk
from xiaohao.bindings.explain import Explaining, Explanation
from xiaohao.bindings.jobs import (
    Decide,
    Decision,
    Expire,
    GiveY,
    Purge,
    Release,
    Reserve,
    Reserved,
    transactions,
)
from xiaohao.bindings.model import Binding, BindingState, Changes, Mode, Reservation, Role
from xiaohao.bindings.recognition import LegMatch
from xiaohao.bindings.renumbering import NotLeft
from xiaohao.bindings.wish import Wish
from xiaohao.bindings.writing_store import writing_statements
from xiaohao.clock import now_us
from xiaohao.database.driver_errors import errors_translated
from xiaohao.database.engine import Database
from xiaohao.database.writer import ATTEMPTS, LOST, Job, LostRace, Writer, out_of_breath, pause_s
from xiaohao.errors import Refusal, not_found
from xiaohao.secrecy import Vault

T = TypeVar("T")

#: Rows ended or purged in one transaction: short enough for the writers in between.
_BATCH: Final = 500
#: Batches of one sweep; what is left is the next one's.
_BATCHES: Final = 200
#: Reservations in one transaction. PostgreSQL has a table of so many advisory locks for all its clients.
_GROUP: Final = 2000
_POSTGRESQL_GROUP: Final = 250
#: refusals of which a binding or a key may be the reason that is over and not swept yet
_STALE: Final = frozenset({"number_taken", "number_not_found", "relation_limit", "x_limit", "x_shared"})


class _InVain(Exception):
    """A sweep may help what is at these places."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.places = places


class Bindings:
    """The relations between people. `clock` gives microseconds since the epoch.

    `most_x`: so many numbers may be one person's X at a time; 0: no limit.
    """

    def __init__(
        self, database: Database, vault: Vault, clock: Callable[[], int] = now_us, most_x: int = 0
    ) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._group = _GROUP if database.is_sqlite else _POSTGRESQL_GROUP
        self._clerk = Clerk(writing_statements(database.url.get_backend_name()), vault, clock, most_x)
        cut = None if database.is_sqlite else transactions
        self._writer = Writer(database.url, self._clerk.carry_out, self._group, database.fence, cut=cut)
        database.at_close(self._writer.close)

    async def reserve(self, customer_id: str, reservation: Reservation) -> Binding:
        """Let two people call each other from now on.

        Raises Refusal: `validation_failed`, `pair_taken`, `number_not_found`, `number_not_in_service`,
        `number_taken`, `pool_not_found`, `number_pool_exhausted`, `customer_suspended`, `not_found`;
        DatabaseUnavailable.
        """
        return (await self.reserved(customer_id, reservation)).binding

    async def reserved(self, customer_id: str, reservation: Reservation) -> Reserved:
        """The same; says also whether the binding is a new one."""
        (outcome,) = await self.reserve_all(customer_id, [reservation])
        if isinstance(outcome, Reserved):
            return outcome
        raise outcome

    async def reserve_all(
        self, customer_id: str, reservations: Sequence[Reservation]
    ) -> list[Reserved | Refusal]:
        """Many at once: each is bound, or refused without harm to the others. Raises DatabaseUnavailable."""
        wishes: list[Any] = [self._wish(customer_id, wanted) for wanted in reservations]
        outcomes = wishes.copy()
        again: Sequence[int] = range(len(outcomes))
        try:
            async with self._undone():
                await self._try(outcomes, reservations, again)
                _check(outcomes)
        except _InVain as in_vain:
            # The worker may be behind, or away: what is over must not stand in anybody's way.
            await self.sweep()
            if not self._database.taken_part_in():
                again = in_vain.places
            for place in again:
                outcomes[place] = wishes[place]
            await self._try(outcomes, reservations, again)
        if exhausted := [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Exhausted)]:
            async with self._database.read() as connection:
                explaining = Explaining(connection, self._clock())
                for place in exhausted:
                    outcomes[place] = await explaining.refusal(wishes[place], outcomes[place])
        return outcomes

    async def explain(self, customer_id: str, reservation: Reservation) -> Explanation:
        """What `reserve` would come to now, and why; nothing is bound. Raises DatabaseUnavailable."""
        wish = self._wish(customer_id, reservation)
        if isinstance(wish, Refusal):
            return Explanation(refusal=wish)
        try:
            decision: Decision | Exhausted = await self._do_swept(Decide(wish, reservation))
        except Refusal as refused:
            return Explanation(refusal=refused)
        except Exhausted as exhausted:
            decision = exhausted
        async with self._database.read() as connection:
            explaining = Explaining(connection, self._clock())
            if isinstance(decision, Exhausted):
                return Explanation(refusal=await explaining.refusal(wish, decision))
            if decision.existing is not None:
                return Explanation(existing=self._clerk.binding(decision.existing))
            x, y = [
                await explaining.chosen(wish, *found)
                for found in zip(Role, (decision.x, decision.y), strict=True)
            ]
        return Explanation(x, y, decision.extension)

    async def _try(
        self, outcomes: list[Any], reservations: Sequence[Reservation], places: Sequence[int]
    ) -> None:
        """Put what becomes of the wishes among the outcomes at these places into their places."""
        for part in self._parts([place for place in places if isinstance(outcomes[place], Wish)]):
            job = Reserve([(outcomes[place], reservations[place]) for place in part])
            for place, outcome in zip(part, await self._do(job), strict=True):
                outcomes[place] = self._clerk.reserved(outcome)

    def _parts(self, all_: Sequence[T]) -> list[Sequence[T]]:
        """What one job each is for.

        In a request's own transaction that is everything, so that all of its locks are taken in one order.
        """
        size = len(all_) if self._database.taken_part_in() else self._group
        return [all_[start : start + size] for start in range(0, len(all_), size)] if all_ else []

    async def _do_swept(self, job: Job) -> Any:
        """As `_do`; once more where only what is over, and not swept yet, may have been in the way."""
        try:
            return await self._do(job)
        except (Refusal, Exhausted, NotLeft) as refused:
            if not may_be_stale(refused):
                raise
        await self.sweep()
        return await self._do(job)

    async def _do(self, job: Job) -> Any:
        """Carry out a job: in the writer's next transaction, or in the one that this task is inside of."""
        if not self._database.taken_part_in():
            return await self._writer.do(job)

        def carry_out(connection: Connection, attempt: int) -> Any:
            cursor: Any = connection.connection.cursor()
            with errors_translated():
                (outcome,) = self._clerk.carry_out(cursor, [job], attempt)
            if isinstance(outcome, Exception):
                raise outcome  # a job that is refused leaves no locks
            return outcome

        error: Exception = LostRace()
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(pause_s(attempt))
            try:
                async with self._database.begin() as connection:
                    return await connection.run_sync(carry_out, attempt)
            except LOST as lost:
                error = lost
        raise out_of_breath(error)

    @asynccontextmanager
    async def _undone(self) -> AsyncIterator[None]:
        """What an error leaves is taken back with its locks, if the request has a transaction of its own."""
        if not self._database.taken_part_in():
            yield
            return
        async with self._database.begin():
            yield

    async def get(self, customer_id: str, binding_id: str) -> Binding:
        """One binding. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.find(connection, customer_id, binding_id)
        if row is None:
            raise not_found("binding")
        return self._clerk.binding(dict(row))

    async def page(
        self,
        customer_id: str,
        before: int | None,
        limit: int,
        *,
        state: BindingState | None = None,
        a: str | None = None,
        b: str | None = None,
        mode: Mode | None = None,
        number: str | None = None,
        city: str | None = None,
        order_ref: str | None = None,
        parent_id: str | None = None,
    ) -> list[Binding]:
        """At most `limit` bindings, newest first, of those made before the one with seq `before` (None: all).

        `a` and `b` are real numbers, `number` is an X or Y, in any spelling; `city` is the area code of X or
        Y. Raises Refusal: `validation_failed`.
        """
        where = store.filters(
            self._clock(),
            state,
            mode=mode,
            a_key=None if a is None else self._vault.index(number_of("a", a)),
            b_key=None if b is None else self._vault.index(number_of("b", b)),
            number=None if number is None else number_of("number", number),
            city=city,
            order_ref=order_ref,
            parent_id=parent_id,
        )
        async with self._database.read() as connection:
            rows = await store.page(connection, customer_id, before, limit, where, of_person=a is not None)
        return [self._clerk.binding(dict(row)) for row in rows]

    async def change(
        self, customer_id: str, binding_id: str, changes: Changes, changed_by: str | None = None
    ) -> Binding:
        """Change a live binding; the same change again is no error. `changed_by`: the key that asks.

        The key of a person who is replaced rests, so that their late call reaches nobody. Raises Refusal:
        `not_found`, `binding_ended`, `validation_failed`, `pair_taken`, `number_taken`, `pool_not_found`, and
        of another X or Y those of `reserve`, and `x_shared`; DatabaseUnavailable.
        """
        numbers = new_numbers(changes)
        job = Change(customer_id, binding_id, changed_values(changes), changed_by, numbers)
        try:
            changed: Binding = await self._do_swept(job)
        except NotLeft as left:
            wish, exhausted = left.wish, left.exhausted
        else:
            return changed
        async with self._database.read() as connection:
            raise await Explaining(connection, self._clock()).refusal(wish, exhausted)

    async def extend(
        self, customer_id: str, binding_id: str, expires_at: int, changed_by: str | None = None
    ) -> Binding:
        """Let a live binding live until this moment at least. Raises as `change` does."""
        job = Change(customer_id, binding_id, {"expires_at": expires_at}, changed_by, extend=True)
        changed: Binding = await self._do(job)
        return changed

    async def give_y(self, parent_id: str, caller: str) -> str | None:
        """Bind A of a binding with `y_on_demand` and this canonical number, with a Y of its pool.

        Gives back the X by which they are bound, which is another one where they were already; None where
        there is no Y to be had, or the two cannot be bound. Raises DatabaseUnavailable.
        """
        try:
            x: str | None = await self._do_swept(GiveY(parent_id, caller))
        except (Refusal, Exhausted):
            return None
        return x

    async def release(self, customer_id: str, binding_id: str, *, hang_up: bool = False) -> Binding:
        """End a binding; its keys rest for the recycle time of their numbers' pools.

        The pairs that came about by it end with it. A binding that has ended already is given back as it is.
        Calls that talk go on, unless `hang_up`. Raises Refusal: `not_found`.
        """
        (outcome,) = await self.release_all(customer_id, [binding_id], hang_up=hang_up)
        if isinstance(outcome, Binding):
            return outcome
        raise outcome

    async def release_all(
        self, customer_id: str, ids: Sequence[str], *, hang_up: bool = False
    ) -> list[Binding | Refusal]:
        """Many at once: each is ended, or not found without harm to the others."""
        outcomes: list[Binding | Refusal] = []
        for part in self._parts(ids):
            outcomes += await self._do(Release(customer_id, part, hang_up))
        return outcomes

    async def look_up(self, caller: str | None, dialled: str) -> LegMatch:
        """Who is connected if `caller` (None: withheld) dials `dialled` now; both in canonical form."""
        async with self._database.read() as connection:
            match = await lookup_store.recognised(connection, self._vault, caller, dialled, self._clock())
        if match.callee_sealed is None:
            return match
        return replace(match, callee=self._vault.open(match.callee_sealed))

    async def sweep(self, now: int | None = None) -> int:
        """`expire_due` and `purge`; says how many bindings and legs that were."""
        async with self._database.read() as connection:
            if not await store.is_anything_over(connection, self._clock() if now is None else now):
                return 0
        return await self.expire_due(now) + await self.purge(now)

    async def expire_due(self, now: int | None = None) -> int:
        """End the bindings whose time is up; says how many. Any number of processes may do so at once."""
        return await self._in_batches(Expire(self._clock() if now is None else now, _BATCH))

    async def purge(self, now: int | None = None) -> int:
        """Let go of the keys whose quarantine is over; says how many. Safe from several processes at once."""
        return await self._in_batches(Purge(self._clock() if now is None else now, _BATCH))

    async def _in_batches(self, job: Expire | Purge) -> int:
        # A request's own transaction would keep the locks of all that ends; SQLite has one for everything.
        do = self._do if self._database.is_sqlite else self._writer.do
        total = 0
        for _ in range(_BATCHES):
            count: int = await do(job)
            total += count
            if count < _BATCH:
                break
        return total

    def _wish(self, customer_id: str, wanted: Reservation) -> Wish | Refusal:
        try:
            return wish_of(self._vault, customer_id, wanted)
        except Refusal as refused:
            return refused


def _check(outcomes: Sequence[object]) -> None:
    """Raises _InVain."""
    if places := [place for place, outcome in enumerate(outcomes) if may_be_stale(outcome)]:
        raise _InVain(places)


def may_be_stale(outcome: object) -> bool:
    """Whether a sweep may make a better one of what became of a request."""
    if isinstance(outcome, Refusal):
        no_own_x = any(error["field"] == "x_pool" for error in outcome.extra.get("errors", ()))
        return outcome.code in _STALE or no_own_x
    return isinstance(outcome, Exhausted | NotLeft)
