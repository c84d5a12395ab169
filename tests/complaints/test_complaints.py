"""Complaints, and the rest that too many of them bring."""

import pytest
from tests.world import World, x_number

from xiaohao.clock import SECOND
from xiaohao.complaints.model import Source
from xiaohao.errors import Refusal
from xiaohao.numbers.lifecycle import Reason
from xiaohao.numbers.model import NumberState


async def test_the_third_complaint_suspends_until_the_rest_is_over(world: World) -> None:
    customer = await world.customer()
    await world.pool(customer, 60, [x_number(1)], complaints_limit=3, complaint_rest_s=600)
    await world.complaints.add(x_number(1))
    world.clock.forward(601)  # the first one counts no more
    for _ in range(2):
        await world.complaints.add(x_number(1), Source.CARRIER)
        world.clock.forward(10)
        assert (await world.numbers.get_number(x_number(1))).state is NumberState.AVAILABLE
    last = await world.complaints.add("139 0000 0001", note="at night", customer_id=customer.id, by="key_1")
    number = await world.numbers.get_number(x_number(1))
    assert (number.state, number.state_reason) == (NumberState.SUSPENDED, Reason.COMPLAINT)
    assert number.suspended_until == last.at + 600 * SECOND
    world.clock.forward(100)
    another = await world.complaints.add(x_number(1))
    number = await world.numbers.get_number(x_number(1))
    assert number.suspended_until == another.at + 600 * SECOND
    world.clock.forward(600)
    await world.numbers.sweep()
    assert (await world.numbers.get_number(x_number(1))).state is NumberState.AVAILABLE
    assert len(await world.complaints.page("", 10, customer.id, x_number(1))) == 5


async def test_without_a_policy_they_are_only_written_down(world: World) -> None:
    customer, other = await world.customer(), await world.customer("other")
    await world.pool(customer, 60, [x_number(1)])
    for _ in range(5):
        complaint = await world.complaints.add(x_number(1))
    assert (await world.numbers.get_number(x_number(1))).state is NumberState.AVAILABLE
    assert complaint in await world.complaints.page("", 10)
    assert await world.complaints.page("", 10, other.id) == []
    for wrong in (
        world.complaints.add(x_number(1), customer_id=other.id),
        world.complaints.add(x_number(2)),
        world.complaints.add(x_number(1), at=world.clock.now + 1),
    ):
        with pytest.raises(Refusal):
            await wrong


async def test_a_longer_suspension_is_not_cut_short(world: World) -> None:
    await world.pool(None, 60, [x_number(1)], complaints_limit=1, complaint_rest_s=60)
    await world.numbers.suspend(x_number(1), Reason.CARRIER)
    await world.complaints.add(x_number(1))
    number = await world.numbers.get_number(x_number(1))
    assert (number.state_reason, number.suspended_until) == ("carrier", None)
