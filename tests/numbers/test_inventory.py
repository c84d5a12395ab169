"""Numbers, pools, and whose X a number is."""

import pytest
from sqlalchemy import select
from tests.world import World, person, x_number, y_number

from xiaohao.bindings.model import Mode, Reservation
from xiaohao.database.direct import Direct
from xiaohao.database.schema import numbers as numbers_table
from xiaohao.errors import Refusal
from xiaohao.inventory.importing import Import
from xiaohao.numbers.model import Kind, NumberSpec, NumberState
from xiaohao.trunks.model import Target, TrunkSpec
from xiaohao.trunks.service import Trunks


async def test_kind_and_city_come_from_the_number(world: World) -> None:
    added = await world.numbers.add_numbers(
        [NumberSpec(text) for text in ("010 6200 0001", "13900000001", "4001234567", "0755-8888 0001")]
    )
    assert [(number.number, number.kind, number.city) for number in added] == [
        ("+861062000001", Kind.LANDLINE, "10"),
        ("+8613900000001", Kind.MOBILE, None),
        ("+864001234567", Kind.SERVICE_400, None),
        ("+8675588880001", Kind.LANDLINE, "755"),
    ]
    assert {number.state for number in added} == {NumberState.AVAILABLE}
    assert await world.numbers.get_number("01062000001") == added[0]


async def test_adding_again_changes_nothing(world: World) -> None:
    customer = await world.customer()
    spec = NumberSpec(x_number(1), customer_id=customer.id)
    added = await world.numbers.add_numbers([spec])
    world.clock.forward(1)
    assert await world.numbers.add_numbers([spec]) == added
    with pytest.raises(Refusal) as refused:
        await world.numbers.add_numbers([NumberSpec(x_number(1))])
    assert refused.value.code == "number_exists"


async def test_all_numbers_or_none(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        await world.numbers.add_numbers(
            [
                NumberSpec(x_number(1)),
                NumberSpec("12"),
                NumberSpec("0" + x_number(1)[3:]),
                NumberSpec(x_number(2), "pool_no"),
            ]
        )
    assert refused.value.code == "validation_failed"
    assert [fault["field"] for fault in refused.value.extra["errors"]] == [
        "numbers.1.number",
        "numbers.2.number",
        "numbers.3.pool_id",
    ]
    assert await world.numbers.page_numbers("", 10) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (NumberSpec(x_number(1), trunk_id="trk_no"), "trunk_id"),
        (NumberSpec(x_number(1), customer_id="cus_no"), "customer_id"),
    ],
)
async def test_a_number_of_what_is_not_there(world: World, spec: NumberSpec, field: str) -> None:
    with pytest.raises(Refusal) as refused:
        await world.numbers.add_numbers([spec])
    assert refused.value.extra["errors"][0]["field"] == f"numbers.0.{field}"


async def test_a_number_in_a_pool_is_the_pool_s_customer_s(world: World) -> None:
    mine, yours = await world.customer("mine"), await world.customer("yours")
    pool = await world.pool(mine, 60, [x_number(1)])
    assert (await world.numbers.get_number(x_number(1))).customer_id == mine.id
    with pytest.raises(Refusal) as refused:
        await world.numbers.add_numbers([NumberSpec(x_number(2), pool.id, customer_id=yours.id)])
    assert refused.value.extra["errors"][0]["field"] == "numbers.0.customer_id"
    shared = await world.pool(None, 60, [y_number(1)])
    assert (await world.numbers.get_number(y_number(1))).customer_id is None
    with pytest.raises(Refusal, match="1 of 1"):
        await world.numbers.add_numbers([NumberSpec(y_number(2), shared.id, customer_id=mine.id)])


async def test_a_trunk_owns_a_number(world: World) -> None:
    trunk = await Trunks(world.database, world.vault).create(
        "carrier", TrunkSpec("Mobile", [Target("127.0.0.9")])
    )
    added = await world.numbers.add_numbers(
        [NumberSpec(x_number(1), trunk_id=trunk.id), NumberSpec(x_number(2))]
    )
    assert added[0].trunk_id == trunk.id
    assert (await world.numbers.change_number(x_number(2), {"trunk_id": trunk.id})).trunk_id == trunk.id
    assert (await world.numbers.change_number(x_number(2), {"trunk_id": None})).trunk_id is None
    with pytest.raises(Refusal, match="no such trunk"):
        await world.numbers.change_number(x_number(2), {"trunk_id": "trk_no"})


async def test_somebody_s_real_number_does_not_become_the_platform_s(world: World) -> None:
    ride = await world.ride(xs=5)
    await ride.reserve(1, 2)
    terms = {"x_pool": ride.x_pool.id, "y_pool": ride.y_pool.id}
    for wanted in (
        Reservation(person(3), y_on_demand=True, **terms),
        Reservation(person(4), mode=Mode.AXE, x_pool=ride.x_pool.id),
        Reservation(person(6), person(7), mode=Mode.AX, x_pool=ride.x_pool.id),
    ):
        await world.bindings.reserve(ride.customer.id, wanted)
    await world.numbers.assign(x_number(5), person(5), ride.customer.id)
    direct = Direct(world.database.url)
    for place in range(2, 8):
        with pytest.raises(Refusal) as refused:
            await world.numbers.add_numbers([NumberSpec(person(place))])
        assert refused.value.code == "number_is_a_person"
        report = Import(direct, world.vault, dry_run=True).run([(1, ["number"]), (2, [person(place)])])
        assert (report.added, report.refused) == (0, 1)
    direct.close()


async def test_pages_and_filters(world: World) -> None:
    customer = await world.customer()
    pool = await world.pool(customer, 60, [x_number(place) for place in range(5)])
    await world.numbers.add_numbers([NumberSpec(y_number(1)), NumberSpec("075588880001")])
    await world.numbers.suspend(x_number(3))
    seen: list[str] = []
    while page := await world.numbers.page_numbers(seen[-1] if seen else "", 2, customer_id=customer.id):
        seen += [number.number for number in page]
    assert seen == [x_number(place) for place in range(5)]

    async def count(**filters: object) -> int:
        return len(await world.numbers.page_numbers("", 100, **filters))  # type: ignore[arg-type]

    assert await count() == 7
    assert await count(pool_id=pool.id) == 5
    assert await count(state=NumberState.SUSPENDED) == 1
    assert await count(kind=Kind.LANDLINE) == 2
    assert await count(city="755") == 1
    assert await count(kind=Kind.LANDLINE, city="10") == 1


async def test_what_is_not_one_s_own_does_not_exist(world: World) -> None:
    mine, yours = await world.customer("mine"), await world.customer("yours")
    pool = await world.pool(yours, 60, [x_number(1)])
    shared = await world.pool(None, 60, [])
    for ask in (
        world.numbers.get_number(x_number(1), mine.id),
        world.numbers.get_number(x_number(2), mine.id),
        world.numbers.get_number("rubbish", mine.id),
        world.numbers.assign(x_number(1), person(1), mine.id),
        world.numbers.unassign(x_number(1), mine.id),
        world.pools.get(pool.id, mine.id),
        world.pools.get("pool_no", mine.id),
    ):
        with pytest.raises(Refusal) as refused:
            await ask
        assert refused.value.code == "not_found"
    assert await world.numbers.page_numbers("", 10, customer_id=mine.id) == []
    assert await world.pools.page("", 10, mine.id) == [shared]
    assert await world.pools.get(shared.id, mine.id) == shared
    assert {found.id for found in await world.pools.page("", 10)} == {pool.id, shared.id}


async def test_a_fixed_x_belongs_to_one_person(world: World) -> None:
    ride = await world.ride()
    fixed = await world.numbers.assign(x_number(1), person(1), ride.customer.id)
    assert (fixed.state, fixed.fixed, fixed.assigned_to) == (NumberState.IN_SERVICE, True, person(1))
    assert person(1) not in repr(fixed)
    assert await world.numbers.assign(x_number(1), "138 0000 0001", ride.customer.id) == fixed
    with pytest.raises(Refusal) as refused:
        await world.numbers.assign(x_number(1), person(2), ride.customer.id)
    assert refused.value.code == "number_taken"
    async with world.database.read() as connection:
        row = (await connection.execute(select(numbers_table).where(numbers_table.c.fixed))).one()
    assert person(1)[3:].encode() not in row.assigned_to_sealed


async def test_only_a_usable_number_and_only_a_real_person(world: World) -> None:
    ride = await world.ride()
    await world.numbers.suspend(x_number(1))
    with pytest.raises(Refusal) as refused:
        await world.numbers.assign(x_number(1), person(1), ride.customer.id)
    assert refused.value.code == "number_not_in_service"
    for nobody in ("anonymous", x_number(3)):
        with pytest.raises(Refusal) as refused:
            await world.numbers.assign(x_number(2), nobody, ride.customer.id)
        assert refused.value.code == "validation_failed"


async def test_a_number_by_which_others_are_reached_becomes_nobodys_fixed_x(world: World) -> None:
    """Its person would call somebody by it who, calling back, would reach another one."""
    ride = await world.ride(y_recycle_s=60)
    binding = await ride.reserve(1, 2)
    y = str(binding.y)
    assert (await world.numbers.assign(binding.x, person(1), ride.customer.id)).fixed
    for _ in range(2):
        with pytest.raises(Refusal) as refused:
            await world.numbers.assign(y, person(9), ride.customer.id)
        assert refused.value.code == "number_taken"
        await ride.release(binding)
    world.clock.forward(61)
    await world.bindings.sweep()
    assert (await world.numbers.assign(y, person(9), ride.customer.id)).assigned_to == person(9)


async def test_unassign_at_once_or_when_the_last_leg_is_gone(world: World) -> None:
    ride = await world.ride(x_recycle_s=60)
    await world.numbers.assign(x_number(1), person(1), ride.customer.id)
    assert (await world.numbers.unassign(x_number(1))).state is NumberState.AVAILABLE
    await world.numbers.assign(x_number(1), person(1), ride.customer.id)
    binding = await ride.reserve(1, 2)
    assert binding.x == x_number(1)
    await ride.release(binding)
    still = await world.numbers.unassign(x_number(1))
    assert (still.state, still.assigned_to, still.fixed) == (NumberState.AGEING, person(1), False)
    world.clock.forward(61)
    await world.bindings.sweep()
    free = await world.numbers.get_number(x_number(1))
    assert (free.state, free.assigned_to, free.assigned_by) == (NumberState.AVAILABLE, None, None)


async def test_suspend_resume_retire(world: World) -> None:
    ride = await world.ride()
    await world.numbers.assign(x_number(1), person(1), ride.customer.id)
    for number, before in ((x_number(1), NumberState.IN_SERVICE), (x_number(2), NumberState.AVAILABLE)):
        for _ in range(2):
            assert (await world.numbers.suspend(number)).state is NumberState.SUSPENDED
        for _ in range(2):
            assert (await world.numbers.resume(number)).state is before
    for _ in range(2):
        assert (await world.numbers.retire(x_number(2))).state is NumberState.RETIRED
    for change in (world.numbers.suspend, world.numbers.resume):
        with pytest.raises(Refusal) as refused:
            await change(x_number(2))
        assert refused.value.code == "number_retired"


async def test_too_many_numbers_at_once(world: World) -> None:
    with pytest.raises(Refusal, match="at most 1000"):
        await world.numbers.add_numbers([NumberSpec(x_number(place)) for place in range(1001)])


async def test_a_thousand_numbers_at_once(world: World) -> None:
    added = await world.numbers.add_numbers([NumberSpec(x_number(place)) for place in range(1000)])
    assert len(added) == 1000
