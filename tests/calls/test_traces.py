"""The path of a call and its SIP messages, of calls through the real engines."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import aiohttp
import pytest_asyncio

from xiaohao.clock import now_us, rfc3339
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.switch.steps import STEPS

from .bare import exchange
from .conftest import Theatre
from .relays import Relays, relays

SVG = "{http://www.w3.org/2000/svg}"
DECISIONS = [step.__name__ for step in STEPS]  # type: ignore[attr-defined]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def two(theatre: Theatre) -> AsyncIterator[Relays]:
    """Two trunks of one carrier."""
    async with relays(
        theatre, "127.0.0.51", "127.0.0.52", specs=[{"probe": False}, {"probe": False}]
    ) as opened:
        yield opened


async def path(theatre: Theatre, call_id: str, messages: int) -> dict[str, Any]:
    """The path as the operator sees it, once so many SIP messages are kept."""
    found: dict[str, Any] = {}
    for _ in range(300):
        found = await theatre.stage.request("GET", f"/v1/calls/{call_id}/path")
        if found["sip"]["messages"] >= messages and not found["live"]:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{found['sip']} and not {messages}")


async def messages(theatre: Theatre, call_id: str) -> list[dict[str, Any]]:
    answer = await theatre.stage.request("GET", f"/v1/calls/{call_id}/messages")
    assert answer["masked"] is True
    items: list[dict[str, Any]] = answer["items"]
    return items


def spoken(items: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Side, way and first words of each message, without what was said again."""
    return [
        (item["side"], "in" if item["received"] else "out", item["method"] or str(item["code"]))
        for item in items
        if not item["repeated"]
    ]


async def heard(theatre: Theatre, call_id: str, *wanted: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """What was said, once all of this is among it: on a busy machine messages come again, and come late."""
    said: list[tuple[str, str, str]] = []
    for _ in range(300):
        status, answer = await theatre.stage.attempt("GET", f"/v1/calls/{call_id}/messages")
        said = spoken(answer["items"]) if status == 200 else []
        if set(wanted) <= set(said):
            return said
        await asyncio.sleep(0.1)
    raise AssertionError(f"{set(wanted) - set(said)} was not said")


async def ladder(theatre: Theatre, call_id: str, key: str | None = None, query: str = "") -> str:
    status, picture = await theatre.stage.attempt("GET", f"/v1/calls/{call_id}/ladder.svg{query}", key=key)
    assert status == 200, picture
    text: str = picture.decode()
    return text


def arrows(picture: str) -> int:
    return sum(
        "arrow" in line.get("class", "") for line in ElementTree.fromstring(picture).iter(f"{SVG}line")
    )


def words(picture: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def digits_of(pair: Any) -> set[str]:
    return {phone.number.removeprefix("+86") for phone in (pair.driver, pair.passenger)}


async def test_a_talked_call_from_end_to_end(theatre: Theatre) -> None:
    """Decisions with their reasons, signals, media of both sides and what the customer was told, in order."""
    pair = await theatre.pair(Behaviour(reinvite_after_s=1.0))
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    # rtpengine sends its first reports after five seconds, and a phone answers them with its next
    await asyncio.sleep(8.2)
    await call.hang_up()
    cdr = await pair.cdr()
    found = await path(theatre, cdr["call_id"], 14)
    entries = found["entries"]
    assert [e["at"] for e in entries] == sorted(e["at"] for e in entries)
    decisions = {e["what"]: e for e in entries if e["kind"] == "decision"}
    assert list(decisions) == DECISIONS
    assert decisions["find_the_binding"]["details"]["binding"] == pair.binding["id"]
    assert decisions["find_the_binding"]["details"]["outcome"] == "connect"
    assert decisions["find_the_binding"]["took_us"] > 0
    assert decisions["choose_the_ways"]["details"] == {"trunks": [theatre.mobile_trunk]}
    signals = [e["what"] for e in entries if e["kind"] == "signal"]
    assert signals == ["received", "ringing", "answered", "ended"]
    (attempt,) = [e for e in entries if e["kind"] == "try"]
    assert attempt["details"] == {"number": 1, "sip_code": 200, "trunk": theatre.mobile_trunk}
    told = [e["what"] for e in entries if e["kind"] == "notification"]
    assert {"call.received", "call.answered", "cdr.created", "delivered"} <= set(told)
    assert entries[0]["at_local"].endswith("+08:00")
    for side in found["media"]:
        assert side["codec"] == "PCMA/8000"
        assert side["packets"] > 100
        assert side["heard_loss_percent"] == 0
        assert 4.0 < side["heard_mos"] < 4.5
    assert [side["side"] for side in found["media"]] == ["caller", "callee"]
    said = await heard(theatre, cdr["call_id"], ("callee", "out", "BYE"))
    assert said[:2] == [("caller", "in", "INVITE"), ("caller", "out", "100")]
    assert said.count(("callee", "in", "INVITE")) == 1, "the re-INVITE of the callee's phone"
    assert said.count(("caller", "out", "INVITE")) == 1


async def test_who_may_read_what(theatre: Theatre) -> None:
    """Numbers are masked; in full they are for their customer, and for the operator for a reason."""
    pair = await theatre.pair()
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    await call.hang_up()
    call_id = (await pair.cdr())["call_id"]
    await heard(theatre, call_id, ("callee", "in", "200"), ("caller", "in", "BYE"))
    kept = (await path(theatre, call_id, 14))["sip"]
    assert (kept["state"], kept["cut"], kept["ladder"]) == ("kept", 0, f"/v1/calls/{call_id}/ladder.svg")
    secret, theirs = digits_of(pair), theatre.customer.key
    shown = await ladder(theatre, call_id)
    assert len(spoken(await messages(theatre, call_id))) == 14
    assert arrows(shown) >= 14, "on a busy machine something may have been said again"
    assert "mobile" in words(shown)
    masked = [shown, await ladder(theatre, call_id, theirs), str(await messages(theatre, call_id))]
    assert not [number for number in secret for text in masked if number in text]
    assert pair.x.removeprefix("+86") in masked[2], "what is the platform's is shown"
    assert "mobile" not in words(masked[1])
    assert "carrier 1" in words(masked[1])
    full = await ladder(theatre, call_id, theirs, "?numbers=full")
    assert any(pair.passenger.number in word for word in words(full))
    status, problem = await theatre.stage.attempt("GET", f"/v1/calls/{call_id}/ladder.svg?numbers=full")
    assert (status, problem["code"]) == (403, "customer_key_required")
    why = {"reason": "a complaint about one-way audio"}
    texts = await theatre.stage.request("POST", f"/v1/calls/{call_id}/messages", why)
    assert all(any(number in item["text"] for item in texts["items"]) for number in secret)
    _, capture = await theatre.stage.attempt("POST", f"/v1/calls/{call_id}/messages.pcap", why)
    assert capture[:4] == bytes.fromhex("d4c3b2a1")
    assert all(number.encode() in capture for number in secret)
    status, _ = await theatre.stage.attempt("POST", f"/v1/calls/{call_id}/messages", why, key=theirs)
    assert status == 403
    entries = (await theatre.stage.request("GET", "/v1/audit?action=sip_messages"))["items"]
    about = [entry["details"] for entry in entries if entry["details"]["call_id"] == call_id]
    assert [entry["what"] for entry in about] == ["capture", "messages", "ladder"]
    assert about[1]["reason"] == why["reason"]


async def test_a_cancelled_call(theatre: Theatre) -> None:
    pair = await theatre.pair(Behaviour(never_answer=True))
    call = await pair.driver.call(pair.y)
    await call.wait_ringing()
    await call.cancel()
    await call.wait_ended()
    call_id = (await pair.cdr())["call_id"]
    found = await path(theatre, call_id, 10)
    assert found["media"][1]["packets"] == 0 if len(found["media"]) > 1 else True
    gone = (("caller", "in", "CANCEL"), ("callee", "out", "CANCEL"), ("callee", "in", "487"))
    await heard(theatre, call_id, *gone, ("caller", "out", "487"), ("caller", "in", "ACK"))
    assert "caller_cancelled" in " ".join(words(await ladder(theatre, call_id)))


async def test_two_trunks_tried(two: Relays) -> None:
    """Each trunk has a life line of its own, with its name; a repeated INVITE is marked."""
    await two.people()
    two.trunks[0].silent = True
    try:
        call = await two.talk(1)
    finally:
        two.trunks[0].silent = False
    await call.hang_up()
    cdr = await two.cdr()
    found = await path(two.theatre, cdr["call_id"], 16)
    tries = [e["details"] for e in found["entries"] if e["kind"] == "try"]
    assert [(t["trunk"], t["sip_code"]) for t in tries] == [(two.trunk_ids[0], 408), (two.trunk_ids[1], 200)]
    items = await messages(two.theatre, cdr["call_id"])
    invites = [item for item in items if item["method"] == "INVITE" and item["side"] == "callee"]
    first = invites[0]["carrier"]
    said = [(i["carrier"] == first, i["repeated"]) for i in invites[:3]]
    assert said == [(True, False), (True, True), (True, True)]
    assert invites[-1]["carrier"] != first
    picture = await ladder(two.theatre, cdr["call_id"])
    assert {first, invites[-1]["carrier"]} < set(words(picture))
    assert any("said again" in word for word in words(picture))


async def test_a_refused_call(theatre: Theatre) -> None:
    """The platform refuses: one leg, and the decision says why."""
    pair = await theatre.pair()
    stranger = theatre.mobile.add_phone("+8613600990011", 500)
    began = rfc3339(now_us())
    call = await stranger.call(pair.y)
    await call.wait_ended()
    # other tests' strangers may have dialled the same Y before
    listed = await theatre.until_cdrs(
        f"/v1/cdrs?number={pair.y.replace('+', '%2B')}&reason=unknown_caller&since={began}", 1
    )
    found = await path(theatre, listed[0]["call_id"], 4)
    last = [e for e in found["entries"] if e["kind"] == "decision"][-1]
    assert (last["what"], last["details"]["outcome"]) == ("find_the_binding", "unknown_caller")
    assert found["media"] == []
    said = await heard(theatre, listed[0]["call_id"], ("caller", "in", "ACK"))
    # the edge stamps what it sends once it is sent: on a busy machine the ACK may bear the earlier time
    assert {side for side, _, _ in said} == {"caller"}
    assert {said[-1], said[-2]} == {("caller", "out", "403"), ("caller", "in", "ACK")}


async def test_hostile_sip_breaks_no_picture(theatre: Theatre) -> None:
    """Mark-up, control characters and endless lines in what a carrier sends stay text, or are left out."""
    async with exchange(theatre, "127.0.0.53", "127.0.0.54") as bare:
        line = await bare.line()
        line.invite()
        invite = await bare.far.next("INVITE", holding=line.far.number[3:])
        line.far.take(invite)
        evil = "</text><script>alert(1)</script>&#0;\x01\u202e" + "x" * 300
        line.far.reply(invite, f"486 {evil}")
        await line.near.socket.next("SIP/2.0 486")
    call_id = str((await line.cdr())["call_id"])
    await path(theatre, call_id, 7)
    picture = await ladder(theatre, call_id)
    assert {node.tag.removeprefix(SVG) for node in ElementTree.fromstring(picture).iter()} == {
        *("svg", "title", "style", "rect", "text", "line", "path")
    }
    assert any("script" in word for word in words(picture))
    assert max(map(len, words(picture))) < 140
    url = f"{theatre.stage.url}/v1/calls/{call_id}/ladder.svg"
    headers = {"Authorization": f"Bearer {theatre.customer.key}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.content_type == "image/svg+xml"
        assert re.search(r"default-src 'none'", response.headers["Content-Security-Policy"])
