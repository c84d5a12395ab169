"""Real names: what is not proven is neither bound nor shown."""

import pytest
from sqlalchemy import select
from tests.world import World, person, x_number, y_number

from xiaohao.bindings.recognition import Outcome
from xiaohao.clock import SECOND
from xiaohao.database.schema import events
from xiaohao.errors import Refusal
from xiaohao.numbers.model import NumberSpec, Verification
from xiaohao.verifications.model import TRANSITIONS, Renewal

DOCUMENTS = ("archive 7/2026", "contract 12")


async def code_of(awaitable: object) -> str:
    with pytest.raises(Refusal) as refused:
        await awaitable  # type: ignore[misc]
    return str(refused.value.code)


async def test_a_mobile_number_waits_for_its_verification(world: World) -> None:
    ride = await world.ride(xs=0)
    (number,) = await world.numbers.add_numbers([NumberSpec(x_number(1), ride.x_pool.id)])
    assert number.verification is Verification.PENDING
    assert await code_of(ride.reserve(1, 2)) == "number_pool_exhausted"
    assert await code_of(ride.reserve(1, 2, x=x_number(1))) == "number_not_verified"
    assert await code_of(ride.reserve(1, 2, x_pool=ride.y_pool.id, y=x_number(1))) == "number_not_verified"
    assert await code_of(world.numbers.assign(x_number(1), person(1), ride.customer.id)) == (
        "number_not_verified"
    )
    proof = await world.verifications.submit_number("139 0000 0001", DOCUMENTS, customer_id=ride.customer.id)
    assert (proof.state, proof.documents, proof.number) == ("pending", DOCUMENTS, x_number(1))
    assert await code_of(ride.reserve(1, 2)) == "number_pool_exhausted"
    good = await world.verifications.verify(proof.id)
    assert good.state is Verification.VERIFIED
    assert (await ride.reserve(1, 2)).x == x_number(1)


async def test_landlines_need_none(world: World) -> None:
    (number,) = await world.numbers.add_numbers([NumberSpec(y_number(1))])
    assert number.verification is Verification.NONE
    assert await code_of(world.verifications.submit_number(y_number(1), DOCUMENTS)) == "validation_failed"


async def test_what_expires_is_not_shown_any_more(world: World) -> None:
    ride = await world.ride(xs=0)
    until = world.clock.now + 60 * SECOND
    await world.numbers.add_numbers(
        [NumberSpec(x_number(1), ride.x_pool.id, documents=DOCUMENTS, valid_until=until)]
    )
    binding = await ride.reserve(1, 2)
    assert (await world.bindings.look_up(person(1), binding.y or "")).outcome is Outcome.CONNECT
    world.clock.forward(60)
    for _ in range(2):  # also while nobody has swept yet
        assert (await world.bindings.look_up(person(1), binding.y or "")).outcome is (
            Outcome.NUMBER_NOT_VERIFIED
        )
        assert await code_of(ride.reserve(1, 3)) == "number_pool_exhausted"
        await world.verifications.sweep()
    number = await world.numbers.get_number(x_number(1))
    assert number.verification is Verification.EXPIRED
    assert await world.verifications.sweep() == 0
    renewed = await world.verifications.submit_number(x_number(1), ("archive 8",))
    assert renewed.state is Verification.VERIFIED
    assert (await world.bindings.look_up(person(1), binding.y or "")).outcome is Outcome.CONNECT


async def test_the_customer_is_told_what_becomes_of_a_name(world: World) -> None:
    """A number that is not displayed any more is nothing that its customer should learn from failed calls."""
    ride = await world.ride(xs=0, ys=0)
    await world.numbers.add_numbers([NumberSpec(x_number(1), ride.x_pool.id)])
    until, whose = world.clock.now + 60 * SECOND, ride.customer.id
    proof = await world.verifications.submit_number(x_number(1), DOCUMENTS, until, whose)
    await world.verifications.reject(proof.id, "illegible", "key_1")
    await world.verifications.submit_number(x_number(1), DOCUMENTS, until, whose)
    await world.verifications.verify(proof.id, by="key_1")
    world.clock.forward(60)
    for _ in range(2):
        await world.verifications.sweep()
    lines = (await world.numbers.history(x_number(1), None, 10, whose))[::-1]
    assert [(line.reason, line.changed_by) for line in lines] == [
        ("imported", None),
        ("real_name_rejected", "key_1"),
        ("real_name_verified", "key_1"),
        ("real_name_expired", None),
    ]
    assert {(line.from_state, line.to_state) for line in lines[1:]} == {("available", "available")}
    number = await world.numbers.get_number(x_number(1))
    assert (number.state_reason, number.state_at) == ("imported", number.created_at)
    async with world.database.read() as connection:
        told = (await connection.execute(select(events.c.sequence))).scalars()
        assert sorted(told) == [line.seq for line in lines[1:]]


async def test_rejected_with_a_reason_and_named_again(world: World) -> None:
    ride = await world.ride(xs=1)
    (proof,) = await world.verifications.page("", 10)
    named = await world.verifications.submit_number(x_number(1), ("x",), customer_id=ride.customer.id)
    assert (named.state, named.renewal) == (Verification.VERIFIED, Renewal(("x",), None))
    kept = await world.verifications.reject(proof.id, "illegible")  # the renewal only
    assert (kept.state, kept.renewal) == (Verification.VERIFIED, None)
    bad = await world.verifications.reject(proof.id, "forged")
    assert (bad.state, bad.reason) == (Verification.REJECTED, "forged")
    assert (await world.numbers.get_number(x_number(1))).verification is Verification.REJECTED
    again = await world.verifications.submit_number(x_number(1), ("x",), customer_id=ride.customer.id)
    assert (again.id, again.state, again.reason) == (proof.id, Verification.PENDING, None)
    assert await code_of(world.verifications.submit_number(x_number(1), ("x",), world.clock.now)) == (
        "validation_failed"
    )


async def test_the_person_behind_a(world: World) -> None:
    ride = await world.ride()
    assert (await ride.reserve(1, 2)).x == x_number(1)
    await world.tenants.require_real_names(ride.customer.id, True)
    assert await code_of(ride.reserve(1, 3)) == "person_not_verified"
    proof = await world.verifications.submit_person(
        person(1), DOCUMENTS, of_customer=ride.customer.id, customer_id=ride.customer.id
    )
    assert person(1) not in repr(proof)
    assert await code_of(ride.reserve(1, 3)) == "person_not_verified"
    await world.verifications.verify(proof.id, world.clock.now + 60 * SECOND)
    binding = await ride.reserve(1, 3)
    assert await world.verifications.of_person(person(1), ride.customer.id) is not None
    other = await world.customer("other")
    assert await world.verifications.of_person(person(1), other.id) is None
    assert await code_of(world.verifications.get(proof.id, other.id)) == "not_found"
    assert (
        await code_of(world.bindings.change(ride.customer.id, binding.id, {"a": person(8)}))
        == "person_not_verified"
    )
    world.clock.forward(60)
    assert await code_of(ride.reserve(1, 4)) == "person_not_verified"


def test_every_state_can_be_left_and_reached() -> None:
    reached = set().union(*TRANSITIONS.values())
    assert reached == set(Verification) - {Verification.NONE} == TRANSITIONS.keys() - {None}


async def test_renewed_before_it_ends(world: World) -> None:
    ride = await world.ride(xs=1)
    customer, now = ride.customer.id, world.clock.now
    whose = {"of_customer": customer}
    first = await world.verifications.submit_person(person(1), DOCUMENTS, now + 60 * SECOND, **whose)
    until = now + 600 * SECOND
    renewed = await world.verifications.submit_person(
        person(1), ("archive 8",), until, **whose, customer_id=customer
    )
    assert (renewed.id, renewed.state, renewed.documents) == (first.id, Verification.VERIFIED, DOCUMENTS)
    assert (renewed.valid_until, renewed.renewal) == (first.valid_until, Renewal(("archive 8",), until))
    assert [proof.id for proof in await world.verifications.page("", 10, None, Verification.PENDING)] == [
        first.id
    ]
    refused = await world.verifications.reject(first.id, "not to be read")
    assert (refused.state, refused.documents, refused.renewal) == (Verification.VERIFIED, DOCUMENTS, None)
    assert refused.reason == "not to be read"
    await world.verifications.submit_person(person(1), ("archive 9",), until, **whose, customer_id=customer)
    world.clock.forward(61)  # the old one has run out meanwhile
    await world.verifications.sweep()
    good = await world.verifications.verify(first.id)
    assert (good.state, good.documents, good.valid_until) == (Verification.VERIFIED, ("archive 9",), until)
    assert good.renewal is None
