"""Callers whom their customer lets wait: they hear so, and music, until the customer says whom to call."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest_asyncio

from tests.announcer import audio
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.customer import CustomerEndpoint, Delivery, failing, fast
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.stage import StageCustomer

from .conftest import SpeakingTheatre
from .test_refusals import ended, unheard
from .test_strangers import talks

SECRET = "whsec_" + "YSBzZWNyZXQgb2YgdGhlIHF1ZXVlcyB0ZXN0cyE="
WAIT = {"action": "queue", "queue": "night shift", "retry_after_s": 1, "music": "our_music"}
_serial = itertools.count()


@dataclass
class Hotline:
    """A customer who decides its calls; `answers`: by number dialled, what it says to a question's data."""

    theatre: SpeakingTheatre
    customer: StageCustomer
    endpoint: CustomerEndpoint
    answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)

    def number(self) -> str:
        """A Y that no other test uses."""
        return f"+86106204{next(_serial):04}"

    def phones(self) -> tuple[Phone, Phone]:
        """Two people: one who calls over `city`, and one who is called over it, since only a Y is shown."""
        serial = next(_serial)
        caller = self.theatre.mobile.add_phone(f"+8613866{serial:06}", 400 + serial % 10 * 20)
        return caller, self.theatre.city.add_phone(f"+8613966{serial:06}", 900 + serial % 10 * 20)

    def says(self, delivery: Delivery) -> tuple[int, Any]:
        """The endpoint's answer; events come here, too."""
        if delivery.kind != "routing.asked":
            return 204, None
        data = delivery.document["data"]
        return 200, self.answers[data["dialled"]](data)

    def asked(self, dialled: str) -> list[Delivery]:
        """The questions about this number."""
        questions = [one for one in self.endpoint.events if one.kind == "routing.asked"]
        return [one for one in questions if one.document["data"]["dialled"] == dialled]

    async def until_asked(self, dialled: str, times: int) -> None:
        """Wait for so many questions."""
        for _ in range(600):
            if len(self.asked(dialled)) >= times:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"asked {len(self.asked(dialled))} times instead of {times}")

    async def cdrs(self, dialled: str, count: int = 1) -> list[dict[str, Any]]:
        """The records of the calls to this number, when there are so many."""
        for _ in range(300):
            found = (await self.customer.request("POST", "/v1/cdrs/search", {"number": dialled}))["items"]
            if len(found) >= count:
                break
            await asyncio.sleep(0.1)
        assert len(found) == count
        return list(found)

    async def steps(self, call_id: str) -> list[dict[str, Any]]:
        """The questions as a call's path has them, when it is there."""
        found: list[dict[str, Any]] = []
        for _ in range(300):
            path = await self.customer.request("GET", f"/v1/calls/{call_id}/path")
            found = [entry for entry in path["entries"] if entry["what"] == "ask_the_customer"]
            if found:
                break
            await asyncio.sleep(0.1)
        return found

    async def waiting(self) -> float:
        """How many callers wait, as the metric tells."""
        return await self.theatre.metric(f'xiaohao_routing_calls_waiting{{customer="{self.customer.id}"}}')


@pytest_asyncio.fixture(name="hotline", scope="module", loop_scope="session")
async def the_hotline(speaking: SpeakingTheatre) -> AsyncIterator[Hotline]:
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(CustomerEndpoint("127.0.3.5", secret=SECRET))
        customer = await speaking.stage.add_customer("lets callers wait", endpoint.url)
        for place in ("webhook", "routing"):
            await customer.request("POST", f"/v1/{place}/secret", {"secret": SECRET})
        pool = await speaking.stage.add_pool("hotlines", customer)
        numbers = [f"+86106204{n:04}" for n in range(30)]
        await speaking.stage.add_numbers(numbers, speaking.city_trunk, pool)
        made = Hotline(speaking, customer, endpoint)
        endpoint.answer = made.says
        await customer.request("PUT", "/v1/routing", {"url": endpoint.url, "everything": True})
        await asyncio.sleep(1.0)
        yield made


async def test_the_third_answer_connects(hotline: Hotline) -> None:
    """The caller is told to wait, hears the customer's music, and is connected: one call, one record.

    What is wrong with the answer in between is told, and does no harm.
    """
    y, (caller, agent) = hotline.number(), hotline.phones()
    connect = {"action": "connect", "callee": agent.number, "user_data": "ride 7"}
    said = {1: WAIT, 2: {"action": "hurry"}, 3: connect}
    hotline.answers[y] = lambda data: said[data["attempt"]]
    call = await caller.call(y)
    await call.wait_ringing()
    await hotline.until_asked(y, 2)
    [live] = (await hotline.customer.request("GET", "/v1/calls"))["items"]
    call_id = live["call_id"]
    assert (live["state"], live["callee"]) == ("received", None)
    await hotline.until_asked(y, 3)
    sounds = hotline.theatre.sounds
    told, music = (audio.find(sounds[name], call.received_audio) for name in ("queued", "our_music"))
    assert min(told.likeness, music.likeness) > 0.8
    assert told.at_s < music.at_s
    await talks(call, agent, y)
    assert call.provisional_codes[0] == 183
    first, second, third = (one.document for one in hotline.asked(y))
    name = call_id.replace("-", "")
    assert [one["id"] for one in (first, second, third)] == [f"rtq_{name}{end}" for end in ("", "_2", "_3")]
    seen = [tuple(one["data"][key] for key in ("attempt", "queue", "wait_left_ms")) for one in (first, third)]
    assert seen[0] == (1, None, None)
    assert seen[1][:2] == (3, "night shift")
    assert 1600 <= third["data"]["waited_ms"] <= 3500
    assert 59_998 <= third["data"]["waited_ms"] + seen[1][2] <= 60_000
    [cdr] = await hotline.cdrs(y)
    assert (cdr["call_id"], cdr["callee"], cdr["reason"]) == (call_id, agent.number, "caller_hung_up")
    assert (cdr["user_data"], cdr["routing"]["attempt"], cdr["routing"]["action"]) == ("ride 7", 3, "connect")
    assert cdr["routing"]["waited_ms"] >= third["data"]["waited_ms"]
    steps = await hotline.steps(call_id)
    assert [step["details"]["action"] for step in steps] == ["queue", "queue", "connect"]
    verdicts = [step["details"]["verdict"] for step in steps]
    assert verdicts == ["answered", "not_understood", "answered"]
    assert len({step["at"] for step in steps}) == 3
    refused = await hotline.endpoint.wait_for("routing.answer_refused", call_id)
    assert refused.document["data"]["decided_by"] == "nobody"
    assert cdr["recording"] == f"/v1/recordings/{call_id}"
    await hotline.endpoint.wait_for("cdr.created", call_id)


async def test_nothing_need_be_sent_before_the_answer(hotline: Hotline) -> None:
    """Many networks let no media of a caller's through: a call is dead when both are silent after it."""
    y, (caller, agent) = hotline.number(), hotline.phones()
    silent = Behaviour(send_rtp=False, send_rtcp=False)
    caller.behaviour, agent.behaviour = silent, replace(silent, answer_after_s=1.5)
    connect = {"action": "connect", "callee": agent.number}
    hotline.answers[y] = lambda data: WAIT | {"retry_after_s": 5} if data["attempt"] == 1 else connect
    call = await caller.call(y)
    await call.wait_answered(10)
    assert {"queued", "our_music"} <= set(hotline.theatre.hears(call))
    await call.wait_ended(8)
    [cdr] = await hotline.cdrs(y)
    assert (cdr["reason"], cdr["answered_at"] is None) == ("dead_media", False)
    assert cdr["routing"]["waited_ms"] >= 3900


async def test_the_endpoint_dies_meanwhile(hotline: Hotline) -> None:
    """Whoever waits waits on: until it is back, or until their time is over."""
    (y, lucky), (other, unlucky) = ((hotline.number(), hotline.phones()) for _ in range(2))
    connect = {"action": "connect", "callee": lucky[1].number}
    hotline.answers[y] = lambda data: WAIT if data["attempt"] == 1 else connect
    hotline.answers[other] = lambda data: WAIT | {"max_wait_s": 3, "retry_after_s": 2}
    calls = [await lucky[0].call(y), await unlucky[0].call(other)]
    for call in calls:
        await call.wait_ringing()
    hotline.endpoint.answer, hotline.endpoint.manner = None, failing(503)
    await hotline.until_asked(y, 2)
    assert await hotline.waiting() == 2
    await ended(calls[1], 480, 18)
    assert {"our_music", "queue_timeout"} <= set(hotline.theatre.hears(calls[1]))
    hotline.endpoint.answer, hotline.endpoint.manner = hotline.says, fast()
    await talks(calls[0], lucky[1], y)
    [cdr] = await hotline.cdrs(other)
    assert (cdr["reason"], cdr["ended_by"], unheard(cdr | {"tries": []})[:3]) == (
        "queue_timeout", "platform", (None, None, 0),
    )  # fmt: skip
    assert (cdr["routing"]["verdict"], cdr["routing"]["decided_by"]) == ("bad_status", "nobody")
    assert cdr["routing"]["waited_ms"] >= 3000
    [cdr] = await hotline.cdrs(y)
    assert (cdr["reason"], cdr["routing"]["verdict"]) == ("caller_hung_up", "answered")
    assert await hotline.waiting() == 0


async def test_who_does_not_wait_to_the_end(hotline: Hotline) -> None:
    """The caller hangs up; another call is ended by the customer over the API. Each has its one record."""
    y, (caller, other) = hotline.number(), hotline.phones()
    hotline.answers[y] = lambda data: WAIT
    calls = [await caller.call(y), await other.call(y)]
    for call in calls:
        await call.wait_ringing()
    await hotline.until_asked(y, 3)
    await calls[0].cancel()
    assert calls[0].final_code == 487
    lives = (await hotline.customer.request("GET", "/v1/calls"))["items"]
    [live] = [one for one in lives if one["caller"] == other.number]
    await hotline.customer.request("POST", f"/v1/calls/{live['call_id']}/hang-up")
    await ended(calls[1], 480, 31)
    # two that come at the same moment are taken in either order
    gone, hung_up = sorted(await hotline.cdrs(y, 2), key=lambda cdr: bool(cdr["caller"] == other.number))
    assert (gone["reason"], gone["ended_by"], gone["sip_code"]) == ("caller_cancelled", "caller", 487)
    assert (hung_up["reason"], hung_up["ended_by"]) == ("platform_hung_up", "platform")
    await hotline.endpoint.wait_for("cdr.created", gone["call_id"])
    told = [one.kind for one in hotline.endpoint.accepted if one.call_id == gone["call_id"]]
    told = [kind for kind in told if kind != "routing.asked"]
    assert told == ["call.received", "call.ended", "cdr.created"]
    assert await hotline.waiting() == 0
    asked = len(hotline.asked(y))
    await asyncio.sleep(1.3)
    assert len(hotline.asked(y)) == asked, "nobody waits, and the customer is asked"


async def test_more_than_may_wait(hotline: Hotline) -> None:
    """Beyond the limit callers are told so at once, or go where the customer wants them then."""
    y, people = hotline.number(), [hotline.phones() for _ in range(4)]
    default = people[3][1]
    plan = {"url": hotline.endpoint.url, "everything": True, "default": {"callee": default.number}}
    await hotline.customer.request("PUT", "/v1/routing", plan)
    await asyncio.sleep(0.7)
    elsewhere = WAIT | {"otherwise": "default"}
    hotline.answers[y] = lambda data: elsewhere if data["caller"] == people[3][0].number else WAIT
    waiting: list[OutgoingCall] = []
    for caller, _ in people[:2]:
        waiting.append(await caller.call(y))
        await waiting[-1].wait_ringing()
    full, there = await people[2][0].call(y), await people[3][0].call(y)
    await talks(there, default, y)
    await ended(full, 486, 17)
    assert hotline.theatre.hears(full) == ["queue_full"]
    for call in waiting:
        await call.cancel()
    reasons = [(cdr["reason"], cdr["routing"]["decided_by"]) for cdr in await hotline.cdrs(y, 4)]
    assert ("queue_full", "nobody") in reasons
    assert ("caller_hung_up", "default") in reasons


async def test_the_switch_is_killed_while_callers_wait(hotline: Hotline) -> None:
    """They are released within five seconds, and have their records."""
    y, (caller, _) = hotline.number(), hotline.phones()
    hotline.answers[y] = lambda data: WAIT
    call = await caller.call(y)
    await call.wait_ringing()
    await hotline.until_asked(y, 2)
    pid = int((hotline.theatre.stage.folder / "run" / "pids" / "switch.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    await ended(call, 480, 41)
    assert time.monotonic() - killed_at < 5
    [cdr] = await hotline.cdrs(y)
    assert (cdr["reason"], cdr["ended_by"], cdr["answered_at"]) == ("queue_unavailable", "platform", None)


async def test_answered_to_wait(hotline: Hotline) -> None:
    """Where the caller's trunk wants that they are answered first, then connected; or give up with a BYE."""
    await hotline.theatre.change_trunk("mobile", answers="asked")
    y, other_y = hotline.number(), hotline.number()
    (caller, agent), (other, _) = hotline.phones(), hotline.phones()
    connect = {"action": "connect", "callee": agent.number}
    hotline.answers[y] = lambda data: WAIT if data["attempt"] < 2 else connect
    hotline.answers[other_y] = lambda data: WAIT
    call, given_up = await caller.call(y), await other.call(other_y)
    await given_up.wait_answered()
    assert await hotline.theatre.will_hear(given_up, "queued")
    await given_up.hang_up()
    await talks(call, agent, y)
    assert call.provisional_codes == []
    [cdr] = await hotline.cdrs(y)
    assert (cdr["reason"], cdr["routing"]["attempt"]) == ("caller_hung_up", 2)
    [cdr] = await hotline.cdrs(other_y)
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("caller_cancelled", "caller", 487)
    await hotline.theatre.change_trunk("mobile", answers="connected")
