"""Every mode from the reservation to the end of its quarantine, on both databases."""

import pytest
from sqlalchemy import select, update
from tests.ids import new_call_id
from tests.world import Ride, World, person, x_number, y_number

from xiaohao.bindings.model import Binding, BindingState, Direction, Mode, PromptMoment, Reservation, Role
from xiaohao.bindings.recognition import LegMatch, Outcome
from xiaohao.bindings.service import Bindings
from xiaohao.calls.journal import CallBegan, CallJournal
from xiaohao.calls.model import Call
from xiaohao.database.schema import binding_versions, call_commands, customers, legs, numbers
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault

STRANGER = person(77)


async def call(world: World, caller: str | None, dialled: str) -> tuple[str, str | None, str | None]:
    match = await world.bindings.look_up(caller, dialled)
    if match.outcome is not Outcome.CONNECT:
        return match.outcome.value, None, None
    return match.outcome.value, match.callee, match.display


async def bind(ride: Ride, mode: Mode, a: int | None = 1, **wanted: object) -> Binding:
    """A binding of a mode with one number, of the pool of X unless `wanted` says otherwise."""
    usual = {"a": None if a is None else person(a), "x_pool": ride.x_pool.id, "mode": mode}
    return await reserve(ride, {**usual, **wanted})


async def reserve(ride: Ride, wanted: dict[str, object]) -> Binding:
    reservation = Reservation(**wanted)  # type: ignore[arg-type]
    return await ride.world.bindings.reserve(ride.customer.id, reservation)


async def refusal(ride: Ride, mode: Mode, a: int | None = 1, **wanted: object) -> str:
    with pytest.raises(Refusal) as refused:
        await bind(ride, mode, a, **wanted)
    return refused.value.code


async def holder_of(world: World, number: str) -> tuple[str, bytes | None]:
    async with world.database.read() as connection:
        row = (await connection.execute(select(numbers).where(numbers.c.number == number))).mappings().one()
    return row["state"], row["assigned_to_key"]


async def relations(world: World, number: str) -> int:
    async with world.database.read() as connection:
        found = await connection.execute(select(numbers.c.relations).where(numbers.c.number == number))
        return int(found.scalar_one())


async def remember(world: World, vault: Vault, match: LegMatch, x: str, caller: str | None) -> None:
    """What the switch writes when it lets a call through."""
    began = Call(
        id=new_call_id(),
        edge_id="edge1",
        received_at=world.clock.now,
        dialled=x,
        caller=caller,
        callee=match.callee,
        customer_id=match.customer_id,
        binding_id=match.binding_id,
        mode=match.mode,
        role=match.role,
        trunk_out="trk_1",
    )
    await CallJournal(world.database, vault).write([CallBegan(began)])


async def test_axb(world: World) -> None:
    ride = await world.ride()
    binding = await bind(ride, Mode.AXB, b=person(2))
    assert (binding.y, binding.extension) == (None, None)
    assert await call(world, person(1), binding.x) == ("connect", person(2), binding.x)
    assert await call(world, person(2), binding.x) == ("connect", person(1), binding.x)
    assert await call(world, STRANGER, binding.x) == ("unknown_caller", None, None)
    # the X is nobody's: it serves others, too, if neither dials it
    assert await holder_of(world, binding.x) == ("available", None)
    assert await relations(world, binding.x) == 2
    other = await bind(ride, Mode.AXB, 3, b=person(4), x=binding.x, x_pool=None)
    assert await call(world, person(4), other.x) == ("connect", person(3), binding.x)
    assert await refusal(ride, Mode.AXB, 5, b=person(2), x=binding.x, x_pool=None) == "number_taken"
    assert (await bind(ride, Mode.AXB, 5, b=person(2))).x != binding.x


async def test_axb_of_the_same_pair_again_has_the_same_number(world: World) -> None:
    ride = await world.ride()
    first = await bind(ride, Mode.AXB, b=person(2))
    await ride.release(first)
    assert (await call(world, person(2), first.x))[0] == "binding_expired"
    again = await bind(ride, Mode.AXB, b=person(2))
    assert again.x == first.x
    assert await call(world, person(2), again.x) == ("connect", person(1), again.x)


async def test_ax_reaches_who_called_last(world: World, vault: Vault) -> None:
    ride = await world.ride()
    binding = await bind(ride, Mode.AX)
    x = binding.x
    assert await call(world, person(1), x) == ("no_last_caller", None, None)
    for caller in (STRANGER, "+85221234567"):
        match = await world.bindings.look_up(caller, x)
        assert (match.outcome, match.callee, match.display) == ("connect", person(1), x)
        assert (match.mode, match.role) == (Mode.AX, Role.B)
        await remember(world, vault, match, x, caller)
        assert await call(world, person(1), x) == ("connect", caller, x)
    # who hides their number is let through, and cannot be called back
    match = await world.bindings.look_up(None, x)
    assert match.outcome is Outcome.CONNECT
    await remember(world, vault, match, x, None)
    assert await call(world, person(1), x) == ("no_last_caller", None, None)


async def test_ax_with_a_b(world: World, vault: Vault) -> None:
    ride = await world.ride()
    binding = await bind(ride, Mode.AX, b=person(2))
    match = await world.bindings.look_up(STRANGER, binding.x)
    assert match.callee == person(1)
    await remember(world, vault, match, binding.x, STRANGER)
    assert await call(world, person(1), binding.x) == ("connect", person(2), binding.x)


async def test_an_x_that_anyone_dials_is_as_if_new(world: World) -> None:
    """Nobody who reached, or a short while ago reached, somebody else by a number finds A behind it."""
    ride = await world.ride(xs=2)
    axb = await bind(ride, Mode.AXB, b=person(2), x=x_number(1), x_pool=None)
    for mode, a in ((Mode.AX, 3), (Mode.AXE, 3), (Mode.X, None)):
        assert await refusal(ride, mode, a, x=x_number(1), x_pool=None) == "number_taken"
    assert (await bind(ride, Mode.AX, 3)).x == x_number(2)
    assert await refusal(ride, Mode.AX, 4) == "number_pool_exhausted"
    await ride.release(axb)
    assert await refusal(ride, Mode.AX, 4) == "number_pool_exhausted"
    world.clock.forward(61)
    assert (await bind(ride, Mode.AX, 4)).x == x_number(1)
    # and nobody takes it for something else as long as it is A's
    assert await refusal(ride, Mode.AXB, 5, b=person(6)) == "number_pool_exhausted"
    assert await refusal(ride, Mode.AXB, 5, b=person(6), x=x_number(1), x_pool=None) == "number_taken"


async def test_axe(world: World) -> None:
    ride = await world.ride(xs=2)
    first = await bind(ride, Mode.AXE, extension="12")
    second = await bind(ride, Mode.AXE, 2)
    assert first.x == second.x
    assert second.extension is not None and len(second.extension) == 3
    assert await call(world, STRANGER, first.x) == ("extension_needed", None, None)
    assert await call(world, person(1), first.x) == ("extension_needed", None, None)
    taken = await refusal(ride, Mode.AXE, 3, extension="12", x=first.x, x_pool=None)
    assert taken == "number_taken"
    assert (await bind(ride, Mode.AXE, 3, extension="12")).x != first.x
    await ride.release(first)
    assert await relations(world, first.x) == 1
    assert (await refusal(ride, Mode.AXE, 4, extension="12")) == "number_pool_exhausted"


async def test_x_is_a_marker(world: World) -> None:
    ride = await world.ride()
    binding = await bind(ride, Mode.X, None)
    assert (binding.a, binding.b, binding.y) == (None, None, None)
    match = await world.bindings.look_up(STRANGER, binding.x)
    assert (match.outcome, match.binding_id) == ("routing_missing", binding.id)
    assert (await bind(ride, Mode.X, None)).x != binding.x
    await ride.release(binding)
    assert (await world.bindings.look_up(STRANGER, binding.x)).outcome == "binding_expired"
    world.clock.forward(61)
    await world.bindings.sweep()
    assert await holder_of(world, binding.x) == ("available", None)


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_released_number_rests_and_comes_back(world: World, mode: Mode) -> None:
    ride = await world.ride(x_recycle_s=60)
    a, b = None if mode is Mode.X else 1, person(2) if mode in (Mode.AXB, Mode.AXYB) else None
    y_pool = ride.y_pool.id if mode is Mode.AXYB else None
    binding = await bind(ride, mode, a, b=b, y_pool=y_pool)
    await ride.release(binding)
    assert await relations(world, binding.x) == 0
    world.clock.forward(59)
    await world.bindings.sweep()
    async with world.database.read() as connection:
        assert (await connection.execute(select(legs.c.dialled).where(legs.c.dialled == binding.x))).first()
    world.clock.forward(2)
    await world.bindings.sweep()
    async with world.database.read() as connection:
        found = await connection.execute(select(legs.c.dialled).where(legs.c.dialled == binding.x))
        assert found.first() is None
    assert await holder_of(world, binding.x) == ("available", None)


async def on_demand(ride: Ride, **wanted: object) -> Binding:
    usual = {"a": person(1), "y_on_demand": True, "x_pool": ride.x_pool.id, "y_pool": ride.y_pool.id}
    return await reserve(ride, {**usual, **wanted})


async def test_a_stranger_is_given_a_y(world: World) -> None:
    ride = await world.ride()
    parent = await on_demand(ride, order_ref="order", record=False)
    x = parent.x
    assert (parent.y, parent.y_on_demand) == (None, True)
    assert await call(world, STRANGER, x) == ("no_y_free", None, None)
    assert await world.bindings.give_y(parent.id, STRANGER) == x
    (child,) = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    assert (child.x, child.a, child.b, child.order_ref) == (x, person(1), STRANGER, "order")
    assert child.record is False
    assert child.y is not None
    assert await call(world, STRANGER, x) == ("connect", person(1), child.y)
    assert await call(world, person(1), child.y) == ("connect", STRANGER, x)
    # again, and at the same moment from another phone
    assert await world.bindings.give_y(parent.id, STRANGER) == x
    assert await world.bindings.give_y(parent.id, person(78)) == x
    children = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    assert len({each.y for each in children}) == 2
    # A is not given a Y for themself, nor is a number of the platform's
    for nobody in (person(1), y_number(3)):
        assert await world.bindings.give_y(parent.id, nobody) is None
    released = await ride.release(parent)
    assert released.state is BindingState.RELEASED
    for each in children:
        assert (await world.bindings.get(ride.customer.id, each.id)).state is BindingState.RELEASED
        assert await call(world, each.b, x) == ("binding_expired", None, None)
    assert await world.bindings.give_y(parent.id, person(79)) is None


async def test_a_y_on_demand_lives_as_long_as_it_is_said(world: World) -> None:
    ride = await world.ride()
    parent = await on_demand(ride, y_life_s=60, expires_in_s=100)
    assert await world.bindings.give_y(parent.id, STRANGER)
    world.clock.forward(50)
    assert await world.bindings.give_y(parent.id, person(78))
    children = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    ends = [child.expires_at - parent.created_at for child in children if child.expires_at is not None]
    assert ends == [100_000_000, 60_000_000]
    world.clock.forward(11)
    await world.bindings.sweep()
    # they know each other no more, and may be given a Y again: the same one
    assert (await call(world, STRANGER, parent.x))[0] == "no_y_free"
    assert (await call(world, person(1), str(children[1].y)))[0] == "binding_expired"
    assert await world.bindings.give_y(parent.id, STRANGER) == parent.x
    again = (await world.bindings.page(ride.customer.id, None, 1, parent_id=parent.id))[0]
    assert (again.b, again.y) == (STRANGER, children[1].y)


async def test_who_was_bound_to_a_reaches_a_as_anyone_does(world: World) -> None:
    """The end of a binding is nothing that keeps B from what every stranger can do."""
    ride = await world.ride()
    over = await ride.reserve(1, 2)
    ax = await bind(ride, Mode.AX, 1, x=over.x, x_pool=None)
    await ride.release(over)
    assert await call(world, person(2), ax.x) == ("connect", person(1), ax.x)
    # but not somebody else than before, by a late call
    await change(world, ax, a=person(3))
    assert await call(world, person(4), ax.x) == ("connect", person(3), ax.x)
    assert (await call(world, person(2), ax.x))[0] == "binding_expired"


async def test_a_pair_that_is_bound_already_needs_no_second_y(world: World) -> None:
    ride = await world.ride()
    bound = await ride.reserve(1, 2)
    parent = await on_demand(ride, x=x_number(2), x_pool=None)
    assert parent.x != bound.x
    assert await world.bindings.give_y(parent.id, person(2)) == bound.x


async def test_no_y_is_left(world: World) -> None:
    ride = await world.ride(ys=1)
    parent = await on_demand(ride)
    assert await world.bindings.give_y(parent.id, STRANGER) == parent.x
    assert await world.bindings.give_y(parent.id, person(78)) is None


@pytest.mark.parametrize(
    ("direction", "from_a", "from_b"),
    [
        (Direction.BOTH, "connect", "connect"),
        (Direction.A_TO_B, "connect", "direction_not_allowed"),
        (Direction.B_TO_A, "direction_not_allowed", "connect"),
    ],
)
async def test_directions(world: World, direction: Direction, from_a: str, from_b: str) -> None:
    ride = await world.ride()
    axyb = await ride.reserve(1, 2, direction=direction)
    axb = await bind(ride, Mode.AXB, 3, b=person(4), direction=direction)
    ax = await bind(ride, Mode.AX, 5, b=person(6), direction=direction)
    legs_of_a = [(1, axyb.y), (3, axb.x), (5, ax.x)]
    legs_of_b = [(2, axyb.x), (4, axb.x), (99, ax.x)]
    assert {(await call(world, person(n), str(x)))[0] for n, x in legs_of_a} == {from_a}
    assert {(await call(world, person(n), str(x)))[0] for n, x in legs_of_b} == {from_b}


async def graceful(world: World) -> Ride:
    """A customer whose pools give an ended relation back to its pair for 20 of 60 seconds."""
    customer = await world.customer()
    x_pool = await world.pool(customer, 60, [x_number(place) for place in range(1, 4)], grace_s=20)
    y_pool = await world.pool(customer, 60, [y_number(place) for place in range(1, 4)], grace_s=20)
    return Ride(world, customer, x_pool, y_pool)


@pytest.mark.parametrize("ends", ["released", "expired", "expired and swept"])
async def test_grace(world: World, ends: str) -> None:
    """Something was left in the car: the pair, and nobody else, reaches each other for a while."""
    ride = await graceful(world)
    binding = await ride.reserve(1, 2, expires_in_s=None if ends == "released" else 10)
    assert (await world.bindings.look_up(person(2), binding.x)).in_grace is False
    world.clock.forward(10)
    if ends == "released":
        await ride.release(binding)
    elif ends == "expired and swept":
        await world.bindings.sweep()
    world.clock.forward(19)
    for caller, dialled, callee in ((1, binding.y, 2), (2, binding.x, 1)):
        match = await world.bindings.look_up(person(caller), str(dialled))
        assert (match.outcome, match.callee, match.in_grace) == ("connect", person(callee), True)
    assert (await world.bindings.look_up(STRANGER, binding.x)).outcome == "unknown_caller"
    world.clock.forward(1)
    match = await world.bindings.look_up(person(2), binding.x)
    assert (match.outcome, match.in_grace) == ("binding_expired", False)


async def test_no_grace_for_anyone(world: World) -> None:
    ride = await graceful(world)
    binding = await bind(ride, Mode.AX)
    await ride.release(binding)
    assert (await call(world, STRANGER, binding.x))[0] == "binding_expired"


async def change(world: World, binding: Binding, **changes: object) -> Binding:
    return await world.bindings.change(binding.customer_id, binding.id, changes, "key_1")  # type: ignore[arg-type]


async def versions(world: World, binding: Binding) -> list[tuple[bytes | None, bytes | None, int, int]]:
    table = binding_versions
    query = select(table.c.a_key, table.c.b_key, table.c.valid_from, table.c.valid_until)
    async with world.database.read() as connection:
        found = await connection.execute(query.where(table.c.binding_id == binding.id).order_by(table.c.seq))
        return [tuple(row) for row in found]


async def test_b_has_another_number(world: World, vault: Vault) -> None:
    ride = await graceful(world)
    binding = await ride.reserve(1, 2)
    world.clock.forward(5)
    changed = await change(world, binding, b="138 0000 0009")
    assert (changed.b, changed.x, changed.y) == (person(9), binding.x, binding.y)
    assert await call(world, person(9), binding.x) == ("connect", person(1), binding.y)
    assert await call(world, person(1), str(binding.y)) == ("connect", person(9), binding.x)
    # the one who had the number: no stranger, and no time of grace
    assert (await call(world, person(2), binding.x))[0] == "binding_expired"
    # nor is the key anybody else's before its time
    assert await refusal(ride, Mode.AXB, 3, b=person(2), x=binding.x, x_pool=None) == "number_taken"
    assert await versions(world, binding) == [
        (vault.index(person(1)), vault.index(person(2)), binding.created_at, world.clock.now)
    ]
    # the same again changes nothing; back again is the same person's key
    assert await change(world, changed, b=person(9)) == changed
    back = await change(world, changed, b=person(2))
    assert await call(world, person(2), back.x) == ("connect", person(1), binding.y)
    assert len(await versions(world, binding)) == 2
    assert await relations(world, binding.x) == 1


async def test_a_has_another_number(world: World, vault: Vault) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    changed = await change(world, binding, a=person(9))
    assert await call(world, person(9), str(binding.y)) == ("connect", person(2), binding.x)
    assert await call(world, person(2), binding.x) == ("connect", person(9), binding.y)
    assert (await call(world, person(1), str(binding.y)))[0] == "binding_expired"
    assert await holder_of(world, binding.x) == ("in_service", vault.index(person(9)))
    # the X is one driver's: with a second binding on it it cannot be two drivers'
    other = await ride.reserve(9, 3)
    assert other.x == changed.x
    with pytest.raises(Refusal) as refused:
        await change(world, changed, a=person(1))
    assert refused.value.code == "number_taken"


async def test_a_of_other_modes_has_another_number(world: World, vault: Vault) -> None:
    ride = await world.ride(xs=9)
    ax, axe, axb = (
        await bind(ride, Mode.AX, 1),
        await bind(ride, Mode.AXE, 2),
        await bind(ride, Mode.AXB, 3, b=person(4)),
    )
    match = await world.bindings.look_up(STRANGER, ax.x)
    await remember(world, vault, match, ax.x, STRANGER)
    for binding in (ax, axe, axb):
        await change(world, binding, a=person(9))
    assert await call(world, STRANGER, ax.x) == ("connect", person(9), ax.x)
    assert await call(world, person(9), ax.x) == ("connect", STRANGER, ax.x)
    assert (await call(world, person(1), ax.x))[0] == "binding_expired"
    assert await call(world, person(4), axb.x) == ("connect", person(9), axb.x)
    assert (await call(world, person(3), axb.x))[0] == "binding_expired"
    assert await holder_of(world, axe.x) == ("in_service", b"#")
    world.clock.forward(61)
    assert await call(world, person(1), ax.x) == ("connect", person(9), ax.x)  # a stranger by now


async def test_the_b_of_mode_ax_comes_and_goes(world: World) -> None:
    ride = await world.ride()
    binding = await bind(ride, Mode.AX)
    await change(world, binding, b=person(2))
    assert await call(world, person(1), binding.x) == ("connect", person(2), binding.x)
    await change(world, binding, b=None)
    assert await call(world, person(1), binding.x) == ("no_last_caller", None, None)


async def test_a_change_that_is_refused_late_has_changed_nothing(world: World) -> None:
    """The old key must not rest because the new one is not free, nor the parent follow without its child."""
    ride = await world.ride()
    axb = await bind(ride, Mode.AXB, b=person(2), x=x_number(3), x_pool=None)
    await bind(ride, Mode.AXB, 3, b=person(4), x=x_number(3), x_pool=None)
    with pytest.raises(Refusal) as refused:
        await change(world, axb, b=person(4))
    assert refused.value.code == "number_taken"
    assert await call(world, person(2), axb.x) == ("connect", person(1), axb.x)
    parent = await on_demand(ride, a=person(5))
    await world.bindings.give_y(parent.id, STRANGER)
    (child,) = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    await bind(ride, Mode.AXB, 6, b=person(7), x=child.y, x_pool=None)
    with pytest.raises(Refusal):
        await change(world, parent, a=person(6))
    assert (await world.bindings.get(ride.customer.id, parent.id)).a == person(5)
    assert await call(world, person(5), str(child.y)) == ("connect", STRANGER, parent.x)


async def test_a_new_a_must_be_known_by_name_where_the_contract_asks(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    async with world.database.begin() as connection:
        await connection.execute(update(customers).values(real_names=True))
    with pytest.raises(Refusal) as refused:
        await change(world, binding, a=person(9))
    assert refused.value.code == "person_not_verified"
    assert (await change(world, binding, b=person(8))).b == person(8)


async def test_one_person_may_have_several_x_up_to_a_limit(world: World) -> None:
    ride = await world.ride()
    limited = Ride(world, ride.customer, ride.x_pool, ride.y_pool)
    world.bindings = Bindings(world.database, world.vault, world.clock, most_x=2)
    for place in (1, 2):
        assert (await limited.reserve(1, 10 + place, x=x_number(place))).x == x_number(place)
    with pytest.raises(Refusal) as refused:
        await limited.reserve(1, 13, x=x_number(3))
    assert refused.value.code == "x_limit"
    # what they have serves on, and others are not limited by it
    assert (await limited.reserve(1, 13)).x in (x_number(1), x_number(2))
    assert (await limited.reserve(2, 13)).x == x_number(3)


async def test_another_extension(world: World) -> None:
    ride = await world.ride()
    first = await bind(ride, Mode.AXE, extension="1")
    second = await bind(ride, Mode.AXE, 2, extension="2")
    with pytest.raises(Refusal) as refused:
        await change(world, first, extension="2")
    assert refused.value.code == "number_taken"
    await change(world, second, extension="3")
    with pytest.raises(Refusal):
        await change(world, first, extension="2")  # it rests


async def test_the_a_and_the_end_of_a_parent_are_its_childrens(world: World) -> None:
    ride = await world.ride()
    parent = await on_demand(ride, expires_in_s=100)
    await world.bindings.give_y(parent.id, STRANGER)
    await change(world, parent, a=person(9), expires_at=world.clock.now + 50_000_000)
    (child,) = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    assert (child.a, child.expires_at) == (person(9), world.clock.now + 50_000_000)
    assert await call(world, STRANGER, parent.x) == ("connect", person(9), child.y)
    assert await call(world, person(9), str(child.y)) == ("connect", STRANGER, parent.x)
    assert (await call(world, person(1), str(child.y)))[0] == "binding_expired"


async def test_a_new_a_of_a_parent_is_no_second_time_bound_to_who_has_called(world: World) -> None:
    ride = await world.ride(xs=4, ys=4)
    parent = await on_demand(ride, y_life_s=60)
    await world.bindings.give_y(parent.id, person(7))
    (child,) = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    other = await ride.reserve(2, 7)
    with pytest.raises(Refusal) as taken:
        await change(world, parent, a=person(2))
    assert (taken.value.code, taken.value.extra["binding_id"]) == ("pair_taken", other.id)
    with pytest.raises(Refusal) as alone:
        await change(world, parent, a=person(7))
    assert alone.value.code == "validation_failed"
    assert child.id in str(alone.value)
    assert await world.bindings.get(ride.customer.id, child.id) == child
    world.clock.forward(61)  # and nobody has swept yet
    assert (await change(world, parent, a=person(7))).a == person(7)
    ended = await world.bindings.get(ride.customer.id, child.id)
    assert (ended.a, ended.state) == (person(1), BindingState.EXPIRED)


async def test_terms(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, max_duration_s=60)
    world.clock.forward(1)
    changed = await change(
        world,
        binding,
        direction=Direction.A_TO_B,
        record=False,
        max_duration_s=None,
        prompts={PromptMoment.TO_CALLEE: "parcel"},
        order_ref="o",
        user_data="u",
        expires_at=world.clock.now + 7_000_000,
    )
    assert changed.updated_at == world.clock.now
    assert await world.bindings.get(binding.customer_id, binding.id) == changed
    match = await world.bindings.look_up(person(1), str(binding.y))
    assert (match.record, match.max_duration_s, match.order_ref, match.user_data) == (False, None, "o", "u")
    assert match.prompts == '{"to_callee": "parcel"}'
    assert (await call(world, person(2), binding.x))[0] == "direction_not_allowed"
    assert await versions(world, binding) == []
    world.clock.forward(7)
    assert (await call(world, person(1), str(binding.y)))[0] == "binding_expired"
    with pytest.raises(Refusal) as refused:
        await change(world, binding, record=True)
    assert refused.value.code == "binding_ended"


async def test_extending(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, expires_in_s=60)
    extend, now = world.bindings.extend, world.clock.now
    longer = await extend(ride.customer.id, binding.id, now + 90_000_000)
    assert longer.expires_at == now + 90_000_000
    assert (await extend(ride.customer.id, binding.id, now + 70_000_000)).expires_at == longer.expires_at
    endless = await change(world, binding, expires_at=None)
    assert endless.expires_at is None
    assert (await extend(ride.customer.id, binding.id, now + 70_000_000)).expires_at is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"a": person(2)}, "validation_failed"),
        ({"a": "+8613900000001"}, "validation_failed"),
        ({"a": "12"}, "validation_failed"),
        ({"b": None}, "validation_failed"),
        ({"b": person(3)}, "pair_taken"),
        ({"extension": "1"}, "validation_failed"),
        ({"y_pool": "pool_1"}, "pool_not_found"),
        ({"y_life_s": 60}, "validation_failed"),
        ({"max_duration_s": 0}, "validation_failed"),
    ],
)
async def test_changes_that_cannot_be(world: World, changes: dict[str, object], code: str) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    await ride.reserve(1, 3)
    with pytest.raises(Refusal) as refused:
        await change(world, binding, **changes)
    assert refused.value.code == code
    assert await world.bindings.get(ride.customer.id, binding.id) == binding
    other = await world.customer("Other")
    with pytest.raises(Refusal) as refused:
        await world.bindings.change(other.id, binding.id, {"record": False})
    assert refused.value.code == "not_found"


async def test_releasing_ends_live_calls_only_if_told_so(world: World) -> None:
    ride = await world.ride()
    kept, parent = await ride.reserve(3, 4), await on_demand(ride)
    await world.bindings.give_y(parent.id, STRANGER)
    (child,) = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    await ride.release(kept)
    await world.bindings.release(ride.customer.id, parent.id, hang_up=True)
    async with world.database.read() as connection:
        found = await connection.execute(select(call_commands.c.call_id, call_commands.c.command))
        assert {tuple(row) for row in found} == {(each.id, "hang_up_binding") for each in (parent, child)}


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (Mode.AXB, {"b": None}),
        (Mode.AX, {"extension": "1"}),
        (Mode.AXE, {"direction": Direction.A_TO_B}),
        (Mode.AXE, {"extension": "1234567"}),
        (Mode.X, {"a": person(1)}),
        (Mode.AX, {"y_on_demand": True}),
        (Mode.AX, {"prompts": {PromptMoment.REFUSED: "no such name"}}),
        (Mode.AX, {"b": person(1)}),
        (Mode.AX, {"a": x_number(1)}),
    ],
)
async def test_what_does_not_fit_a_mode(world: World, mode: Mode, wanted: dict[str, object]) -> None:
    ride = await world.ride()
    with pytest.raises(Refusal) as refused:
        a = None if mode is Mode.X else person(1)
        await reserve(ride, {"a": a, "x_pool": ride.x_pool.id, "mode": mode, **wanted})
    assert refused.value.code == "validation_failed"


async def state_of(world: World, number: str) -> str:
    return (await holder_of(world, number))[0]


async def test_x_is_another_number(world: World, vault: Vault) -> None:
    ride = await graceful(world)
    binding = await ride.reserve(1, 2)
    world.clock.forward(5)
    changed = await change(world, binding, instead_of_x=binding.x)
    assert (changed.a, changed.b, changed.y) == (binding.a, binding.b, binding.y)
    assert changed.x not in (binding.x, binding.y)
    assert await call(world, person(2), changed.x) == ("connect", person(1), binding.y)
    assert await call(world, person(1), str(binding.y)) == ("connect", person(2), changed.x)
    # the old number is over for B at once, and nobody else's before it has rested
    assert (await call(world, person(2), binding.x))[0] == "binding_expired"
    assert await refusal(ride, Mode.AXB, 3, b=person(2), x=binding.x, x_pool=None) == "number_taken"
    assert await holder_of(world, binding.x) == ("ageing", vault.index(person(1)))
    assert await holder_of(world, changed.x) == ("in_service", vault.index(person(1)))
    assert [await relations(world, number) for number in (binding.x, changed.x, binding.y)] == [0, 1, 1]
    # sent again it says the same, however it was said
    for again in ({"instead_of_x": binding.x}, {"x": changed.x}, {"x_pool": ride.x_pool.id}):
        assert await change(world, changed, **again) == changed
    assert len(await versions(world, binding)) == 1
    # A's next binding has the new X, and not the one that A has left
    assert (await ride.reserve(1, 3)).x == changed.x
    world.clock.forward(60)
    await world.bindings.sweep()
    assert await holder_of(world, binding.x) == ("available", None)


async def test_y_is_another_number_and_comes_back_by_name(world: World) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    changed = await change(world, binding, y_pool=ride.y_pool.id, instead_of_y=binding.y)
    assert (changed.x, changed.y == binding.y) == (binding.x, False)
    assert await call(world, person(1), str(changed.y)) == ("connect", person(2), binding.x)
    assert await call(world, person(2), binding.x) == ("connect", person(1), changed.y)
    assert (await call(world, person(1), str(binding.y)))[0] == "binding_expired"
    third = await change(world, changed, instead_of_y=changed.y)
    assert third.y not in (binding.y, changed.y)
    # what rests from this binding itself is not chosen, and may be named
    with pytest.raises(Refusal) as refused:
        await change(world, third, instead_of_y=third.y)
    assert refused.value.code == "number_pool_exhausted"
    assert refused.value.extra["in_quarantine"] == 2
    back = await change(world, third, y=binding.y, b=person(3))
    assert await call(world, person(1), str(binding.y)) == ("connect", person(3), binding.x)
    assert (await call(world, person(2), binding.x))[0] == "binding_expired"
    assert back.y == binding.y
    assert [await relations(world, y_number(place)) for place in (1, 2, 3)] == [1, 0, 0]


async def test_one_of_several_bindings_does_not_leave_the_drivers_x(world: World, vault: Vault) -> None:
    ride = await world.ride(xs=4)
    first, second = await ride.reserve(1, 2), await ride.reserve(1, 3)
    assert first.x == second.x
    for wanted in ({"instead_of_x": first.x}, {"x": x_number(4)}):
        with pytest.raises(Refusal) as refused:
            await change(world, first, **wanted)
        assert (refused.value.code, refused.value.extra["binding_id"]) == ("x_shared", second.id)
    assert await call(world, person(2), first.x) == ("connect", person(1), first.y)
    # to one that is the driver's already each goes by itself; the last one leaves none behind
    other = await ride.reserve(1, 4, x=x_number(4), x_pool=None)
    for binding in (first, second):
        assert (await change(world, binding, instead_of_x=first.x)).x == other.x
    assert await holder_of(world, first.x) == ("ageing", vault.index(person(1)))
    assert await call(world, person(3), other.x) == ("connect", person(1), second.y)
    # one that rests is the driver's no more than any other
    with pytest.raises(Refusal) as refused:
        await change(world, first, x=first.x)
    assert refused.value.code == "x_shared"
    # a fixed X stays the driver's, so that the binding stays with it
    await world.numbers.assign(x_number(3), person(5), ride.customer.id)
    fixed = await ride.reserve(5, 6)
    with pytest.raises(Refusal) as refused:
        await change(world, fixed, instead_of_x=x_number(3))
    assert (refused.value.code, refused.value.extra["binding_id"]) == ("x_shared", None)


async def test_most_x_does_not_count_the_x_that_is_left(world: World, vault: Vault) -> None:
    world.bindings = Bindings(world.database, vault, world.clock, most_x=1)
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    assert (await change(world, binding, instead_of_x=binding.x)).x != binding.x


async def test_pairs_that_came_about_follow_the_x_of_their_binding(world: World) -> None:
    ride = await world.ride()
    parent = await on_demand(ride)
    await world.bindings.give_y(parent.id, STRANGER)
    (child,) = await world.bindings.page(ride.customer.id, None, 9, parent_id=parent.id)
    with pytest.raises(Refusal) as refused:
        await change(world, child, instead_of_x=parent.x)
    assert (refused.value.code, refused.value.extra["binding_id"]) == ("x_shared", parent.id)
    changed = await change(world, parent, x=x_number(3))
    followed = await world.bindings.get(ride.customer.id, child.id)
    assert (changed.x, followed.x, followed.y) == (x_number(3), x_number(3), child.y)
    assert await call(world, STRANGER, changed.x) == ("connect", person(1), child.y)
    assert await call(world, person(1), str(child.y)) == ("connect", STRANGER, changed.x)
    assert await call(world, person(8), changed.x) == ("no_y_free", None, None)
    assert (await call(world, STRANGER, parent.x))[0] == "binding_expired"
    assert [await relations(world, number) for number in (parent.x, changed.x)] == [0, 2]
    assert await state_of(world, parent.x) == "ageing"
    assert len(await versions(world, child)) == 1


async def test_x_of_the_other_modes(world: World, vault: Vault) -> None:
    ride = await world.ride(xs=12)
    ax, axe = await bind(ride, Mode.AX, 1), await bind(ride, Mode.AXE, 2, extension="7")
    axb, marker = await bind(ride, Mode.AXB, 3, b=person(4)), await bind(ride, Mode.X, None)
    match = await world.bindings.look_up(STRANGER, ax.x)
    await remember(world, vault, match, ax.x, STRANGER)
    new = {
        binding.id: (await change(world, binding, instead_of_x=binding.x)).x
        for binding in (ax, axe, axb, marker)
    }
    assert len({*new.values(), ax.x, axe.x, axb.x, marker.x}) == 8
    assert await call(world, person(8), new[ax.id]) == ("connect", person(1), new[ax.id])
    assert await call(world, person(1), new[ax.id]) == ("connect", STRANGER, new[ax.id])  # who called last
    assert await call(world, person(3), new[axb.id]) == ("connect", person(4), new[axb.id])
    assert (await call(world, person(8), new[marker.id]))[0] == "routing_missing"
    assert (await call(world, person(8), new[axe.id]))[0] == "extension_needed"
    for binding, caller in ((ax, person(8)), (axb, person(4)), (marker, person(8))):
        assert (await call(world, caller, binding.x))[0] == "binding_expired"
    expected = {ax: 2, axe: 1, axb: 2, marker: 1}
    for binding, legs_there in expected.items():
        assert await relations(world, new[binding.id]) == legs_there
        assert await relations(world, binding.x) == 0
    assert [await state_of(world, binding.x) for binding in (ax, axe, axb, marker)] == [
        *("ageing", "ageing", "available", "ageing")
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"x": person(9)}, "number_not_found"),
        ({"x": x_number(9)}, "number_not_found"),
        ({"x": y_number(1)}, "validation_failed"),
        ({"y": x_number(1)}, "validation_failed"),
        ({"y": y_number(2)}, "number_taken"),
        ({"x": x_number(2), "x_pool": "pool_1"}, "validation_failed"),
        ({"x": x_number(2), "instead_of_x": x_number(1)}, "validation_failed"),
        ({"x_pool": "pool_1"}, "pool_not_found"),
        ({"x_city": "755"}, "number_pool_exhausted"),
        ({"mode": Mode.AXB}, "mode_unchangeable"),
    ],
)
async def test_numbers_that_a_binding_cannot_have(
    world: World, changes: dict[str, object], code: str
) -> None:
    ride = await world.ride()
    await world.pool(await world.customer("Other"), 60, [x_number(9)])
    binding = await ride.reserve(1, 2)
    await ride.reserve(1, 3)
    assert (binding.x, binding.y) == (x_number(1), y_number(1))
    with pytest.raises(Refusal) as refused:
        await change(world, binding, **changes)
    assert refused.value.code == code
    assert await world.bindings.get(ride.customer.id, binding.id) == binding
    assert await change(world, binding, mode=Mode.AXYB) == binding
