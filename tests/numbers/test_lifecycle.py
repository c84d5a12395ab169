"""The life of numbers: any sequence of what can happen keeps to the table, and the history is the truth."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select
from tests.world import NOON, World, person, verified, x_number, y_number

from xiaohao.bindings.model import Reservation
from xiaohao.clock import SECOND
from xiaohao.database.engine import Database
from xiaohao.database.schema import (
    bindings,
    customers,
    events,
    legs,
    number_history,
    numbers,
    pools,
    verifications,
)
from xiaohao.errors import Refusal
from xiaohao.numbers.lifecycle import TOLD, TRANSITIONS, Reason
from xiaohao.numbers.model import Kind, NumberSpec, NumberState
from xiaohao.secrecy import Vault

T = TypeVar("T")
XS = [x_number(1), x_number(2)]
YS = [y_number(1), y_number(2)]
TABLES = (legs, bindings, numbers, number_history, events, verifications, pools, customers)
any_number = st.sampled_from(XS + YS)
an_x = st.sampled_from(XS)
people = st.integers(1, 3)


class LifeMachine(RuleBasedStateMachine):
    """One customer with two X and two Y, three people, one clock."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__()
        self.runner = runner
        self.world = world
        world.clock.now = NOON

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        try:
            return self.runner.run(coroutine)
        except Refusal as refusal:
            self.last_refusal = refusal
            return None

    @initialize()
    def build(self) -> None:
        async def build() -> None:
            async with self.world.database.begin() as connection:
                for table in (
                    legs,
                    bindings,
                    numbers,
                    number_history,
                    events,
                    verifications,
                    pools,
                    customers,
                ):
                    await connection.execute(delete(table))
            self.customer = await self.world.customer()
            self.pools = [
                await self.world.pool(self.customer, recycle_s, members)
                for recycle_s, members in ((30, XS), (60, YS))
            ]

        self.run(build())

    @rule(number=any_number, reason=st.sampled_from(list(Reason)), life=st.sampled_from([None, 20]))
    def suspend(self, number: str, reason: Reason, life: int | None) -> None:
        until = None if life is None else self.world.clock.now + life * SECOND
        self.run(self.world.numbers.suspend(number, reason, until))

    @rule(number=any_number)
    def resume(self, number: str) -> None:
        self.run(self.world.numbers.resume(number))

    @rule(number=any_number)
    def stock(self, number: str) -> None:
        self.run(self.world.numbers.take_to_stock(number))

    @rule(number=any_number)
    def release(self, number: str) -> None:
        self.run(self.world.numbers.release(number))

    @rule(number=any_number)
    def retire(self, number: str) -> None:
        self.run(self.world.numbers.retire(number))

    @rule(number=an_x, who=people)
    def assign(self, number: str, who: int) -> None:
        self.run(self.world.numbers.assign(number, person(who), self.customer.id))

    @rule(number=any_number)
    def unassign(self, number: str) -> None:
        self.run(self.world.numbers.unassign(number))

    @rule(pair=st.permutations([1, 2, 3]), life=st.sampled_from([None, 10]))
    def bind(self, pair: list[int], life: int | None) -> None:
        x_pool, y_pool = (pool.id for pool in self.pools)
        wanted = Reservation(
            person(pair[0]), person(pair[1]), x_pool=x_pool, y_pool=y_pool, expires_in_s=life
        )
        self.run(self.world.bindings.reserve(self.customer.id, wanted))

    @rule(which=st.integers(0, 3))
    def end(self, which: int) -> None:
        found = self.run(self.world.bindings.page(self.customer.id, None, 10)) or []
        if which < len(found):
            self.run(self.world.bindings.release(self.customer.id, found[which].id))

    @rule(seconds=st.sampled_from([1, 15, 40]))
    def wait(self, seconds: int) -> None:
        self.world.clock.forward(seconds)
        self.run(self.world.bindings.sweep())
        self.run(self.world.numbers.sweep())

    @invariant()
    def the_history_is_the_truth(self) -> None:
        if not hasattr(self, "customer"):
            return

        async def look() -> tuple[list[Any], list[Any], list[Any]]:
            async with self.world.database.read() as connection:
                all_of = [
                    list((await connection.execute(query)).mappings())
                    for query in (
                        select(numbers),
                        select(number_history).order_by(number_history.c.seq),
                        select(events),
                    )
                ]
                return all_of[0], all_of[1], all_of[2]

        rows, history, told = self.runner.run(look())
        for row in rows:
            lines = [line for line in history if line["number"] == row["number"]]
            state = None
            for line in lines:
                assert line["from_state"] == state
                state = line["to_state"]
                allowed = TRANSITIONS[
                    None if line["from_state"] is None else NumberState(line["from_state"]),
                    NumberState(state),
                ]
                assert Reason(line["reason"]) in allowed
            last = lines[-1]
            assert (row["state"], row["assigned_to_key"]) == (last["to_state"], last["person_key"])
            changes = [line["at"] for line in lines if line["from_state"] != line["to_state"]]
            assert row["state_at"] in (changes[-1], last["at"])
            if row["state"] in (NumberState.IN_SERVICE, NumberState.AGEING):
                assert row["assigned_to_key"] is not None
            if row["state"] in (NumberState.IN_STOCK, NumberState.AVAILABLE):
                assert row["assigned_to_key"] is None
        wanted = {line["seq"] for line in history if Reason(line["reason"]) in TOLD}
        assert {event["sequence"] for event in told} == wanted


def test_any_life_keeps_to_the_table(database: Database, vault: Vault) -> None:
    world = World(database, vault)
    with asyncio.Runner() as runner:
        run_state_machine_as_test(
            lambda: LifeMachine(runner, world),
            settings=settings(
                max_examples=25,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        runner.run(database.close())


async def states(world: World, number: str) -> list[tuple[str | None, str, str]]:
    entries = await world.numbers.history(number, None, 100)
    return [(entry.from_state, entry.to_state, entry.reason) for entry in reversed(entries)]


async def test_a_lent_number_ages_and_comes_back(world: World) -> None:
    ride = await world.ride(xs=1, ys=3, x_recycle_s=60)
    first = await ride.reserve(1, 2)
    second = await ride.reserve(1, 3)
    await ride.release(first)
    assert (await world.numbers.get_number(first.x)).state is NumberState.IN_SERVICE
    await ride.release(second)
    ageing = await world.numbers.get_number(first.x)
    assert (ageing.state, ageing.state_reason, ageing.assigned_to) == ("ageing", "returned", person(1))
    again = await ride.reserve(1, 4)
    assert (await world.numbers.get_number(again.x)).state is NumberState.IN_SERVICE
    await ride.release(again)
    world.clock.forward(61)
    await world.bindings.sweep()
    free = await world.numbers.get_number(first.x)
    assert (free.state, free.state_reason, free.assigned_to) == ("available", "recycle_over", None)
    assert await states(world, first.x) == [
        (None, "available", "imported"),
        ("available", "in_service", "assigned"),
        ("in_service", "ageing", "returned"),
        ("ageing", "in_service", "assigned"),
        ("in_service", "ageing", "returned"),
        ("ageing", "available", "recycle_over"),
    ]
    whose = [entry.person for entry in await world.numbers.history(first.x, None, 100)]
    assert whose == [None, *[person(1)] * 4, None]
    assert await states(world, first.y) == [(None, "available", "imported")]


async def test_a_suspension_with_an_end(world: World) -> None:
    ride = await world.ride()
    until = world.clock.now + 60 * SECOND
    shut = await world.numbers.suspend(x_number(1), Reason.CARRIER, until, "key_1", "by letter")
    assert (shut.state_reason, shut.suspended_until) == ("carrier", until)
    assert await world.numbers.suspend(x_number(1), Reason.CARRIER, until) == shut
    assert await world.numbers.sweep() == 0
    world.clock.forward(60)
    assert await world.numbers.sweep() == 1
    assert await world.numbers.sweep() == 0
    open_again = await world.numbers.get_number(x_number(1))
    assert (open_again.state, open_again.state_reason) == (NumberState.AVAILABLE, "suspension_over")
    assert open_again.suspended_until is None
    entry = (await world.numbers.history(x_number(1), None, 100))[1]
    assert (entry.changed_by, entry.note) == ("key_1", "by letter")
    for wrong in ({"reason": Reason.MOVED}, {"until": world.clock.now}):
        with pytest.raises(Refusal) as refused:
            await world.numbers.suspend(x_number(2), **wrong)  # type: ignore[arg-type]
        assert refused.value.code == "validation_failed"
    assert (await ride.reserve(1, 2)).x == x_number(1)


async def test_stock(world: World) -> None:
    ride = await world.ride(xs=1, ys=1)
    await world.numbers.add_numbers([NumberSpec(y_number(9), ride.y_pool.id, state=NumberState.IN_STOCK)])
    binding = await ride.reserve(1, 2)
    for used in (binding.x, binding.y):
        with pytest.raises(Refusal) as refused:
            await world.numbers.take_to_stock(used)
        assert refused.value.code == "number_in_use"
    with pytest.raises(Refusal) as refused:
        await ride.reserve(1, 3)
    assert refused.value.code == "number_pool_exhausted"
    assert (await world.numbers.release(y_number(9))).state is NumberState.AVAILABLE
    assert (await ride.reserve(1, 3)).y == y_number(9)
    with pytest.raises(Refusal) as refused:
        await world.numbers.suspend((await stocked(world)).number)
    assert refused.value.code == "number_in_another_state"


async def stocked(world: World) -> Any:
    (number,) = await world.numbers.add_numbers([NumberSpec(y_number(80), state=NumberState.IN_STOCK)])
    return number


async def test_a_number_moves_while_nobody_uses_it(world: World) -> None:
    mine, yours = await world.customer("mine"), await world.customer("yours")
    pool = await world.pool(mine, 60, [x_number(1), x_number(2)])
    other = await world.pool(yours, 60, [])
    moved = await world.numbers.change_number(x_number(1), {"pool_id": other.id})
    assert (moved.pool_id, moved.customer_id, moved.state) == (other.id, yours.id, NumberState.AVAILABLE)
    assert [e.reason for e in await world.numbers.history(x_number(1), None, 9, yours.id)] == [Reason.MOVED]
    assert len(await world.numbers.history(x_number(1), None, 9)) == 3
    await world.numbers.assign(x_number(2), person(1), mine.id)
    with pytest.raises(Refusal) as refused:
        await world.numbers.change_number(x_number(2), {"pool_id": other.id})
    assert refused.value.code == "number_in_use"
    landlines = await world.pool(mine, 60, [], kind=Kind.LANDLINE)
    with pytest.raises(Refusal, match="no number of this kind"):
        await world.numbers.change_number(x_number(1), {"pool_id": landlines.id})
    assert (await world.numbers.change_number(x_number(1), {"pool_id": pool.id})).customer_id == mine.id


async def test_what_is_said_of_a_number(world: World) -> None:
    service, shown = "4001234567", y_number(1)
    added = await world.numbers.add_numbers(
        [
            verified(x_number(1), city="755", carrier="Mobile"),
            NumberSpec(shown),
            NumberSpec(service, displayed_as=shown, city="10"),
            NumberSpec("95188"),
        ]
    )
    said = [(n.city, n.carrier, n.displayable, n.displayed_as, n.dialled_by) for n in added]
    assert said == [
        ("755", "Mobile", True, None, "anyone"),
        ("10", None, True, None, "anyone"),
        ("10", None, False, shown, "domestic"),
        (None, None, True, None, "domestic"),
    ]
    changed = await world.numbers.change_number(x_number(1), {"displayed_as": shown, "displayable": False})
    assert (changed.displayable, changed.displayed_as) == (False, shown)
    for values, field in (
        ({"displayed_as": y_number(5)}, "displayed_as"),
        ({"displayed_as": service}, "displayed_as"),
        ({"displayed_as": x_number(1)}, "displayed_as"),
        ({"displayable": True}, "displayed_as"),
        ({"city": "11"}, "city"),
    ):
        with pytest.raises(Refusal) as refused:
            await world.numbers.change_number(x_number(1), values)
        assert refused.value.extra["errors"][0]["field"] == field
    with pytest.raises(Refusal) as refused:
        await world.numbers.change_number(shown, {"displayable": False})
    assert refused.value.code == "number_shown"
    await world.numbers.suspend(shown)
    with pytest.raises(Refusal) as refused:
        await world.numbers.change_number(service, {"displayed_as": shown})
    assert refused.value.extra["errors"][0]["field"] == "displayed_as"
    assert (await world.numbers.change_number(service, {"carrier": "Unicom"})).displayed_as == shown
    for spec, field in (
        (NumberSpec("4001234569", displayed_as=shown), "displayed_as"),
        (NumberSpec("4001234568", displayable=True), "displayable"),
        (NumberSpec(y_number(6), city="755"), "city"),
        (NumberSpec(y_number(6), documents=("d",)), "verification"),
        (NumberSpec(x_number(6), valid_until=1), "verification"),
        (NumberSpec(x_number(6), documents=("d",), valid_until=1), "verification"),
        (NumberSpec(x_number(6), state=NumberState.AGEING), "state"),
        (NumberSpec(x_number(6), displayed_as=x_number(6)), "displayed_as"),
    ):
        with pytest.raises(Refusal) as refused:
            await world.numbers.add_numbers([spec])
        assert refused.value.extra["errors"][0]["field"] == f"numbers.0.{field}"
