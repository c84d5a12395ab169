"""Any sequence of what can happen to bindings, against the slow and obvious model."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import delete, func, select
from tests.bindings.machines import drive, one_world
from tests.bindings.obvious import Number, Obvious, Relation
from tests.world import NOON, World, person, verified, x_number, y_number

from xiaohao.bindings.model import Binding, BindingState, Reservation
from xiaohao.bindings.recognition import Outcome
from xiaohao.database.schema import bindings, customers, legs, numbers, pools, verifications
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault

T = TypeVar("T")
PEOPLE = [person(place) for place in range(1, 5)]
#: pool → (customer that owns it, None: shared; recycle time in seconds; numbers)
POOLS = {
    "x of 0": (0, 30, [x_number(1), x_number(2)]),
    "x of 1": (1, 0, [x_number(3), x_number(4)]),
    "y of 0": (0, 60, [y_number(1), y_number(2)]),
    "y of 1": (1, 0, [y_number(3), y_number(4)]),
    "shared": (None, 30, [x_number(5), x_number(6), y_number(5), y_number(6)]),
}
NUMBERS = [number for _, _, members in POOLS.values() for number in members]
people = st.sampled_from(PEOPLE)
pair = st.permutations(PEOPLE).map(lambda order: order[:2])
lives = st.sampled_from([None, 10, 50])
which_customer = st.sampled_from([0, 1])
platform_numbers = st.sampled_from(NUMBERS)


class BindingsMachine(RuleBasedStateMachine):
    """Two customers with pools of their own and one that they share, four people, one clock."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__()
        self.runner = runner
        self.world = world
        world.clock.now = NOON
        self.model = Obvious()
        self.customers: list[str] = []
        self.pools: dict[str, str] = {}

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def build(self) -> None:
        async def build() -> None:
            async with self.world.database.begin() as connection:
                for table in (legs, bindings, numbers, verifications, pools, customers):
                    await connection.execute(delete(table))
            made = [await self.world.customer(name) for name in ("0", "1")]
            self.customers = [customer.id for customer in made]
            for name, (owner, recycle_s, members) in POOLS.items():
                pool = await self.world.pool(None if owner is None else made[owner], recycle_s, members)
                self.pools[name] = pool.id
                for number in members:
                    who = None if owner is None else self.customers[owner]
                    self.model.numbers[number] = Number(pool.id, recycle_s, who)

        self.run(build())
        self.model.now = self.world.clock.now

    @rule(
        who=which_customer,
        a=people,
        b=people,
        x_pool=st.sampled_from([None, *POOLS]),
        y_pool=st.sampled_from([None, *POOLS]),
        x=st.one_of(st.none(), st.none(), platform_numbers),
        y=st.one_of(st.none(), st.none(), platform_numbers),
        life=lives,
    )
    def reserve(
        self,
        who: int,
        a: str,
        b: str,
        x_pool: str | None,
        y_pool: str | None,
        x: str | None,
        y: str | None,
        life: int | None,
    ) -> None:
        self.try_to_reserve(who, a, b, x_pool, y_pool, x, y, life)

    @rule(who=which_customer, pairs=st.lists(pair, min_size=1, max_size=4), life=lives)
    def reserve_from_own_pools(self, who: int, pairs: list[list[str]], life: int | None) -> None:
        for a, b in pairs:
            self.reserve_as_usual(who, a, b, life)

    def reserve_as_usual(self, who: int, a: str, b: str, life: int | None) -> None:
        self.try_to_reserve(who, a, b, f"x of {who}", f"y of {who}", None, None, life)

    @rule(who=which_customer, pairs=st.lists(pair, min_size=1, max_size=6), life=lives)
    def reserve_many_at_once(self, who: int, pairs: list[list[str]], life: int | None) -> None:
        customer, pools = self.customers[who], (self.pools[f"x of {who}"], self.pools[f"y of {who}"])
        wanted = [Reservation(a, b, None, None, *pools, life) for a, b in pairs]
        outcomes = self.run(self.world.bindings.reserve_all(customer, wanted))
        assert len(outcomes) == len(wanted)
        for reservation, outcome in zip(wanted, outcomes, strict=True):
            taken = self.model.live_pair(customer, str(reservation.a), str(reservation.b))
            if isinstance(outcome, Refusal):
                # What a number is taken by may have been made after it in the same batch.
                assert outcome.code in ("pair_taken", "number_pool_exhausted", "customer_suspended")
                assert outcome.code != "pair_taken" or taken is not None
                continue
            assert taken is None
            self.check_binding(customer, reservation, outcome.binding)

    @rule(who=which_customer, pairs=st.lists(pair, min_size=1, max_size=3), life=lives)
    def reserve_from_the_shared_pool(self, who: int, pairs: list[list[str]], life: int | None) -> None:
        for a, b in pairs:
            self.try_to_reserve(who, a, b, "shared", "shared", None, None, life)

    def try_to_reserve(
        self,
        who: int,
        a: str,
        b: str,
        x_pool: str | None,
        y_pool: str | None,
        x: str | None,
        y: str | None,
        life: int | None,
    ) -> None:
        customer = self.customers[who]
        pool_x = None if x_pool is None else self.pools[x_pool]
        pool_y = None if y_pool is None else self.pools[y_pool]
        wanted = Reservation(a, b, x, y, pool_x, pool_y, life)
        taken = self.model.live_pair(customer, a, b)
        told = self.run(self.world.bindings.explain(customer, wanted))
        try:
            binding = self.run(self.world.bindings.reserve(customer, wanted))
        except Refusal as refusal:
            assert told.refusal is not None and told.refusal.code == refusal.code
            self.check_refusal(refusal, customer, wanted, taken)
            return
        assert told.x is not None and told.y is not None
        explained = (told.x.found.facts.number, told.y.found.facts.number)
        assert explained == (binding.x, binding.y)
        assert a != b
        assert taken is None
        assert customer not in self.model.suspended_customers
        self.check_binding(customer, wanted, binding)

    def check_binding(self, customer: str, wanted: Reservation, binding: Binding) -> None:
        """A binding that was made; takes it into the model."""
        a, b, x, y = str(wanted.a), str(wanted.b), wanted.x, wanted.y
        pool_x, pool_y = wanted.x_pool, wanted.y_pool
        assert binding.y is not None
        assert binding.x != binding.y
        assert self.model.can_be_x(binding.x, customer, a, b)
        # The model holds X back from being a Y only once it is bound.
        assert self.model.can_be_y(binding.y, customer, a, b)
        for number in (binding.x, binding.y):
            assert self.model.numbers[number].owner in (None, customer)
        assert x in (None, binding.x)
        assert y in (None, binding.y)
        if x is None and self.model.numbers[binding.x].pool != pool_x:
            assert binding.x in self.model.had(customer, a)
        if y is None and pool_y is not None:
            assert self.model.numbers[binding.y].pool == pool_y
        self.model.relations.append(Relation(binding))

    def check_refusal(
        self, refusal: Refusal, customer: str, wanted: Reservation, taken: Relation | None
    ) -> None:
        model, a, b = self.model, wanted.a, wanted.b
        match refusal.code:
            case "validation_failed":
                same = a == b or (wanted.x is not None and wanted.x == wanted.y)
                assert same or None in (wanted.x or wanted.x_pool, wanted.y or wanted.y_pool)
            case "pair_taken":
                assert taken is not None
                assert refusal.extra["binding_id"] == taken.binding.id
            case "customer_suspended":
                assert customer in model.suspended_customers
            case "pool_not_found":
                owners = {number.pool: number.owner for number in model.numbers.values()}
                assert {owners.get(pool) for pool in (wanted.x_pool, wanted.y_pool)} - {None, customer}
            case "number_not_found":
                named = wanted.x if refusal.extra["field"] == "x" else wanted.y
                assert named is not None
                if model.numbers[named].owner in (None, customer):
                    assert {borrower for borrower, _ in model.borrowers(named)} - {customer}
            case "number_not_in_service":
                named = wanted.x if refusal.extra["field"] == "x" else wanted.y
                assert named is not None and model.numbers[named].state == "suspended"
            case "number_taken":
                self.check_taken(refusal.extra["field"], customer, wanted)
            case "number_pool_exhausted":
                if refusal.extra["field"] == "x_pool":
                    members = [n for n in model.numbers if model.numbers[n].pool == wanted.x_pool]
                    free = [n for n in members if model.can_be_x(n, customer, a, b)]
                    assert not [n for n in free if model.holder(a, n) is None and n != wanted.y]
                else:
                    members = [n for n in model.numbers if model.numbers[n].pool == wanted.y_pool]
                    free = [n for n in members if model.can_be_y(n, customer, a, b) and n != wanted.x]
                    # The last one of a pool of both may have gone to X just before.
                    assert len(free) <= (wanted.x_pool == wanted.y_pool and wanted.x is None)
            case _:
                raise refusal

    def check_taken(self, field: str, customer: str, wanted: Reservation) -> None:
        """A number that was named is taken."""
        named = wanted.x if field == "x" else wanted.y
        assert named is not None
        can_be = self.model.can_be_x if field == "x" else self.model.can_be_y
        assert not can_be(named, customer, wanted.a, wanted.b)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        candidates = [relation for relation in self.model.relations if not relation.lost]
        if not candidates:
            return
        relation = data.draw(st.sampled_from(candidates))
        was_live = self.model.is_live(relation)
        binding = relation.binding
        released = self.run(self.world.bindings.release(binding.customer_id, binding.id))
        if was_live:
            relation.released_at = self.model.now
            assert released.state is BindingState.RELEASED
        assert released.ended_at == relation.ended_at

    @rule(data=st.data(), b=people)
    def another_b(self, data: st.DataObject, b: str) -> None:
        candidates = [relation for relation in self.model.relations if not relation.lost]
        if not candidates:
            return
        relation = data.draw(st.sampled_from(candidates))
        was = relation.binding
        try:
            changed = self.run(self.world.bindings.change(was.customer_id, was.id, {"b": b}))
        except Refusal as refusal:
            match refusal.code:
                case "binding_ended":
                    assert not self.model.is_live(relation)
                case "validation_failed":
                    assert b == was.a
                case "pair_taken":
                    taken = self.model.live_pair(was.customer_id, str(was.a), b)
                    assert taken is not None and taken is not relation
                case "number_taken":
                    assert self.model.holder(b, was.x) not in (None, relation)
                case _:
                    raise
            return
        assert self.model.is_live(relation)
        if b != was.b:
            self.model.change_b(relation, changed)

    @rule(name=st.sampled_from(["x of 0", "y of 1", "shared"]))
    def numbers_come_in(self, name: str) -> None:
        if len(self.model.numbers) >= len(NUMBERS) + 3:
            return
        owner, recycle_s, _ = POOLS[name]
        number = x_number(20 + len(self.model.numbers))
        self.run(self.world.numbers.add_numbers([verified(number, self.pools[name])]))
        who = None if owner is None else self.customers[owner]
        self.model.numbers[number] = Number(self.pools[name], recycle_s, who)

    @rule(seconds=st.sampled_from([1, 9, 10, 20, 30, 60]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.forward(seconds)
        self.model.now = self.world.clock.now

    @rule()
    def sweep(self) -> None:
        self.run(self.world.bindings.sweep())

    @rule(number=platform_numbers, up=st.sampled_from([True, True, False]))
    def suspend_or_resume_a_number(self, number: str, up: bool) -> None:
        change = self.world.numbers.resume if up else self.world.numbers.suspend
        self.run(change(number))
        self.model.numbers[number].state = "available" if up else "suspended"

    @rule(who=which_customer)
    def a_customer_is_suspended_for_a_moment(self, who: int) -> None:
        customer = self.customers[who]
        self.run(self.world.tenants.suspend(customer))
        self.model.suspended_customers.add(customer)
        self.reserve_as_usual(who, *PEOPLE[:2], None)
        for relation in self.model.relations:
            for caller, dialled in relation.legs():
                self.check_call(caller, dialled)
        self.run(self.world.tenants.resume(customer))
        self.model.suspended_customers.discard(customer)

    @rule(number=platform_numbers, a=people)
    def fix(self, number: str, a: str) -> None:
        owner = self.model.numbers[number].owner
        if owner is None:
            return
        try:
            self.run(self.world.numbers.assign(number, a, owner))
        except Refusal as refusal:
            assert refusal.code in ("number_taken", "number_not_in_service")
            return
        assert self.model.borrowers(number) <= {(owner, a)}
        self.model.numbers[number].fixed_to = (owner, a)

    @rule(number=platform_numbers)
    def unfix(self, number: str) -> None:
        self.run(self.world.numbers.unassign(number))
        self.model.numbers[number].fixed_to = None

    @rule(caller=people, dialled=st.one_of(platform_numbers, people))
    def call(self, caller: str, dialled: str) -> None:
        self.check_call(caller, dialled)

    @invariant()
    def relations_are_counted(self) -> None:
        if self.model.relations:
            for number, count in self.run(self.counts()).items():
                least, most = self.model.carries(number)
                assert least <= count <= most, number

    async def counts(self) -> dict[str, int]:
        async with self.world.database.read() as connection:
            live = select(legs.c.dialled, func.count()).where(legs.c.state == "live").group_by(legs.c.dialled)
            counted = {row.dialled: row[1] for row in await connection.execute(live)}
            rows = await connection.execute(select(numbers.c.number, numbers.c.relations))
            kept = {row.number: row.relations for row in rows}
        assert {number: count for number, count in kept.items() if count} == counted
        return kept

    @invariant()
    def nobody_meets_a_stranger(self) -> None:
        # Whoever was bound last is asked about after every step, everybody at the end.
        for relation in self.model.relations[-1:]:
            for caller, dialled in relation.legs():
                self.check_call(caller, dialled)

    def check_call(self, caller: str, dialled: str) -> None:
        match = self.run(self.world.bindings.look_up(caller, dialled))
        outcomes, callee, display = self.model.look_up(caller, dialled)
        assert match.outcome in outcomes
        if match.outcome is Outcome.CONNECT:
            assert (match.callee, match.display) == (callee, display)

    def teardown(self) -> None:
        if not self.customers:
            return
        for caller in PEOPLE:
            for dialled in NUMBERS:
                self.check_call(caller, dialled)


def test_no_sequence_of_events_connects_strangers(database_url: str, vault: Vault) -> None:
    with one_world(database_url, vault) as (runner, world):
        drive(lambda: BindingsMachine(runner, world), examples=20, steps=30)
