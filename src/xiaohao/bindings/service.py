"""What can be done with bindings: reserve, read, release; and what time does to them."""

from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings import lookup_store, store
from xiaohao.bindings.allocation import Allocation, Exhausted, LostRace, Wish, explain
from xiaohao.bindings.model import (
    Binding,
    BindingState,
    LegState,
    Mode,
    Reservation,
    Role,
)
from xiaohao.bindings.recognition import LegMatch, judge
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database, DatabaseUnavailable, TransactionLost
from xiaohao.errors import Refusal, conflict, not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.numbers.model import canonical, is_foreign
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import CustomerState

#: A race is lost only to somebody who won it, so that this many losses in a row mean a machine out of breath.
_ATTEMPTS: Final = 20
#: Rows ended or purged in one transaction: short enough for the writers in between.
_BATCH: Final = 500
#: Batches of one sweep; what is left is the next one's.
_BATCHES: Final = 200
#: what a binding shows as its row has it
_SHOWN: Final = tuple(field.name for field in fields(Binding) if field.name not in ("a", "b"))
_LONGEST_LIFE_S: Final = 10 * 366 * 86_400
_LONGEST_CALL_S: Final = 86_400
_LONGEST_REFERENCE: Final = 200
_LONGEST_USER_DATA: Final = 2000


class Bindings:
    """The relations between people. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def reserve(self, customer_id: str, reservation: Reservation) -> Binding:
        """Let two people call each other from now on.

        Raises Refusal: `validation_failed`, `pair_taken`, `number_not_found`, `number_not_in_service`,
        `number_taken`, `pool_not_found`, `number_pool_exhausted`, `customer_suspended`, `not_found`;
        DatabaseUnavailable.
        """
        swept = False
        for _ in range(_ATTEMPTS):
            wish = self._wish(customer_id, reservation)
            try:
                async with self._database.begin() as connection:
                    return await self._reserve(connection, wish, reservation)
            except (IntegrityError, TransactionLost, LostRace):
                continue  # somebody else was quicker: choose again among what is left
            except Exhausted as exhausted:
                if swept:
                    async with self._database.read() as connection:
                        raise await explain(connection, wish, exhausted) from None
                # The worker may be behind, or away: what is over must not stand in anybody's way.
                await self.sweep()
                swept = True
        raise DatabaseUnavailable("too many reservations for the same numbers at once")

    async def get(self, customer_id: str, binding_id: str) -> Binding:
        """One binding. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.find(connection, customer_id, binding_id)
        if row is None:
            raise not_found("binding")
        return self._binding(row)

    async def page(
        self,
        customer_id: str,
        before: int | None,
        limit: int,
        *,
        state: BindingState | None = None,
        a: str | None = None,
        b: str | None = None,
        number: str | None = None,
        order_ref: str | None = None,
    ) -> list[Binding]:
        """At most `limit` bindings, newest first, of those made before the one with seq `before` (None: all).

        `a` and `b` are real numbers, `number` is an X or Y, in any spelling. Raises Refusal:
        `validation_failed`.
        """
        where = store.filters(
            self._clock(),
            state,
            None if a is None else self._vault.index(_number("a", a)),
            None if b is None else self._vault.index(_number("b", b)),
            None if number is None else _number("number", number),
            order_ref,
        )
        async with self._database.read() as connection:
            rows = await store.page(connection, customer_id, before, limit, where)
        return [self._binding(row) for row in rows]

    async def release(self, customer_id: str, binding_id: str) -> Binding:
        """End a binding; its keys rest for the recycle time of their numbers' pools.

        A binding that has ended already is given back as it is. Calls that talk go on. Raises Refusal:
        `not_found`.
        """
        now = self._clock()
        async with self._database.begin() as connection:
            row = await store.find(connection, customer_id, binding_id, lock=True)
            if row is None:
                raise not_found("binding")
            if row["state"] == BindingState.LIVE:
                overdue = row["expires_at"] is not None and row["expires_at"] <= now
                state = BindingState.EXPIRED if overdue else BindingState.RELEASED
                await store.end(connection, [binding_id], state, now, None if overdue else now)
                row = await store.find(connection, customer_id, binding_id)
        assert row is not None  # noqa: S101 - bindings are never deleted
        return self._binding(row)

    async def look_up(self, caller: str | None, dialled: str) -> LegMatch:
        """Who is connected if `caller` (None: withheld) dials `dialled` now; both in canonical form."""
        key, now = b"" if caller is None else self._vault.index(caller), self._clock()
        async with self._database.read() as connection:
            row = await lookup_store.look_up(connection, key, dialled, now)
        match = judge(row, now, from_abroad=caller is not None and is_foreign(caller))
        if match.callee_sealed is None:
            return match
        return replace(match, callee=self._vault.open(match.callee_sealed))

    async def sweep(self, now: int | None = None) -> int:
        """`expire_due` and `purge`; says how many bindings and legs that were."""
        return await self.expire_due(now) + await self.purge(now)

    async def expire_due(self, now: int | None = None) -> int:
        """End the bindings whose time is up; says how many. Any number of processes may do so at once."""
        moment = self._clock() if now is None else now

        async def expire(connection: AsyncConnection) -> int:
            ids = await store.due(connection, moment, _BATCH)
            if ids:
                await store.end(connection, ids, BindingState.EXPIRED, moment, None)
            return len(ids)

        return await self._in_batches(expire)

    async def purge(self, now: int | None = None) -> int:
        """Let go of the keys whose quarantine is over; says how many. Safe from several processes at once."""
        moment = self._clock() if now is None else now
        return await self._in_batches(lambda connection: store.purge(connection, moment, _BATCH))

    async def _in_batches(self, work: Callable[[AsyncConnection], Awaitable[int]]) -> int:
        total = 0
        for _ in range(_BATCHES):
            try:
                async with self._database.begin() as connection:
                    count = await work(connection)
            except TransactionLost:
                continue
            total += count
            if count < _BATCH:
                break
        return total

    def _wish(self, customer_id: str, wanted: Reservation) -> Wish:
        _check(wanted)
        a, b = _number("a", wanted.a), _number("b", wanted.b)
        x = None if wanted.x is None else _number("x", wanted.x)
        y = None if wanted.y is None else _number("y", wanted.y)
        if a == b:
            raise validation_failed("b", "A and B are the same number")
        if x is not None and x == y:
            raise validation_failed("y", "x and y are the same number")
        return Wish(
            customer_id=customer_id,
            a=a,
            b=b,
            a_key=self._vault.index(a),
            b_key=self._vault.index(b),
            a_sealed=self._vault.seal(a),
            x=x,
            y=y,
            x_pool=wanted.x_pool,
            y_pool=wanted.y_pool,
            now=self._clock(),
        )

    async def _reserve(self, connection: AsyncConnection, wish: Wish, wanted: Reservation) -> Binding:
        await self._check_owner(connection, wish)
        await store.lock_people(connection, wish.a_key, wish.b_key)
        rows = await store.of_pair(connection, wish.customer_id, wish.a_key, wish.b_key, wish.now)
        if rows and rows[0]["state"] == BindingState.LIVE:
            if rows[0]["expires_at"] is None or rows[0]["expires_at"] > wish.now:
                return self._existing(rows[0], wish, wanted)
            overdue = await store.find(connection, wish.customer_id, rows[0]["id"], lock=True)
            if overdue is not None and overdue["state"] == BindingState.LIVE:
                await store.end(connection, [overdue["id"]], BindingState.EXPIRED, wish.now, None)
        allocation = Allocation(connection, wish, rows)
        x, y = await allocation.choose()
        row = self._row(wish, wanted, x, y)
        leg_rows = self._legs(wish, row)
        keys = [(leg["caller_key"], leg["dialled"]) for leg in leg_rows]
        await store.free_keys(connection, keys, wish.now, allocation.predecessor_ids)
        seq = await store.add(connection, row, leg_rows)
        shown = {name: row[name] for name in _SHOWN if name != "seq"}
        shown |= {"mode": Mode.AXYB, "state": BindingState.LIVE}
        return Binding(**{**shown, "seq": seq, "a": wish.a, "b": wish.b})

    @staticmethod
    async def _check_owner(connection: AsyncConnection, wish: Wish) -> None:
        named = {"x_pool": wish.x_pool, "y_pool": wish.y_pool}
        state, pools = await store.customer_and_pools(connection, wish.customer_id, **named)
        if state is None:
            raise not_found("customer")
        if state != CustomerState.ACTIVE:
            raise Refusal(
                "customer_suspended", "Customer suspended", "Ask the operator of the platform.", 403
            )
        for field, pool_id in named.items():
            if pool_id is not None and pool_id not in pools:
                raise Refusal(
                    "pool_not_found", "No such pool", "There is no such pool.", 404, {"field": field}
                )

    def _existing(self, row: RowMapping, wish: Wish, wanted: Reservation) -> Binding:
        same = (
            wish.x in (None, row["x"])
            and wish.y in (None, row["y"])
            and all(
                getattr(wanted, name) == row[name]
                for name in ("record", "max_duration_s", "order_ref", "user_data")
            )
        )
        if wanted.reuse and same:
            return self._binding(row)
        raise conflict(
            "pair_taken",
            "The pair is taken",
            "A and B have a live binding already: release it, or send an identical request with reuse.",
            binding_id=row["id"],
            x=row["x"],
            y=row["y"],
        )

    def _row(self, wish: Wish, wanted: Reservation, x: str, y: str) -> dict[str, Any]:
        life = wanted.expires_in_s
        return {
            "id": new_id("bnd"),
            "customer_id": wish.customer_id,
            "mode": Mode.AXYB.value,
            "state": BindingState.LIVE.value,
            "a_key": wish.a_key,
            "a_sealed": wish.a_sealed,
            "b_key": wish.b_key,
            "b_sealed": self._vault.seal(wish.b),
            "x": x,
            "y": y,
            "expires_at": None if life is None else wish.now + life * SECOND,
            "ended_at": None,
            "recycle_until": None,
            "record": wanted.record,
            "max_duration_s": wanted.max_duration_s,
            "order_ref": wanted.order_ref,
            "user_data": wanted.user_data,
            "created_at": wish.now,
            "updated_at": wish.now,
        }

    @staticmethod
    def _legs(wish: Wish, row: dict[str, Any]) -> list[dict[str, Any]]:
        common = {
            "binding_id": row["id"],
            "customer_id": row["customer_id"],
            "mode": row["mode"],
            "state": LegState.LIVE.value,
            "valid_until": row["expires_at"],
            "record": row["record"],
            "max_duration_s": row["max_duration_s"],
            "order_ref": row["order_ref"],
            "user_data": row["user_data"],
        }
        x, y = row["x"], row["y"]
        by_a = {"role": Role.A.value, "caller_key": wish.a_key, "dialled": y, "display": x}
        by_b = {"role": Role.B.value, "caller_key": wish.b_key, "dialled": x, "display": y}
        return [
            {**common, **by_a, "callee_sealed": row["b_sealed"]},
            {**common, **by_b, "callee_sealed": row["a_sealed"]},
        ]

    def _binding(self, row: RowMapping) -> Binding:
        shown = {name: row[name] for name in _SHOWN}
        state, ended_at = BindingState(row["state"]), row["ended_at"]
        if (
            state is BindingState.LIVE
            and row["expires_at"] is not None
            and row["expires_at"] <= self._clock()
        ):
            state, ended_at = BindingState.EXPIRED, row["expires_at"]
        return Binding(
            **{
                **shown,
                "mode": Mode(row["mode"]),
                "state": state,
                "ended_at": ended_at,
                "a": self._vault.open(row["a_sealed"]),
                "b": self._vault.open(row["b_sealed"]),
            }
        )


def _number(name: str, text: str) -> str:
    number = canonical(text)
    if number is None:
        raise validation_failed(name, "is not a telephone number that the platform knows how to dial")
    return number


def _check(wanted: Reservation) -> None:
    limits = (
        ("expires_in_s", wanted.expires_in_s, _LONGEST_LIFE_S),
        ("max_duration_s", wanted.max_duration_s, _LONGEST_CALL_S),
    )
    for name, value, largest in limits:
        if value is not None and not 1 <= value <= largest:
            raise validation_failed(name, f"must be between 1 and {largest}")
    texts = (
        ("order_ref", wanted.order_ref, _LONGEST_REFERENCE),
        ("user_data", wanted.user_data, _LONGEST_USER_DATA),
    )
    for name, text, longest in texts:
        if text is not None and (len(text) > longest or "\0" in text):
            raise validation_failed(name, f"must have at most {longest} characters, U+0000 not among them")
