"""From the look-up of a live binding to the last of its quarantine."""

import sqlite3

import psycopg
import pytest
from sqlalchemy import select
from tests.world import NOON, World, person, verified, x_number, y_number

from xiaohao.bindings.lookup_store import HOT_LOOKUP_PSYCOPG, HOT_LOOKUP_SQL, parameters
from xiaohao.bindings.model import Binding, BindingState, Role
from xiaohao.bindings.recognition import Outcome, judge
from xiaohao.calls.model import Reason
from xiaohao.clock import SECOND
from xiaohao.database.schema import bindings, legs
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault
from xiaohao.trunks.model import Target, TrunkSpec
from xiaohao.trunks.service import Trunks


async def test_both_reach_each_other_and_see_the_right_number(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, record=False, max_duration_s=60, order_ref="o", user_data="u")
    from_a = await world.bindings.look_up(person(1), binding.y)
    from_b = await world.bindings.look_up(person(2), binding.x)
    for match, role, callee, display in (
        (from_a, Role.A, person(2), binding.x),
        (from_b, Role.B, person(1), binding.y),
    ):
        assert match.outcome is Outcome.CONNECT
        assert (match.role, match.callee, match.display) == (role, callee, display)
        assert (match.binding_id, match.customer_id) == (binding.id, ride.customer.id)
        assert (match.record, match.max_duration_s) == (False, 60)
        assert (match.order_ref, match.user_data) == ("o", "u")
        assert callee not in repr(match)


async def test_everybody_else_reaches_nobody(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    for caller, dialled, outcome, customer_id in (
        (person(3), binding.x, Outcome.UNKNOWN_CALLER, ride.customer.id),
        (person(3), binding.y, Outcome.UNKNOWN_CALLER, ride.customer.id),
        (person(1), binding.x, Outcome.UNKNOWN_CALLER, ride.customer.id),
        (person(2), binding.y, Outcome.UNKNOWN_CALLER, ride.customer.id),
        (None, binding.x, Outcome.UNKNOWN_CALLER, ride.customer.id),
        (person(1), person(2), Outcome.UNKNOWN_NUMBER, None),
        (None, person(2), Outcome.UNKNOWN_NUMBER, None),
    ):
        match = await world.bindings.look_up(caller, dialled)
        assert (match.outcome, match.customer_id) == (outcome, customer_id)
        assert (match.binding_id, match.callee, match.callee_sealed) == (None, None, None)


async def test_the_display_s_trunk_is_told(world: World) -> None:
    ride = await world.ride()
    trunk = await Trunks(world.database, world.vault).create("c", TrunkSpec("Mobile", [Target("127.0.0.9")]))
    await world.numbers.change_number(x_number(1), {"trunk_id": trunk.id})
    binding = await ride.reserve(1, 2)
    assert (await world.bindings.look_up(person(1), binding.y)).display_trunk_id == trunk.id
    assert (await world.bindings.look_up(person(2), binding.x)).display_trunk_id is None


async def test_expiry_counts_before_anybody_sweeps(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, expires_in_s=10)
    world.clock.now += 10 * SECOND - 1
    assert (await world.bindings.look_up(person(1), binding.y)).outcome is Outcome.CONNECT
    world.clock.now += 1
    match = await world.bindings.look_up(person(1), binding.y)
    assert (match.outcome, match.binding_id) == (Outcome.BINDING_EXPIRED, binding.id)
    shown = await world.bindings.get(ride.customer.id, binding.id)
    assert (shown.state, shown.ended_at) == (BindingState.EXPIRED, binding.expires_at)
    released = await ride.release(binding)
    assert (released.state, released.ended_at) == (BindingState.EXPIRED, binding.expires_at)


async def test_what_has_expired_is_in_no_change_s_way_before_anybody_sweeps(world: World) -> None:
    ride = await world.ride()
    over = await ride.reserve(1, 2, expires_in_s=60)
    other = await ride.reserve(1, 3)
    world.clock.forward(61)
    changed = await world.bindings.change(ride.customer.id, other.id, {"b": person(2)})
    assert (changed.state, changed.b) == (BindingState.LIVE, person(2))
    ended = await world.bindings.get(ride.customer.id, over.id)
    assert (ended.state, ended.ended_at) == (BindingState.EXPIRED, over.expires_at)


async def test_release_then_quarantine_then_nothing(world: World) -> None:
    ride = await world.ride(x_recycle_s=60, y_recycle_s=600)
    binding = await ride.reserve(1, 2)
    world.clock.forward(5)
    released = await ride.release(binding)
    assert (released.state, released.ended_at) == (BindingState.RELEASED, NOON + 5 * SECOND)
    assert released.recycle_until == NOON + 605 * SECOND
    assert await ride.release(binding) == released
    assert await outcomes(world, binding) == (Outcome.BINDING_EXPIRED, Outcome.BINDING_EXPIRED)
    world.clock.forward(60)
    assert await outcomes(world, binding) == (Outcome.BINDING_EXPIRED, Outcome.UNKNOWN_CALLER)
    world.clock.forward(540)
    assert await outcomes(world, binding) == (Outcome.UNKNOWN_CALLER, Outcome.UNKNOWN_CALLER)
    assert await world.bindings.purge() == 2
    assert await outcomes(world, binding) == (Outcome.UNKNOWN_CALLER, Outcome.UNKNOWN_CALLER)
    assert await count_legs(world) == 0
    assert await world.bindings.get(ride.customer.id, binding.id) == released


async def test_no_quarantine_where_the_pool_wants_none(world: World) -> None:
    ride = await world.ride(xs=1, ys=1, x_recycle_s=0, y_recycle_s=0)
    await ride.release(await ride.reserve(1, 2))
    binding = await ride.reserve(3, 2)
    assert (binding.x, binding.y) == (x_number(1), y_number(1))
    await ride.release(binding)
    assert (await ride.reserve(3, 4)).y == y_number(1)


async def test_a_number_without_a_pool_rests_for_a_day(world: World) -> None:
    ride = await world.ride()
    await world.numbers.add_numbers(
        [verified(number, customer_id=ride.customer.id) for number in (x_number(70), y_number(70))]
    )
    binding = await ride.reserve(1, 2, x=x_number(70), y=y_number(70))
    released = await ride.release(binding)
    assert released.recycle_until == NOON + 86_400 * SECOND


async def test_the_sweep_ends_what_is_due_and_nothing_else(world: World) -> None:
    ride = await world.ride(xs=9, ys=9)
    due = [await ride.reserve(driver, 90, expires_in_s=10) for driver in (1, 2, 3)]
    later = await ride.reserve(4, 90, expires_in_s=11)
    forever = await ride.reserve(5, 90)
    world.clock.forward(10)
    assert await world.bindings.expire_due() == 3
    assert await world.bindings.expire_due() == 0
    for binding in due:
        ended = await world.bindings.get(ride.customer.id, binding.id)
        assert (ended.state, ended.ended_at) == (BindingState.EXPIRED, NOON + 10 * SECOND)
        assert ended.recycle_until == NOON + 610 * SECOND
    for binding in (later, forever):
        assert await outcomes(world, binding) == (Outcome.CONNECT, Outcome.CONNECT)
    assert await world.bindings.expire_due(NOON + 11 * SECOND) == 1


async def test_the_sweep_takes_more_than_one_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xiaohao.bindings.service._BATCH", 2)
    ride = await world.ride(xs=5, ys=1, x_recycle_s=0, y_recycle_s=0)
    for driver in range(1, 6):
        await ride.reserve(driver, 90, expires_in_s=10)
    world.clock.forward(10)
    assert await world.bindings.sweep() == 5 + 10
    assert await count_legs(world) == 0


async def test_a_suspended_number_is_neither_dialled_nor_displayed(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    await world.numbers.suspend(binding.x)
    assert await outcomes(world, binding) == (Outcome.NUMBER_NOT_IN_SERVICE, Outcome.NUMBER_NOT_IN_SERVICE)
    match = await world.bindings.look_up(person(3), binding.x)
    assert (match.outcome, match.customer_id) == (Outcome.NUMBER_NOT_IN_SERVICE, ride.customer.id)
    await world.numbers.resume(binding.x)
    assert await outcomes(world, binding) == (Outcome.CONNECT, Outcome.CONNECT)


async def test_a_suspended_customer_s_calls_are_refused(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    await world.tenants.suspend(ride.customer.id)
    assert await outcomes(world, binding) == (Outcome.CUSTOMER_SUSPENDED, Outcome.CUSTOMER_SUSPENDED)
    assert (await world.bindings.look_up(person(3), binding.x)).outcome is Outcome.UNKNOWN_CALLER


async def test_a_lent_number_of_a_shared_pool_is_its_borrower_s(world: World) -> None:
    ride = await world.ride()
    shared = await world.pool(None, 60, [x_number(60)])
    binding = await ride.reserve(1, 2, x_pool=shared.id)
    assert (await world.bindings.look_up(person(3), binding.x)).customer_id == ride.customer.id
    assert (await world.bindings.look_up(person(3), x_number(61))).customer_id is None


async def test_lists(world: World) -> None:
    ride = await world.ride(xs=9, ys=9)
    made = [await ride.reserve(driver, 90, order_ref=f"o{driver % 2}") for driver in range(1, 6)]
    made[0] = await ride.release(made[0])
    expiring = await ride.reserve(6, 91, expires_in_s=1)
    world.clock.forward(1)

    async def ids(**filters: object) -> list[str]:
        found = await world.bindings.page(ride.customer.id, None, 100, **filters)  # type: ignore[arg-type]
        return [binding.id for binding in found]

    newest_first = [binding.id for binding in reversed(made)]
    assert await ids() == [expiring.id, *newest_first]
    assert await ids(state=BindingState.LIVE) == newest_first[:-1]
    assert await ids(state=BindingState.RELEASED) == [made[0].id]
    assert await ids(state=BindingState.EXPIRED) == [expiring.id]
    assert await ids(order_ref="o0") == [made[3].id, made[1].id]
    assert await ids(a="013800000002") == [made[1].id]
    assert await ids(b=person(91)) == [expiring.id]
    assert await ids(number=made[2].x) == [made[2].id]
    assert await ids(a=person(90)) == []
    seen: list[Binding] = []
    while page := await world.bindings.page(ride.customer.id, seen[-1].seq if seen else None, 4):
        seen += page
    assert [binding.id for binding in seen] == [expiring.id, *newest_first]
    with pytest.raises(Refusal, match="telephone number"):
        await ids(a="nobody")


async def test_the_database_shows_no_real_number(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    async with world.database.read() as connection:
        rows = [*(await connection.execute(select(bindings))), *(await connection.execute(select(legs)))]
    dump = b"|".join(
        value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
    )
    assert binding.x.encode() in dump
    for real in (person(1), person(2)):
        assert real[3:].encode() not in dump
        assert real not in repr(binding)


async def test_the_hot_query_runs_on_the_plain_drivers(world: World, database_url: str, vault: Vault) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, max_duration_s=60)
    find = parameters(vault.index(person(1)), binding.y, NOON)
    miss, nobody = parameters(b"", binding.y, NOON), parameters(b"", "+861", NOON)
    if world.database.is_sqlite:
        lite = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        rows = [lite.execute(HOT_LOOKUP_SQL, wanted).fetchone() for wanted in (find, miss, nobody)]
        lite.close()
    else:
        with psycopg.connect(database_url) as pg:
            rows = [pg.execute(HOT_LOOKUP_PSYCOPG, wanted).fetchone() for wanted in (find, miss, nobody)]
    matches = [judge(row, NOON) for row in rows]
    assert [match.outcome for match in matches] == ["connect", "unknown_caller", "unknown_number"]
    assert matches[0].callee_sealed is not None
    assert vault.open(matches[0].callee_sealed) == person(2)
    assert matches[0].record is True
    assert (matches[0].display, matches[0].max_duration_s) == (binding.x, 60)


def test_every_refusal_is_a_reason_of_a_call() -> None:
    reasons = {reason.value for reason in Reason}
    assert {outcome.value for outcome in Outcome} - reasons == {"connect"}


async def outcomes(world: World, binding: Binding) -> tuple[Outcome, Outcome]:
    """What A hears dialling Y, and B dialling X."""
    from_a = await world.bindings.look_up(binding.a, binding.y)
    from_b = await world.bindings.look_up(binding.b, binding.x)
    return from_a.outcome, from_b.outcome


async def count_legs(world: World) -> int:
    async with world.database.read() as connection:
        return len((await connection.execute(select(legs.c.dialled))).all())
