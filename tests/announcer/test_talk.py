"""What is heard in calls that are connected: each side hears what is meant for it, when it is meant to."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.announcer import audio
from tests.calls.searcher import received
from tests.calls.test_recordings import recorded
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.call import PhoneCall

from .conftest import WHILE_CONNECTING, SpeakingTheatre


@pytest.fixture(name="theatre")
def with_everything(speaking: SpeakingTheatre) -> Iterator[SpeakingTheatre]:
    """Everything that can be said is said."""
    speaking.put(*WHILE_CONNECTING)
    yield speaking
    speaking.take_away(*WHILE_CONNECTING)


def heard_at(theatre: SpeakingTheatre, call: PhoneCall, name: str) -> float:
    """When the prompt began in what a phone received, in seconds."""
    return audio.find(theatre.sounds[name], call.received_audio).at_s


async def test_a_call_with_everything(theatre: SpeakingTheatre) -> None:
    """Before, music, whisper, the warning and the goodbye; the talk in between, and nothing of it before."""
    pair = await theatre.pair(passenger=Behaviour(answer_after_s=0.9), record=True, max_duration_s=6)
    caller = await pair.driver.call(pair.y)
    callee = await pair.passenger.next_call()
    assert theatre.hears(caller) == ["before_connect"]
    await caller.wait_answered()
    assert caller.provisional_codes == [183], "the callee's ringing would stop the music"
    await asyncio.sleep(0.6)
    assert not caller.heard(pair.passenger.tone_hz, 0.3)
    assert not callee.heard(pair.driver.tone_hz, 0.3)
    assert await caller.wait_heard(pair.passenger.tone_hz)
    assert await callee.wait_heard(pair.driver.tone_hz)
    await caller.wait_ended(8)
    assert caller.reason_header == "Q.850;cause=102"
    assert caller.ended_at is not None
    assert caller.answered_at is not None
    assert 5.5 < caller.ended_at - caller.answered_at < 6.5
    to_caller = ["before_connect", "waiting", "recorded", "max_duration_soon", "goodbye"]
    to_callee = ["whisper", "recorded", "max_duration_soon", "goodbye"]
    for call, wanted in ((caller, to_caller), (callee, to_callee)):
        assert sorted(theatre.hears(call)) == sorted(wanted)
        moments = [heard_at(theatre, call, name) for name in wanted]
        assert moments == sorted(moments)
    assert caller.tone_seconds(pair.passenger.tone_hz) > 1
    cdr = await pair.cdr()
    assert cdr["reason"] == "max_duration"
    # a machine with other work puts recordings off
    await theatre.endpoint.wait_for("recording.ready", cdr["call_id"], timeout=60)
    _, recording = await recorded(theatre, pair)
    for call, channel, wanted in ((caller, recording.right, to_caller), (callee, recording.left, to_callee)):
        places = [audio.find(theatre.sounds[name], channel) for name in wanted]
        # music and talk lie under what is announced in the recording, as they did in the ear
        assert all(place.likeness > 0.6 for place in places), list(zip(wanted, places, strict=True))
        ahead = [
            place.at_s - heard_at(theatre, call, name) for place, name in zip(places, wanted, strict=True)
        ]
        assert max(ahead) - min(ahead) < 0.1, "something is not where it was heard"


async def test_the_customer_ends_the_call(theatre: SpeakingTheatre) -> None:
    """Both hear the goodbye first, once, also where the customer is impatient."""
    pair = await theatre.pair()
    caller = await pair.driver.call(pair.y)
    callee = await pair.passenger.next_call()
    assert await caller.wait_heard(pair.passenger.tone_hz, 8)
    call_id = (await pair.live())["call_id"]
    for _ in range(2):
        await theatre.customer.request("POST", f"/v1/calls/{call_id}/hang-up")
    await caller.wait_ended()
    await callee.wait_ended()
    for call in (caller, callee):
        [bye] = [one.raw for one in received([call]) if one.raw.startswith(b"BYE ")]
        [sender] = [line for line in bye.split(b"\r\n") if line.startswith(b"From:")]
        assert sender.count(b";tag=") == 1
    assert "goodbye" in theatre.hears(caller)
    assert "goodbye" in theatre.hears(callee)
    assert (await pair.cdr())["reason"] == "platform_hung_up"


async def test_the_callee_is_busy_behind_the_music(theatre: SpeakingTheatre) -> None:
    """The music stops, and the caller is told."""
    pair = await theatre.pair(passenger=Behaviour(reject_after_s=0.8, reject_with=(486, "Busy Here")))
    caller = await pair.driver.call(pair.y)
    await caller.wait_ended(8)
    assert caller.final_code == 486
    assert sorted(theatre.hears(caller)) == ["before_connect", "callee_busy", "waiting"]
    assert (await pair.cdr())["reason"] == "callee_busy"


async def test_the_callee_hangs_up_during_the_whisper(theatre: SpeakingTheatre) -> None:
    """The call is over for both."""
    pair = await theatre.pair(passenger=Behaviour(hang_up_after_s=0.3))
    caller = await pair.driver.call(pair.y)
    await caller.wait_answered(8)
    await caller.wait_ended()
    assert (await pair.cdr())["reason"] == "callee_hung_up"
