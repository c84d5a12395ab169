"""What is heard in the recording of a call that went through the whole platform."""

import asyncio
from typing import Any

from tests.calls.conftest import Pair, Theatre
from tests.recordings.audio import Heard, listen
from xiaohao.simulator.behaviour import Behaviour


async def recorded(theatre: Theatre, pair: Pair) -> tuple[dict[str, Any], Heard]:
    """The recording's document and sound, once the customer is told that it is ready; no capture is left."""
    cdr = await pair.cdr()
    told = await theatre.endpoint.wait_for("recording.ready", cdr["call_id"], timeout=60)
    document = await theatre.customer.request("GET", f"/v1/recordings/{cdr['call_id']}")
    assert told.document["data"]["recording"] == document
    for _ in range(300):  # the capture goes last
        left = list(theatre.stage.settings.captures_folder.rglob(f"*{cdr['call_id']}*"))
        if not left:
            break
        await asyncio.sleep(0.1)
    assert left == []
    heard = listen(await theatre.audio(cdr["call_id"]))
    assert abs(heard.seconds * 1000 - document["duration_ms"]) <= 1
    return document, heard


async def talk(pair: Pair, **terms: Any) -> None:
    call = await pair.driver.call(pair.y, **terms)
    await pair.passenger.next_call()
    await call.wait_answered()
    assert await call.wait_heard(pair.passenger.tone_hz)
    await call.hang_up()


async def test_the_caller_is_left_and_the_callee_right(theatre: Theatre) -> None:
    """Also where the callee writes the first offer, and where codecs and ports change in mid-call."""
    for terms, behaviour in (
        ({}, None),
        ({"late_offer": True}, None),
        ({}, Behaviour(reinvite_after_s=0.3)),
    ):
        pair = await theatre.pair(behaviour)
        await talk(pair, **terms)
        _, heard = await recorded(theatre, pair)
        for channel, own, other in (
            ("left", pair.driver.tone_hz, pair.passenger.tone_hz),
            ("right", pair.passenger.tone_hz, pair.driver.tone_hz),
        ):
            assert sum(end - begin for begin, end in heard.spans(channel, own)) > 0.4
            assert heard.spans(channel, other) == []


async def test_early_media_is_on_the_callees_channel(theatre: Theatre) -> None:
    pair = await theatre.pair(Behaviour(early_media=True, early_media_hz=1500, answer_after_s=1.0))
    await talk(pair)
    _, heard = await recorded(theatre, pair)
    [(begin, end)] = heard.spans("right", 1500)
    assert end - begin > 0.6
    assert heard.spans("right", pair.passenger.tone_hz)[0][0] >= end - 0.05
    assert heard.spans("left", 1500) == []


async def test_a_call_that_nobody_answers_has_its_recording_too(theatre: Theatre) -> None:
    pair = await theatre.pair(Behaviour(never_answer=True))
    call = await pair.driver.call(pair.y)
    await pair.passenger.next_call()
    await call.wait_ringing()
    await asyncio.sleep(0.5)
    await call.hang_up()
    document, heard = await recorded(theatre, pair)
    assert document["duration_ms"] >= 500
    assert heard.spans("right", pair.passenger.tone_hz) == []
