"""Callers of a carrier that lets nothing through before an answer: answered, asked, and then connected."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.announcer import audio
from tests.announcer.conftest import SpeakingTheatre
from tests.announcer.test_dialogues import Desk, the_desk  # noqa: F401 – a fixture
from tests.announcer.test_refusals import recorded
from tests.announcer.test_traces import ladder
from tests.calls.searcher import Call, leaks, received, secrets_of
from tests.recordings.audio import Heard, listen
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.trace.legs import ANNOUNCER

#: digits that are not found by accident
_dice = random.Random(106)
HOST = "127.0.3.9"
LEAKY = Behaviour(leaky_headers=True)
RINGBACK_HZ = 450


@pytest_asyncio.fixture(name="deaf", scope="module", loop_scope="session")
async def without_early_media(speaking: SpeakingTheatre) -> AsyncIterator[Carrier]:
    """Its callers are answered before they are asked anything."""
    async with Carrier(HOST, edge=speaking.stage.sip) as carrier:
        await speaking.stage.add_trunk("deaf", carrier.address, answers="asked")
        await speaking.trunks_in_force()
        yield carrier
        assert not carrier.errors


async def called(deaf: Carrier, dialled: str, **options: Any) -> OutgoingCall:
    """Somebody calls."""
    number = f"+86137{_dice.randrange(10**7, 10**8)}"
    return await deaf.add_phone(number, 1000, behaviour=LEAKY).call(dialled, **options)


async def asked(desk: Desk, deaf: Carrier, digits: str = "") -> OutgoingCall:
    """Somebody calls, is answered, hears the request, and dials."""
    call = await called(deaf, desk.x)
    await call.wait_answered()
    assert call.provisional_codes == []
    assert await desk.theatre.will_hear(call, "ask_extension")
    await call.dtmf(digits)
    return call


async def ringing(desk: Desk, deaf: Carrier) -> tuple[OutgoingCall, IncomingCall]:
    """The same, and the callee's phone rings for long."""
    phone = desk.phones["7"]
    phone.behaviour = Behaviour(never_answer=True, leaky_headers=True)
    call = await asked(desk, deaf, "7#")
    other = await phone.next_call()
    assert await call.wait_heard(RINGBACK_HZ)
    return call, other


async def hung_up(desk: Desk, call: OutgoingCall) -> None:
    """The platform ends the call, over the API."""
    listed = (await desk.theatre.stage.request("GET", "/v1/calls"))["items"]
    [call_id] = [one["call_id"] for one in listed if one["caller"] == call.phone.number]
    await desk.theatre.stage.request("POST", f"/v1/calls/{call_id}/hang-up")


async def released(call: OutgoingCall, cause: int) -> None:
    """The platform has hung up: one BYE, within the caller's dialog."""
    await call.wait_ended(8)
    assert call.reason_header == f"Q.850;cause={cause}"
    [bye] = [one.raw for one in received([call]) if one.raw.startswith(b"BYE ")]
    [sender] = [line for line in bye.split(b"\r\n") if line.startswith(b"From:")]
    assert sender.count(b";tag=") == 1


def unknown_to_each_other(call: Call, other: Call) -> None:
    """Nothing of one reached the other."""
    assert leaks([call], secrets_of([other])) == []
    assert leaks([other], secrets_of([call])) == []


def gaps(theatre: SpeakingTheatre, callee_hz: int, heard: Heard) -> list[float]:
    """From the request to the ring-back, and to the callee's first word, in what a caller hears."""
    request = audio.find(theatre.sounds["ask_extension"], heard.right)
    assert request.likeness > 0.8
    tones = [next(b for b, e in heard.spans("right", hz) if e - b > 0.3) for hz in (RINGBACK_HZ, callee_hz)]
    return [began - request.at_s for began in tones]


async def test_connected(desk: Desk, deaf: Carrier) -> None:
    """Ring-back until the callee answers, then both hear each other; one CDR, recording and trace."""
    theatre, phone = desk.theatre, desk.phones["123"]
    phone.behaviour = Behaviour(answer_after_s=0.8, leaky_headers=True, forked_provisionals=1)
    call = await asked(desk, deaf, "123#")
    other = await phone.next_call()
    assert await call.wait_heard(RINGBACK_HZ)
    await other.wait_answered()
    assert other.display == desk.x
    assert await call.wait_heard(phone.tone_hz)
    assert await other.wait_heard(1000)
    assert await call.info_dtmf("5") == 200
    assert await call.hold() == 200
    assert await other.update() == 200
    await call.hang_up()
    await other.wait_ended()
    unknown_to_each_other(call, other)
    cdr = await desk.cdr(call)
    assert (cdr["reason"], cdr["displayed"], cdr["sip_code"]) == ("caller_hung_up", desk.x, 200)
    assert 600 < cdr["ring_ms"] < 3000, "the answer is the callee's"
    signals = await theatre.signals(cdr["call_id"])
    assert signals == ["received", "announcer_answers", "ringing", "answered", "ended"]
    await theatre.endpoint.wait_for("recording.ready", cdr["call_id"], timeout=60)
    made, here = listen(await theatre.audio(cdr["call_id"])), call.received_audio
    assert gaps(theatre, phone.tone_hz, made) == pytest.approx(
        gaps(theatre, phone.tone_hz, Heard(8000, here, here)), abs=0.2
    )
    words = await ladder(theatre, cdr["call_id"], 20)
    assert [words.count(name) for name in (ANNOUNCER, "carrier 1", "carrier 2", "INVITE asked")] == [1] * 4
    assert words.count("INVITE onward") == 1


async def test_music_and_a_word_before(desk: Desk, deaf: Carrier) -> None:
    """What is said before the callee is called, and music in place of the ring-back."""
    desk.phones["7"].behaviour = Behaviour(answer_after_s=1.0, early_media=True)
    desk.theatre.put("before_connect", "waiting")
    try:
        call = await asked(desk, deaf, "7#")
        other = await desk.phones["7"].next_call()
        assert await call.wait_heard(desk.phones["7"].tone_hz)
    finally:
        desk.theatre.take_away("before_connect", "waiting")
    assert {"before_connect", "waiting"} <= set(desk.theatre.hears(call))
    assert call.tone_seconds(RINGBACK_HZ) < 0.2
    await other.hang_up()
    await released(call, 16)
    assert (await desk.cdr(call))["reason"] == "callee_hung_up"


async def test_the_callee_is_not_reached(desk: Desk, deaf: Carrier) -> None:
    """Early media of the callee's network; then the caller is told, and gets the cause in a BYE."""
    desk.phones["7"].behaviour = Behaviour(
        reject_with=(486, "Busy"), reject_after_s=0.7, early_media=True, early_media_hz=1500
    )
    call = await asked(desk, deaf, "7#")
    await released(call, 17)
    assert call.tone_seconds(1500) > 0.2
    assert sorted(desk.theatre.hears(call)) == ["ask_extension", "callee_busy"]
    cdr = await desk.cdr(call)
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("callee_busy", "callee", 486)
    assert (cdr["answered_at"], [one["sip_code"] for one in cdr["tries"]]) == (None, [486])


async def test_nobody_is_meant(desk: Desk, deaf: Carrier) -> None:
    """Three wrong tries; and whoever says nothing of where they listen cannot be asked, as ever."""
    late = await called(deaf, desk.x, late_offer=True)
    call = await asked(desk, deaf, "99#")
    for _ in range(2):
        await asyncio.sleep(0.3)
        await call.dtmf("98#")
    await released(call, 1)
    assert "no_more_tries" in desk.theatre.hears(call)
    cdr = await desk.cdr(call)
    assert (cdr["reason"], cdr["sip_code"], cdr["answered_at"]) == ("extension_unknown", 404, None)
    await late.wait_ended()
    assert late.final_code == 484


async def test_somebody_gives_up(desk: Desk, deaf: Carrier) -> None:
    """The caller, or the platform: while the caller listens, and while the callee's phone rings."""
    call, other_listener = await asyncio.gather(asked(desk, deaf), asked(desk, deaf))
    await call.hang_up()
    await hung_up(desk, other_listener)
    await released(other_listener, 31)
    assert (await desk.cdr(other_listener))["reason"] == "platform_hung_up"
    cdr = await desk.cdr(call)
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("extension_needed", "platform", 484)
    call, other = await ringing(desk, deaf)
    await call.hang_up()
    await other.wait_ended()
    unknown_to_each_other(call, other)
    cdr = await desk.cdr(call)
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("caller_cancelled", "caller", 487)
    assert [one["sip_code"] for one in cdr["tries"]] == [487]
    call, other = await ringing(desk, deaf)
    await hung_up(desk, call)
    await released(call, 31)
    await other.wait_ended()
    assert (await desk.cdr(call))["reason"] == "platform_hung_up"


async def test_hung_up_and_answered_at_once(desk: Desk, deaf: Carrier) -> None:
    """Whichever is faster: nobody is left alone, and there is one record."""
    for _ in range(2):
        call, other = await ringing(desk, deaf)
        await asyncio.gather(call.hang_up(), other.answer())
        await other.wait_ended()
        assert (await desk.cdr(call))["reason"] in ("caller_cancelled", "caller_hung_up")


async def test_the_switch_is_killed(desk: Desk, deaf: Carrier) -> None:
    """Who listens gets a BYE within five seconds and a CDR; where it rings the callee can still answer."""
    listener = await asked(desk, deaf)
    call, other = await ringing(desk, deaf)
    os.kill(desk.theatre.stage.pid("switch"), signal.SIGKILL)
    killed_at = time.monotonic()
    await other.answer()
    await released(listener, 28)
    assert time.monotonic() - killed_at < 5
    assert await other.wait_heard(1000)
    # the ring-back goes on until there is a switch again
    assert await call.wait_heard(desk.phones["7"].tone_hz, 10)
    assert [one.raw for one in received([other]) if one.raw.startswith(b"ACK ")]
    await call.hang_up()
    await other.wait_ended()
    assert (await desk.cdr(listener))["reason"] == "extension_needed"
    assert (await desk.cdr(call))["reason"] == "caller_hung_up"


async def test_answered_to_be_told(speaking: SpeakingTheatre, deaf: Carrier) -> None:
    """Refusals come before an answer as long as only who is asked is answered, and after it where wanted."""
    pair = await speaking.pair()
    early = await called(deaf, pair.y)
    await early.wait_ended()
    assert (early.final_code, early.provisional_codes) == (403, [183])
    await speaking.change_trunk("deaf", answers="told")
    pair = await speaking.pair()
    call = await called(deaf, pair.y)
    await call.wait_answered()
    await released(call, 21)
    assert speaking.hears(call) == ["unknown_caller"]
    cdr = await recorded(speaking, pair.y)
    assert (cdr["reason"], cdr["sip_code"], cdr["answered_at"]) == ("unknown_caller", 403, None)
    assert cdr["talk_ms"] == 0
    await speaking.change_trunk("deaf", answers="asked")
