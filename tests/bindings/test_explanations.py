"""What would be chosen and why; and why it would not."""

from typing import Any

from sqlalchemy import func, insert, select, update
from tests.bindings.test_policies import BEIJING, SHIJIAZHUANG, TANGSHAN, change, ride_with, set_number
from tests.world import NOON, Ride, World, person, x_number, y_number

from xiaohao.bindings.choice import How
from xiaohao.bindings.explain import Explanation
from xiaohao.bindings.model import Mode, Reservation
from xiaohao.clock import SECOND, rfc3339
from xiaohao.database.schema import bindings, customers, verifications
from xiaohao.errors import Refusal
from xiaohao.pools.model import CityRule


async def explained(ride: Ride, a: int, b: int, **wanted: Any) -> Explanation:
    usual = {"a": person(a), "b": person(b), "x_pool": ride.x_pool.id, "y_pool": ride.y_pool.id}
    return await ride.world.bindings.explain(ride.customer.id, Reservation(**{**usual, **wanted}))


async def refused(ride: Ride, a: int, b: int, **wanted: Any) -> Refusal:
    refusal = (await explained(ride, a, b, **wanted)).refusal
    assert refusal is not None
    return refusal


async def count(world: World) -> int:
    async with world.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(bindings))).scalar_one())


async def test_what_is_explained_is_what_is_bound(world: World) -> None:
    ride = await world.ride(xs=3, ys=3)
    for passenger, how, xs, ys in ((2, How.LEAST_RECENTLY_USED, 3, 3), (3, How.OWN, None, 2)):
        explanation = await explained(ride, 1, passenger)
        assert explanation == await explained(ride, 1, passenger)
        assert await count(world) == passenger - 2
        assert explanation.x is not None and explanation.y is not None
        assert (explanation.x.found.how, explanation.x.candidates) == (how, xs)
        assert (explanation.y.found.how, explanation.y.candidates) == (How.LEAST_RECENTLY_USED, ys)
        binding = await ride.reserve(1, passenger)
        assert (explanation.x.found.facts.number, explanation.y.found.facts.number) == (binding.x, binding.y)
    await ride.release(binding)
    again = await explained(ride, 1, 3)
    assert again.y is not None
    assert (again.y.found.how, again.y.found.facts.number) == (How.LAST_TIME, binding.y)


async def test_what_rests_of_the_pair_itself_counts(world: World) -> None:
    ride = await world.ride(xs=1, ys=1)
    met = await ride.reserve(1, 2, mode=Mode.AXB, x_pool=ride.y_pool.id, y_pool=None)
    await ride.release(met)
    explanation = await explained(ride, 1, 2)
    assert explanation.y is not None
    assert (explanation.y.found.how, explanation.y.candidates) == (How.LEAST_RECENTLY_USED, 1)
    assert (await ride.reserve(1, 2)).y == met.x


async def test_a_fallback_city(world: World) -> None:
    ys = [*BEIJING, *SHIJIAZHUANG]
    ride = await ride_with(world, ys, city_rule=CityRule.NEAREST, fallback_cities='["311"]')
    explanation = await explained(ride, 1, 2, y_city="315")
    assert explanation.y is not None
    assert (explanation.y.found.fallback, explanation.y.candidates) == (True, 2)
    assert explanation.y.found.facts.city == "311"


async def test_the_live_binding_of_the_pair(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    assert (await explained(ride, 1, 2, reuse=True)).existing == binding
    refusal = await refused(ride, 1, 2)
    assert (refusal.code, refusal.extra["binding_id"]) == ("pair_taken", binding.id)


async def test_which_city_would_have_helped(world: World) -> None:
    ride = await ride_with(world, [*BEIJING, *SHIJIAZHUANG, TANGSHAN[0]])
    await ride.reserve(1, 2, y=SHIJIAZHUANG[0])
    ended = await ride.reserve(1, 3, y_city="315")
    await ride.release(ended)
    refusal = await refused(ride, 1, 4, y_city="315")
    extra = refusal.extra
    assert (refusal.code, extra["cities"]) == ("number_pool_exhausted", ["315"])
    assert (extra["total"], extra["in_quarantine"], extra["in_use_by_a"]) == (1, 1, 0)
    assert extra["earliest_quarantine_end"] == rfc3339(NOON + 600 * SECOND)
    assert extra["free_in_other_cities"] == [{"city": "10", "free": 2}, {"city": "311", "free": 1}]
    assert "10, 311" in refusal.detail


async def test_why_a_pool_has_none_left(world: World) -> None:
    ride = await world.ride(xs=2, ys=1)
    assert "has no number that can be used" in (await refused(ride, 1, 2, y_city="999")).detail
    await change(world, ride.y_pool.id, max_relations=1)
    await ride.reserve(1, 2)
    full = await refused(ride, 3, 4)
    assert (full.extra["at_relation_limit"], "another relation" in full.detail) == (1, True)
    await set_number(world, x_number(2), verification="expired")
    unproven = await refused(ride, 3, 4)
    assert (unproven.extra["not_verified"], unproven.extra["field"]) == (1, "x_pool")


async def test_a_shared_pool_tells_nothing_of_others_legs(world: World) -> None:
    mine, yours = await world.ride(), await world.customer("yours")
    shared = await world.pool(None, 600, [y_number(50)])
    await mine.release(await mine.reserve(1, 2, y_pool=shared.id))
    xs = await world.pool(yours, 60, [x_number(50)])
    wanted = Reservation(person(1), person(3), x_pool=xs.id, y_pool=shared.id)
    refusal = (await world.bindings.explain(yours.id, wanted)).refusal
    assert refusal is not None
    extra = refusal.extra
    assert (extra["total"], extra["in_quarantine"], extra["earliest_quarantine_end"]) == (None, 0, None)


async def test_a_shared_pool_tells_of_ones_own_legs(world: World) -> None:
    ride = await world.ride()
    shared = await world.pool(None, 600, [y_number(50)])
    await ride.release(await ride.reserve(1, 2, y_pool=shared.id))
    refusal = await refused(ride, 1, 3, y_pool=shared.id)
    assert (refusal.extra["in_quarantine"], refusal.extra["usable"]) == (1, None)
    assert "1 of yours in quarantine" in refusal.detail
    named = await refused(ride, 1, 3, y_pool=None, y=y_number(50))
    assert (named.code, "dials this number already" in named.detail) == ("number_taken", True)


async def test_a_person_whose_real_name_is_not_proven(world: World) -> None:
    ride = await world.ride()
    async with world.database.begin() as connection:
        await connection.execute(update(customers).values(real_names=True))
    assert (await refused(ride, 1, 2)).code == "person_not_verified"
    proof = {"id": "ver_1", "customer_id": ride.customer.id, "person_key": world.vault.index(person(1))}
    moment = {"created_at": NOON, "updated_at": NOON, "valid_until": NOON + 60 * SECOND}
    async with world.database.begin() as connection:
        await connection.execute(
            insert(verifications).values(
                **proof, **moment, state="verified", documents_sealed=world.vault.seal("[]")
            )
        )
    assert (await ride.reserve(1, 2)).a == person(1)
    world.clock.forward(60)
    assert (await refused(ride, 1, 3)).code == "person_not_verified"
