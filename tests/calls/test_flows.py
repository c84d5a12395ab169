"""The three flows of the customer's document: the driver calls, the passenger calls back, the driver too."""

import asyncio
from datetime import datetime

from xiaohao.simulator.phone import Phone

from .conftest import Pair, Theatre


async def _talk(pair: Pair, caller: Phone, dialled: str, callee: Phone, expected_display: str) -> None:
    call = await caller.call(dialled)
    answering = await callee.next_call()
    await call.wait_answered()
    assert answering.display == expected_display
    assert await call.wait_heard(callee.tone_hz)
    assert await answering.wait_heard(caller.tone_hz)
    await call.hang_up()
    await answering.wait_ended()


async def test_three_flows(theatre: Theatre) -> None:
    """Each sees and dials a platform number, each hears the other, and each call has one CDR."""
    pair = await theatre.pair(order_ref="order-1")
    driver, passenger = pair.driver, pair.passenger
    passenger_calling = theatre.city.phones[passenger.number]
    driver_called = theatre.city.phones[driver.number]

    assert pair.binding["dial"] == pair.y
    await _talk(pair, driver, pair.y, passenger, pair.x)
    await _talk(pair, passenger_calling, pair.x, driver_called, pair.y)
    await _talk(pair, driver, pair.y, passenger, pair.x)

    cdrs = await pair.cdrs(3)
    assert [cdr["caller"] for cdr in cdrs] == [driver.number, passenger.number, driver.number]
    assert [cdr["callee"] for cdr in cdrs] == [passenger.number, driver.number, passenger.number]
    assert [cdr["displayed"] for cdr in cdrs] == [pair.x, pair.y, pair.x]
    assert {cdr["reason"] for cdr in cdrs} == {"caller_hung_up"}
    assert {cdr["ended_by"] for cdr in cdrs} == {"caller"}
    assert {cdr["order_ref"] for cdr in cdrs} == {"order-1"}


async def test_customer_hears_everything_in_order(theatre: Theatre) -> None:
    """Six events a call, signed, in order, and soon."""
    pair = await theatre.pair()
    await _talk(pair, pair.driver, pair.y, pair.passenger, pair.x)
    call_id = (await pair.cdr())["call_id"]
    await theatre.endpoint.wait_for("recording.ready", call_id, timeout=60)
    told = [delivery for delivery in theatre.endpoint.accepted if delivery.call_id == call_id]
    assert [delivery.kind for delivery in told] == [
        "call.received",
        "call.ringing",
        "call.answered",
        "call.ended",
        "cdr.created",
        "recording.ready",
    ]
    assert [delivery.document["sequence"] for delivery in told] == [1, 2, 3, 4, 5, 6]
    for delivery in told[:5]:
        happened = datetime.fromisoformat(delivery.document["timestamp"]).timestamp()
        assert 0 <= delivery.arrived_us / 1e6 - happened < 2
    await asyncio.sleep(0.3)
    assert len([d for d in theatre.endpoint.accepted if d.call_id == call_id]) == 6
