"""Callers who are not connected hear why, free of charge, and are let go as if they had heard nothing."""

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from xiaohao.simulator.behaviour import Behaviour, Rejection
from xiaohao.simulator.outgoing import OutgoingCall

from .conftest import SpeakingTheatre


async def ended(call: OutgoingCall, code: int, cause: int) -> None:
    """The call was never answered, and ended with this code and cause."""
    await call.wait_ended(12)
    assert (call.final_code, call.reason_header) == (code, f"Q.850;cause={cause}")
    assert call.answered_at is None


async def recorded(theatre: SpeakingTheatre, dialled: str) -> dict[str, Any]:
    """The one CDR of the calls to this number."""
    for _ in range(300):
        found = (await theatre.stage.request("GET", "/v1/cdrs?limit=20"))["items"]
        mine = [cdr for cdr in found if cdr["dialled"] == dialled]
        if mine:
            break
        await asyncio.sleep(0.1)
    assert len(mine) == 1
    return dict(mine[0])


def unheard(cdr: dict[str, Any]) -> tuple[Any, ...]:
    """What of a CDR must not show that something was played."""
    return tuple(cdr[key] for key in ("ringing_at", "answered_at", "talk_ms", "recording", "tries"))


async def test_a_stranger_hears_why(speaking: SpeakingTheatre) -> None:
    """Early media once, the prompt of the reason and no other, the release of the reason, one CDR."""
    pair = await speaking.pair()
    stranger = speaking.city.add_phone("+8613712350001", 0)
    call = await stranger.call(pair.y)
    await ended(call, 403, 21)
    assert call.provisional_codes == [183]
    assert speaking.hears(call) == ["unknown_caller"]
    cdr = await recorded(speaking, pair.y)
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("unknown_caller", "platform", 403)
    assert unheard(cdr) == (None, None, 0, None, [])
    await speaking.endpoint.wait_for("cdr.created", cdr["call_id"])
    told = [delivery.kind for delivery in speaking.endpoint.accepted if delivery.call_id == cdr["call_id"]]
    assert told == ["call.received", "call.ended", "cdr.created"]


async def test_nobodys_number_and_an_expired_binding(speaking: SpeakingTheatre) -> None:
    """Each reason has its own prompt, also where no customer is known."""
    pair, gone = await speaking.pair(), await speaking.pair()
    await speaking.customer.request("DELETE", f"/v1/bindings/{gone.binding['id']}")
    nobodys = await pair.driver.call("+861069990001")
    expired = await gone.driver.call(gone.y)
    await ended(nobodys, 404, 1)
    await ended(expired, 410, 22)
    assert speaking.hears(nobodys) == ["unknown_number"]
    assert speaking.hears(expired) == ["binding_expired"]
    assert (await recorded(speaking, "106****0001"))["reason"] == "unknown_number"
    assert (await recorded(speaking, gone.y))["reason"] == "binding_expired"


@pytest.mark.parametrize(
    ("rejection", "said", "reason", "cause"),
    [
        ((486, "Busy Here"), "callee_busy", "callee_busy", 17),
        ((480, "Away", "Q.850;cause=20"), "callee_unreachable", "callee_unreachable", 20),
        ((404, "Not Found"), "callee_number_invalid", "callee_number_invalid", 1),
    ],
)
async def test_the_callee_is_not_reached(
    speaking: SpeakingTheatre, rejection: Rejection, said: str, reason: str, cause: int
) -> None:
    """After the callee's refusal the caller is told of it, and gets the callee's code and cause."""
    pair = await speaking.pair(passenger=Behaviour(reject_with=rejection))
    call = await pair.driver.call(pair.y)
    await ended(call, rejection[0], cause)
    assert speaking.hears(call) == [said]
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == (reason, "callee", rejection[0])


async def test_the_callee_does_not_answer(speaking: SpeakingTheatre) -> None:
    """After the callee's network has played something."""
    pair = await speaking.pair(passenger=Behaviour(never_answer=True, early_media=True))
    call = await pair.driver.call(pair.y)
    assert await call.wait_heard(450)
    await ended(call, 480, 19)
    assert speaking.hears(call) == ["callee_no_answer"]
    assert (await pair.cdr())["reason"] == "callee_no_answer"


async def test_whoever_hangs_up_while_listening(speaking: SpeakingTheatre) -> None:
    """The CDR is the same as if they had listened to the end."""
    pair, busy = await speaking.pair(), await speaking.pair(passenger=Behaviour(reject_with=(486, "Busy")))
    stranger = speaking.city.add_phone("+8613712350002", 440)
    calls = [await stranger.call(pair.y), await busy.driver.call(busy.y)]
    for call in calls:
        await call.wait_ringing()
    await asyncio.sleep(0.4)
    for call in calls:
        await call.cancel()
        assert call.final_code == 487
        assert speaking.hears(call) == []
    cdr = await recorded(speaking, pair.y)
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("unknown_caller", "platform", 403)
    cdr = await busy.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("callee_busy", "callee", 486)


@pytest.mark.parametrize(
    ("options", "hears"), [({"reliable": "required"}, True), ({"late_offer": True}, False)]
)
async def test_every_kind_of_offer(speaking: SpeakingTheatre, options: dict[str, Any], hears: bool) -> None:
    """Reliable early media for who insists (RFC 3262); who does not say where they listen is told nothing."""
    pair = await speaking.pair()
    stranger = speaking.city.add_phone(f"+8613712350{hears:03}", 0)
    call = await stranger.call(pair.y, **options)
    await ended(call, 403, 21)
    assert speaking.hears(call) == (["unknown_caller"] if hears else [])
    assert call.provisional_codes == ([183] if hears else [])
    assert (await recorded(speaking, pair.y))["reason"] == "unknown_caller"


async def test_a_session_without_audio(speaking: SpeakingTheatre) -> None:
    """Nothing can be played: the refusal is what it is without announcements."""
    pair = await speaking.pair()
    stranger = speaking.city.add_phone("+8613712350004", 0)
    headers = {"Content-Type": "application/sdp"}
    call = OutgoingCall(stranger, speaking.city, pair.y, headers=headers)
    call.invite.body = b"v=0\r\no=- 1 1 IN IP4 127.0.3.3\r\ns=-\r\nt=0 0\r\nm=video 4000 RTP/AVP 96\r\n"
    stranger.calls.append(call)
    speaking.city.know(call)
    call.start()
    await ended(call, 403, 21)
    assert call.provisional_codes == []


async def test_the_switch_is_killed_while_callers_listen(speaking: SpeakingTheatre) -> None:
    """They are released within five seconds, and have their CDRs."""
    pair = await speaking.pair()
    await speaking.stage.request("POST", f"/v1/numbers/{pair.y}/suspend")
    call = await pair.driver.call(pair.y)
    await call.wait_ringing()
    await asyncio.sleep(0.3)
    pid = int((speaking.stage.folder / "run" / "pids" / "switch.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    await ended(call, 404, 1)
    assert time.monotonic() - killed_at < 5
    cdr = await recorded(speaking, pair.y)
    assert (cdr["reason"], cdr["sip_code"], cdr["ended_by"]) == ("number_not_in_service", 404, "platform")
    await speaking.stage.request("POST", f"/v1/numbers/{pair.y}/resume")
