"""What `explain` says, `reserve` does; and it counts those numbers that would do, each of which does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlalchemy import delete, update
from tests.bindings.machines import drive, one_world
from tests.bindings.test_policies import set_number
from tests.world import NOON, Ride, World, person, verified, x_number

from xiaohao.bindings.choice import How
from xiaohao.bindings.explain import Chosen, Explanation
from xiaohao.bindings.model import Binding, Mode, Reservation
from xiaohao.bindings.store import is_anything_over
from xiaohao.database.schema import bindings, customers, legs, numbers, pools, verifications
from xiaohao.errors import Refusal
from xiaohao.pools.model import Choice, CityRule
from xiaohao.secrecy import Vault

T = TypeVar("T")
PEOPLE = [person(place) for place in range(1, 5)]
XS = [x_number(place) for place in range(1, 4)]
#: in Beijing and in Shijiazhuang
YS = ["+861062000001", "+861062000002", "+8631185000001"]
NUMBERS = [*XS, *YS]
people = st.sampled_from(PEOPLE)


class CountingMachine(RuleBasedStateMachine):
    """One customer with two small pools, which may be one."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__()
        self.runner = runner
        self.world = world
        world.clock.now = NOON
        self.made: list[Binding] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize(
        recycle_s=st.sampled_from([0, 30]),
        most=st.sampled_from([None, 1, 2, 3]),
        choice=st.sampled_from(Choice),
        rule=st.sampled_from(CityRule),
        one_pool=st.booleans(),
    )
    def build(self, recycle_s: int, most: int | None, choice: Choice, rule: CityRule, one_pool: bool) -> None:
        async def build() -> Ride:
            async with self.world.database.begin() as connection:
                for table in (legs, bindings, numbers, verifications, pools, customers):
                    await connection.execute(delete(table))
            customer = await self.world.customer()
            policy = {"max_relations": most, "choice": choice, "city_rule": rule}
            xs = await self.world.pool(customer, recycle_s, XS, **policy)
            ys = xs if one_pool else await self.world.pool(customer, 30, [], **policy)
            await self.world.numbers.add_numbers([verified(number, ys.id) for number in YS])
            return Ride(self.world, customer, xs, ys)

        self.ride = self.run(build())

    @rule(
        mode=st.sampled_from([Mode.AXYB, Mode.AXYB, *Mode, None]),
        a=people,
        b=people,
        x=st.sampled_from([None, None, None, *NUMBERS]),
        y=st.sampled_from([None, None, None, *NUMBERS]),
        with_pool=st.sampled_from([True, True, False]),
        city=st.sampled_from([None, "10", "311"]),
        life=st.sampled_from([None, 10, 50]),
        reuse=st.booleans(),
    )
    def ask_and_bind(
        self,
        mode: Mode | None,
        a: str,
        b: str,
        x: str | None,
        y: str | None,
        with_pool: bool,
        city: str | None,
        life: int | None,
        reuse: bool,
    ) -> None:
        wanted: dict[str, Any] = {"mode": mode or Mode.AXYB, "a": a, "x": x, "reuse": reuse}
        wanted |= {"expires_in_s": life, "x_pool": self.ride.x_pool.id if with_pool else None}
        if mode is None:
            wanted |= {"y_on_demand": True, "y_pool": self.ride.y_pool.id}
        elif mode is Mode.AXYB:
            wanted |= {"b": b, "y": y, "y_pool": self.ride.y_pool.id, "y_city": None if y else city}
        elif mode is Mode.X:
            wanted["a"] = None
        elif mode in (Mode.AXB, Mode.AX):
            wanted["b"] = b
        self.try_it(Reservation(**wanted))

    def try_it(self, wanted: Reservation) -> None:
        told = self.explained(wanted)
        # what is over counts again once somebody finds nothing else, and sweeps
        if not self.run(self.is_anything_over()):
            self.check_counts(wanted, told)
        try:
            made = self.run(self.world.bindings.reserved(self.ride.customer.id, wanted))
        except Refusal as refused:
            assert told.refusal is not None
            assert (told.refusal.code, told.refusal.extra) == (refused.code, refused.extra)
            return
        assert told.refusal is None
        if told.existing is not None:
            assert (made.fresh, made.binding) == (False, told.existing)
            return
        assert told.x is not None
        y = None if told.y is None else told.y.found.facts.number
        assert (made.fresh, made.binding.x, made.binding.y) == (True, told.x.found.facts.number, y)
        self.made.append(made.binding)

    def check_counts(self, wanted: Reservation, told: Explanation) -> None:
        for chosen, name in ((told.x, "x"), (told.y, "y")):
            # X of a pool from which Y is taken, too: there is no Y where only one is left
            of_both = name == "x" and told.y is not None and self.ride.x_pool == self.ride.y_pool
            if chosen is not None and chosen.candidates is not None and not of_both:
                assert chosen.candidates == len(self.would_do(wanted, told, chosen, name))

    async def is_anything_over(self) -> bool:
        async with self.world.database.read() as connection:
            return await is_anything_over(connection, self.world.clock.now)

    def explained(self, wanted: Reservation) -> Explanation:
        return self.run(self.world.bindings.explain(self.ride.customer.id, wanted))

    def would_do(self, wanted: Reservation, told: Explanation, chosen: Chosen, name: str) -> set[str]:
        """The numbers that are chosen where one after the other is taken away, X staying for a Y."""
        found: set[str] = set()
        facts = chosen.found.facts
        kept = told.x.found.facts.number if name == "y" and told.x is not None else None
        wishes_city = (wanted.x_city if name == "x" else wanted.y_city) is not None
        while facts.city == chosen.found.facts.city or not wishes_city:
            found.add(facts.number)
            self.run(set_number(self.world, facts.number, state="in_stock"))
            again = self.explained(wanted)
            one = again.x if name == "x" else again.y
            assert again.x is None or kept in (None, again.x.found.facts.number)
            if one is None or one.found.how is not How.LEAST_RECENTLY_USED:
                break
            facts = one.found.facts
        self.run(self.put_back(found))
        return found

    async def put_back(self, found: set[str]) -> None:
        async with self.world.database.begin() as connection:
            of_them = numbers.c.number.in_(found)
            await connection.execute(update(numbers).where(of_them).values(state="available"))

    @rule(data=st.data())
    def end_and_ask_again(self, data: st.DataObject) -> None:
        if not self.made:
            return
        binding = data.draw(st.sampled_from(self.made))
        self.run(self.ride.release(binding))
        if binding.mode is Mode.AXYB and binding.b is not None:
            pools_ = {"x_pool": self.ride.x_pool.id, "y_pool": self.ride.y_pool.id}
            self.try_it(Reservation(binding.a, binding.b, **pools_))

    @rule(seconds=st.sampled_from([1, 10, 30, 60]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.forward(seconds)

    @rule()
    def sweep(self) -> None:
        self.run(self.world.bindings.sweep())


def test_what_is_explained_is_done(database_url: str, vault: Vault) -> None:
    with one_world(database_url, vault) as (runner, world):
        drive(lambda: CountingMachine(runner, world), examples=15, steps=20)
