"""Dialogues: callers of an X of many people dial whom they mean, in every way that phones know."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone

from .conftest import SpeakingTheatre


async def _events(call: OutgoingCall, digits: str) -> None:
    await call.dtmf(digits)


async def _tones(call: OutgoingCall, digits: str) -> None:
    await call.dtmf(digits, in_band=True)


async def _info(call: OutgoingCall, digits: str) -> None:
    for digit in digits:
        assert await call.info_dtmf(digit) == 200


class Desk:
    """Two people behind one X, told apart by extensions."""

    def __init__(self, theatre: SpeakingTheatre, x: str, phones: dict[str, Phone]) -> None:
        self.theatre, self.x, self.phones = theatre, x, phones

    async def connected(self, call: OutgoingCall, extension: str) -> None:
        """The one with this extension is called, sees X, and both hear each other; one CDR."""
        phone = self.phones[extension]
        called = await phone.next_call()
        await call.wait_answered()
        assert called.display == self.x
        assert await call.wait_heard(phone.tone_hz)
        assert await called.wait_heard(call.phone.tone_hz)
        await call.hang_up()
        cdr = await self.cdr(call)
        assert (cdr["reason"], cdr["displayed"], cdr["callee"]) == ("caller_hung_up", self.x, phone.number)
        assert cdr["answered_at"] is not None

    async def cdr(self, call: OutgoingCall) -> dict[str, Any]:
        """The one CDR of this caller."""
        caller = call.phone.number
        found: list[dict[str, Any]] = []
        for _ in range(300):
            listed = (await self.theatre.stage.request("GET", "/v1/cdrs?limit=50"))["items"]
            found = [cdr for cdr in listed if cdr["caller"] == caller]
            if found:
                break
            await asyncio.sleep(0.1)
        assert len(found) == 1
        return found[0]


_callers = iter(range(1000))


def caller_of(theatre: SpeakingTheatre) -> Phone:
    """Somebody whom nobody knows."""
    return theatre.city.add_phone(f"+8613755{next(_callers):06}", 1000)


@pytest_asyncio.fixture(name="desk", loop_scope="session")
async def the_desk(speaking: SpeakingTheatre) -> Desk:
    phones, x = {}, None
    for extension in ("123", "7"):
        number = f"+8613766{next(_callers):06}"
        phones[extension] = speaking.mobile.add_phone(number, 500 + 100 * len(phones))
        body = {"mode": "axe", "a": number, "x_pool": speaking.x_pool, "extension": extension}
        made = await speaking.customer.request("POST", "/v1/bindings", body | ({"x": x} if x else {}))
        x = made["x"]
    assert x is not None
    return Desk(speaking, x, phones)


@pytest.mark.parametrize("press", [_events, _tones, _info])
async def test_the_extension_is_dialled(
    desk: Desk, press: Callable[[OutgoingCall, str], Awaitable[None]]
) -> None:
    """The caller hears the request, in early media, and dials: events, tones, or SIP INFO."""
    call = await caller_of(desk.theatre).call(desk.x)
    await call.wait_ringing()
    assert await desk.theatre.will_hear(call, "ask_extension")
    assert call.answered_at is None
    await press(call, "123#")
    await desk.connected(call, "123")


async def test_dialled_in_one_go(desk: Desk) -> None:
    """The digits come right at the start: nothing is asked."""
    call = await caller_of(desk.theatre).call(desk.x)
    await call.wait_ringing()
    await call.dtmf("7#")
    await desk.connected(call, "7")
    assert "ask_extension" not in desk.theatre.hears(call)


async def test_a_pause_and_digits_in_the_number(desk: Desk) -> None:
    """`X,123` as a carrier may hand it through."""
    call = await caller_of(desk.theatre).call(f"{desk.x},123")
    await desk.connected(call, "123")


async def test_three_tries(desk: Desk) -> None:
    """Wrong twice, right at the third; and wrong three times."""
    lucky, hopeless = [await caller_of(desk.theatre).call(desk.x) for _ in range(2)]
    for call in (lucky, hopeless):
        await call.wait_ringing()
    for _ in range(2):
        await asyncio.gather(lucky.dtmf("99#"), hopeless.dtmf("98#"))
        await asyncio.sleep(0.3)
    await asyncio.gather(lucky.dtmf("7#"), hopeless.dtmf("98#"))
    await desk.connected(lucky, "7")
    await hopeless.wait_ended(10)
    assert (hopeless.final_code, hopeless.reason_header) == (404, "Q.850;cause=1")
    assert "no_more_tries" in desk.theatre.hears(hopeless)
    cdr = await desk.cdr(hopeless)
    assert (cdr["reason"], cdr["answered_at"]) == ("extension_unknown", None)


async def test_the_caller_gives_up_while_asked(desk: Desk) -> None:
    """Cancelled by the caller."""
    call = await caller_of(desk.theatre).call(desk.x)
    await call.wait_ringing()
    await asyncio.sleep(0.3)
    await call.cancel()
    assert call.final_code == 487
    assert (await desk.cdr(call))["reason"] == "extension_needed"
