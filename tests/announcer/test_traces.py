"""The path and the ladder of calls in which the platform speaks."""

import asyncio
from typing import Any
from xml.etree import ElementTree

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.trace.legs import ANNOUNCER

from .conftest import SpeakingTheatre
from .test_refusals import recorded


async def ladder(theatre: SpeakingTheatre, call_id: str, messages: int) -> list[str]:
    """The words in the picture, once so many messages are kept."""
    kept: dict[str, Any] = {}
    for _ in range(300):
        kept = (await theatre.customer.request("GET", f"/v1/calls/{call_id}/path"))["sip"]
        if kept["messages"] >= messages:
            break
        await asyncio.sleep(0.1)
    assert kept["messages"] >= messages
    picture = (await theatre.customer.request("GET", f"/v1/calls/{call_id}/ladder.svg")).decode()
    words = "{http://www.w3.org/2000/svg}text"
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(words)]


async def _played(theatre: SpeakingTheatre, call_id: str) -> list[dict[str, Any]]:
    path = await theatre.customer.request("GET", f"/v1/calls/{call_id}/path")
    return [entry["details"] for entry in path["entries"] if entry["kind"] == "announcement"]


async def test_a_refused_caller_who_hears_why(speaking: SpeakingTheatre) -> None:
    """The announcer has a life line of its own; what it played, and to whom, is in the path."""
    pair = await speaking.pair()
    stranger = speaking.city.add_phone("+8613712350077", 0)
    call = await stranger.call(pair.y)
    await call.wait_ended(12)
    call_id = (await recorded(speaking, pair.y))["call_id"]
    words = await ladder(speaking, call_id, 8)
    assert words.count(ANNOUNCER) == 1
    assert "carrier 1" in words
    assert not [word for word in words if "13712350077" in word]
    [played] = await _played(speaking, call_id)
    assert (played["prompt"], played["to"]) == ("unknown_caller", "caller")
    assert 900 <= played["duration_ms"] <= 1100
    assert "path" not in played


async def test_a_busy_callee_then_the_announcer(speaking: SpeakingTheatre) -> None:
    """First the carrier refuses, then the announcer takes the call over: both are in the picture."""
    pair = await speaking.pair(Behaviour(reject_with=(486, "Busy Here"), reject_after_s=0.1))
    call = await pair.driver.call(pair.y)
    await call.wait_ended(12)
    call_id = (await pair.cdr())["call_id"]
    words = await ladder(speaking, call_id, 12)
    assert words.count(ANNOUNCER) == 1
    assert {"carrier 1", "486 Busy Here"} <= set(words)
    [played] = await _played(speaking, call_id)
    assert (played["prompt"], played["to"]) == ("callee_busy", "caller")
