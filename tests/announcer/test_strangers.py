"""Callers whom no binding knows: refused, told, asked who they are, or connected with a hotline."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from xiaohao.announcer.model import Terms, Treatment
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone

from .conftest import SpeakingTheatre
from .test_dialogues import caller_of

HOTLINE, OTHER_HOTLINE = "+8613712388888", "+8613712388889"


@pytest_asyncio.fixture(name="treat", loop_scope="session")
async def treatment(speaking: SpeakingTheatre) -> AsyncIterator[Any]:
    """Choose for the pool of Y what becomes of unknown callers; nothing is chosen afterwards."""
    path = f"/v1/pools/{speaking.y_pool}/unknown-callers"

    async def choose(**body: Any) -> None:
        assert (await speaking.customer.request("GET", path))["inherited"]
        chosen = await speaking.customer.request("PUT", path, body)
        assert chosen["treatment"] == body["treatment"]
        await asyncio.sleep(1.2)

    yield choose
    await speaking.customer.request("DELETE", path)
    await asyncio.sleep(1.2)


async def talks(call: OutgoingCall, callee: Phone, shown: str) -> None:
    """The callee is called, shown this number, and both hear each other."""
    called = await callee.next_call()
    await call.wait_answered()
    assert called.display == shown
    assert await call.wait_heard(callee.tone_hz)
    assert await called.wait_heard(call.phone.tone_hz)
    await call.hang_up()


async def asks(theatre: SpeakingTheatre, dialled: str, digits: str) -> OutgoingCall:
    """Somebody unknown calls and answers the question."""
    call = await caller_of(theatre).call(dialled)
    await call.wait_ringing()
    await call.dtmf(digits)
    return call


async def test_refused_at_once(speaking: SpeakingTheatre, treat: Any) -> None:
    """Without a word."""
    await treat(treatment="refuse")
    pair = await speaking.pair()
    call = await caller_of(speaking).call(pair.y)
    await call.wait_ended()
    assert (call.final_code, call.provisional_codes) == (403, [])


async def test_the_last_digits(speaking: SpeakingTheatre, treat: Any) -> None:
    """The driver, from another phone, proves to know their number; the passenger sees X as ever."""
    await treat(treatment="last_digits")
    pair = await speaking.pair()
    call = await asks(speaking, pair.y, pair.driver.number[-4:])
    await talks(call, pair.passenger, pair.x)
    cdr = await pair.cdr()
    assert (cdr["caller"], cdr["callee"]) == (call.phone.number, pair.passenger.number)
    wrong = await asks(speaking, pair.y, "0000")
    assert await speaking.will_hear(wrong, "wrong_last_digits")
    await wrong.cancel()


async def test_the_order_code(speaking: SpeakingTheatre, treat: Any) -> None:
    """The order reference tells which binding is meant."""
    await treat(treatment="order_code")
    pair, other = await speaking.pair(order_ref="20261128001"), await speaking.pair(order_ref="20261128002")
    assert other.y
    call = await asks(speaking, pair.y, "20261128001#")
    await talks(call, pair.passenger, pair.x)


async def test_the_hotline(speaking: SpeakingTheatre, treat: Any) -> None:
    """The customer's own people take the call and see the number that was dialled."""
    agent = speaking.city.add_phone(HOTLINE, 760)
    await treat(treatment="hotline", hotline=HOTLINE)
    pair = await speaking.pair()
    call = await caller_of(speaking).call(pair.y)
    await talks(call, agent, pair.y)


async def test_whoever_tries_too_often_learns_nothing(speaking: SpeakingTheatre, treat: Any) -> None:
    """After some guesses of a caller at a number even the right digits are wrong, and sound the same."""
    await treat(treatment="last_digits")
    pair = await speaking.pair()
    guesser = caller_of(speaking)
    # two calls are enough where the edge hears every key
    for _ in range(3):
        call = await guesser.call(pair.y)
        await call.wait_ringing()
        for _ in range(3):
            await call.dtmf("0000")
            await asyncio.sleep(0.6)
        await call.wait_ended(10)
        assert (call.final_code, call.reason_header) == (403, "Q.850;cause=21")
    call = await guesser.call(pair.y)
    await call.wait_ringing()
    await call.dtmf(pair.driver.number[-4:])
    assert await speaking.will_hear(call, "wrong_last_digits")
    await call.cancel()


async def test_terms_are_whole(speaking: SpeakingTheatre) -> None:
    """A hotline needs a number, and nothing else takes one; the customer's choice is the pool's, too."""
    circle = {"treatment": "hotline", "hotline": "+861062000001"}
    for body in ({"treatment": "hotline"}, {"treatment": "refuse", "hotline": HOTLINE}, circle):
        status, answer = await speaking.stage.attempt(
            "PUT", "/v1/unknown-callers", body, key=speaking.customer.key
        )
        assert (status, answer["code"]) == (422, "validation_failed")
    assert Terms(Treatment.HOTLINE, HOTLINE).hotline not in repr(Terms(Treatment.HOTLINE, HOTLINE))


async def test_a_graph_of_the_customers_own(speaking: SpeakingTheatre) -> None:
    """A chosen graph leads the caller: asked, and connected with a number by the key they press."""
    agent = speaking.city.add_phone(OTHER_HOTLINE, 760)
    nodes = {
        "ask": {"do": "collect", "prompt": "ask_order_code", "digits": "choose", "nothing": "bye"}
        | {"exhausted": "bye"},
        "choose": {"do": "branch", "cases": {"1": "agent"}, "otherwise": "ask"},
        "agent": {"do": "connect", "to": OTHER_HOTLINE},
        "bye": {"do": "hang_up", "reason": "unknown_caller"},
    }
    body = {"name": "menu", "graph": {"start": "ask", "nodes": nodes}}
    graph = await speaking.customer.request("POST", "/v1/graphs", body)
    pair = await speaking.pair()
    choice = {"occasion": "unknown_caller", "pool_id": speaking.y_pool}
    await speaking.customer.request("PUT", "/v1/dialogues", choice | {"graph_id": graph["id"]})
    await asyncio.sleep(1.5)
    try:
        call = await caller_of(speaking).call(pair.y)
        assert await speaking.will_hear(call, "ask_order_code")
        await call.dtmf("1")
        await talks(call, agent, pair.y)
    finally:
        await speaking.customer.request("PUT", "/v1/dialogues", choice | {"graph_id": None})
        await asyncio.sleep(1.5)
