"""What can be done with bindings: reserve, read, release; and what time does to them.

What writes is a job that the writer's thread carries out (`jobs.py`, `clerk.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from xiaohao.bindings import lookup_store, store
from xiaohao.bindings.allocation import Exhausted, Wish
from xiaohao.bindings.asking import changed_values, new_numbers, number_of, wish_of
from xiaohao.bindings.changing import Change
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
from xiaohao.bindings.writing_store import writing_statements
from xiaohao.clock import now_us
from xiaohao.database.driver_errors import errors_translated
from xiaohao.database.engine import Database
from xiaohao.database.writer import ATTEMPTS, LOST, Job, Writer, out_of_breath
from xiaohao.errors import Refusal, not_found
from xiaohao.secrecy import Vault

#: Rows ended or purged in one transaction: short enough for the writers in between.
_BATCH: Final = 500
#: Batches of one sweep; what is left is the next one's.
_BATCHES: Final = 200
#: Reservations in one transaction. PostgreSQL has a table of so many advisory locks for all its clients.
_GROUP: Final = 2000
_POSTGRESQL_GROUP: Final = 250


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
        await self._try(outcomes, reservations, range(len(outcomes)))
        exhausted = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Exhausted)]
        if exhausted:
            # The worker may be behind, or away: what is over must not stand in anybody's way.
            await self.sweep()
            for place in exhausted:
                outcomes[place] = wishes[place]
            await self._try(outcomes, reservations, exhausted)
            async with self._database.read() as connection:
                explaining = Explaining(connection, self._clock())
                for place in exhausted:
                    if isinstance(outcomes[place], Exhausted):
                        outcomes[place] = await explaining.refusal(wishes[place], outcomes[place])
        return outcomes

    async def explain(self, customer_id: str, reservation: Reservation) -> Explanation:
        """What `reserve` would come to now, and why; nothing is bound. Raises DatabaseUnavailable."""
        wish = self._wish(customer_id, reservation)
        if isinstance(wish, Refusal):
            return Explanation(refusal=wish)
        decision = await self._decision(wish, reservation)
        if isinstance(decision, Exhausted):
            await self.sweep()
            decision = await self._decision(wish, reservation)
        if isinstance(decision, Refusal):
            return Explanation(refusal=decision)
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

    async def _decision(self, wish: Wish, wanted: Reservation) -> Decision | Refusal | Exhausted:
        try:
            decision: Decision = await self._do(Decide(wish, wanted))
        except (Refusal, Exhausted) as refused:
            return refused
        return decision

    async def _try(
        self, outcomes: list[Any], reservations: Sequence[Reservation], places: Sequence[int]
    ) -> None:
        """Put what becomes of the wishes among the outcomes at these places into their places."""
        wanted = [place for place in places if isinstance(outcomes[place], Wish)]
        for start in range(0, len(wanted), self._group):
            part = wanted[start : start + self._group]
            job = Reserve([(outcomes[place], reservations[place]) for place in part])
            for place, outcome in zip(part, await self._do(job), strict=True):
                outcomes[place] = self._clerk.reserved(outcome)

    async def _do(self, job: Job) -> Any:
        """Carry out a job: in the writer's next transaction, or in the one that this task is inside of."""
        if not self._database.taken_part_in():
            return await self._writer.do(job)

        def carry_out(connection: Connection, attempt: int) -> Any:
            with errors_translated():
                return self._clerk.carry_out(connection.connection.cursor(), [job], attempt)[0]  # type: ignore[arg-type]

        error: Exception | None = None
        for attempt in range(ATTEMPTS):
            try:
                async with self._database.begin() as connection:
                    outcome = await connection.run_sync(carry_out, attempt)
            except LOST as lost:
                error = lost
            else:
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome
        assert error is not None  # noqa: S101 - every round but a successful one leaves one
        raise out_of_breath(error)

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
            return self._or_refused(await self._do(job))
        except NotLeft:
            await self.sweep()  # as where a new binding finds nothing
        try:
            return self._or_refused(await self._do(job))
        except NotLeft as left:
            wish, exhausted = left.wish, left.exhausted
        async with self._database.read() as connection:
            raise await Explaining(connection, self._clock()).refusal(wish, exhausted)

    async def extend(
        self, customer_id: str, binding_id: str, expires_at: int, changed_by: str | None = None
    ) -> Binding:
        """Let a live binding live until this moment at least. Raises as `change` does."""
        job = Change(customer_id, binding_id, {"expires_at": expires_at}, changed_by, extend=True)
        return self._or_refused(await self._do(job))

    async def give_y(self, parent_id: str, caller: str) -> str | None:
        """Bind A of a binding with `y_on_demand` and this canonical number, with a Y of its pool.

        Gives back the X by which they are bound, which is another one where they were already; None where
        there is no Y to be had, or the two cannot be bound. Raises DatabaseUnavailable.
        """
        x: str | None = await self._do(GiveY(parent_id, caller))
        return x

    @staticmethod
    def _or_refused(outcome: Binding | Refusal) -> Binding:
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

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
        for start in range(0, len(ids), self._group):
            outcomes += await self._do(Release(customer_id, ids[start : start + self._group], hang_up))
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
        """Let go of the keys whose quarantine is over; says how many. Safe from several processes at once.

        A request in a transaction of its own leaves it to others who are at it already.
        """
        if self._database.taken_part_in() and not self._database.is_sqlite:
            # It has numbers locked, and who is at it may be waiting for one of them.
            async with self._database.begin() as connection:
                if not await store.may_purge(connection):
                    return 0
        return await self._in_batches(Purge(self._clock() if now is None else now, _BATCH))

    async def _in_batches(self, job: Expire | Purge) -> int:
        total = 0
        for _ in range(_BATCHES):
            count: int = await self._do(job)
            total += count
            if count < _BATCH:
                break
        return total

    def _wish(self, customer_id: str, wanted: Reservation) -> Wish | Refusal:
        try:
            return wish_of(self._vault, customer_id, wanted)
        except Refusal as refused:
            return refused
