"""Pools and their policies."""

from dataclasses import replace

import pytest
from tests.world import World, x_number, y_number

from xiaohao.errors import Refusal
from xiaohao.numbers.model import Kind, NumberSpec
from xiaohao.pools.model import Choice, CityRule, Policy

#: everything different from the default
FULL = Policy(
    recycle_s=3600,
    grace_s=600,
    kind=Kind.LANDLINE,
    cities=("10", "755"),
    city_rule=CityRule.NEAREST,
    fallback_cities=("22", "20"),
    choice=Choice.STICKY,
    max_relations=500,
    complaints_limit=3,
    complaint_rest_s=7200,
)


@pytest.mark.parametrize("policy", [Policy(), FULL], ids=["default", "full"])
async def test_a_policy_is_kept_as_it_was_given(world: World, policy: Policy) -> None:
    customer = await world.customer()
    pool = await world.pools.create("days", policy, customer.id)
    assert (pool.name, pool.customer_id, pool.policy) == ("days", customer.id, policy)
    assert await world.pools.get(pool.id, customer.id) == pool
    assert await world.pools.page("", 10, customer.id) == [pool]


async def test_pools_can_be_changed(world: World) -> None:
    pool = await world.pools.create("days", FULL)
    changed = await world.pools.change(pool.id, name="nights", policy={"recycle_s": 1200, "cities": None})
    assert (changed.name, changed.policy) == ("nights", replace(FULL, recycle_s=1200, cities=None))
    assert await world.pools.change(pool.id) == changed
    assert await world.pools.get(pool.id) == changed
    with pytest.raises(Refusal, match="no such pool"):
        await world.pools.change("pool_no", name="nights")
    with pytest.raises(Refusal, match="no such customer"):
        await world.pools.create("pool", Policy(), "cus_no")


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("recycle_s", {"recycle_s": -1}),
        ("recycle_s", {"recycle_s": 367 * 86_400}),
        ("grace_s", {"recycle_s": 60, "grace_s": 61}),
        ("grace_s", {"grace_s": -1}),
        ("cities", {"cities": ()}),
        ("cities", {"cities": ("10", "10")}),
        ("cities", {"cities": ("010",)}),
        ("cities", {"cities": ("11",)}),
        ("cities", {"cities": ("108",)}),
        ("fallback_cities", {"city_rule": CityRule.NEAREST, "fallback_cities": ("x",)}),
        ("fallback_cities", {"fallback_cities": ("10",)}),
        ("max_relations", {"max_relations": 0}),
        ("complaints_limit", {"complaints_limit": 0, "complaint_rest_s": 1}),
        ("complaint_rest_s", {"complaints_limit": 1}),
        ("complaint_rest_s", {"complaint_rest_s": 60}),
    ],
)
async def test_policies_that_make_no_sense(world: World, field: str, wrong: dict[str, object]) -> None:
    pool = await world.pools.create("pool", Policy())
    with pytest.raises(Refusal) as made:
        await world.pools.create("pool", Policy(**wrong))  # type: ignore[arg-type]
    with pytest.raises(Refusal) as changed:
        await world.pools.change(pool.id, policy=wrong)
    for refused in (made, changed):
        assert refused.value.code == "validation_failed"
        assert refused.value.extra["errors"][0]["field"] == field
    assert await world.pools.page("", 10) == [pool]


async def test_only_numbers_that_fit(world: World) -> None:
    pool = await world.pool(None, 60, [y_number(1)], kind=Kind.LANDLINE, cities=("10",))
    for stranger in (x_number(1), "075588880001"):
        with pytest.raises(Refusal) as refused:
            await world.numbers.add_numbers([NumberSpec(stranger, pool.id)])
        assert refused.value.extra["errors"] == [
            {"field": "numbers.0.pool_id", "detail": "the pool takes no number of this kind or city"}
        ]


async def test_a_pool_keeps_to_what_is_in_it(world: World) -> None:
    pool = await world.pool(None, 60, [x_number(1), y_number(1)])
    for wrong in ({"kind": Kind.MOBILE}, {"kind": Kind.LANDLINE}, {"cities": ("10",)}):
        with pytest.raises(Refusal) as refused:
            await world.pools.change(pool.id, policy=wrong)
        assert refused.value.code == "pool_has_other_numbers"
    beijing = await world.pool(None, 60, [y_number(2)])
    narrower = await world.pools.change(beijing.id, policy={"kind": Kind.LANDLINE, "cities": ("10", "755")})
    assert narrower.policy.cities == ("10", "755")
    with pytest.raises(Refusal) as refused:
        await world.pools.change(beijing.id, policy={"cities": ("755",)})
    assert refused.value.extra["number"] == y_number(2)
