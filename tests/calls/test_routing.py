"""Scheme 2 by real calls over the real engines: the customer decides each call."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio

from xiaohao.simulator.customer import CustomerEndpoint, Delivery, failing, fast, hanging
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.stage import StageCustomer

from .conftest import Theatre
from .test_modes import Person, talk
from .test_policies import in_force
from .test_refusals import refused

SECRET = "whsec_" + "YSBzZWNyZXQgb2YgdGhlIHJvdXRpbmcgdGVzdHM="
_serial = itertools.count()


@dataclass
class Scheme2:
    """A customer who decides its calls, two endpoints of it, and where its events go."""

    theatre: Theatre
    customer: StageCustomer
    first: CustomerEndpoint
    second: CustomerEndpoint
    events: CustomerEndpoint
    #: X is shown over `mobile`, Y over `city`
    x_pool: str
    y_pool: str
    #: of numbers that only bindings use
    bound_pools: dict[str, str]
    answers: dict[tuple[str | None, str], Any] = field(default_factory=dict)

    def numbers(self) -> tuple[str, str]:
        """An X and a Y that no other test uses."""
        serial = next(_serial)
        return f"+861700003{serial:04}", f"+86106203{serial:04}"

    async def plan(self, **terms: Any) -> None:
        """Be asked so; in force when this returns."""
        urls = {"url": self.first.url}
        await self.customer.request("PUT", "/v1/routing", urls | terms)
        await asyncio.sleep(1.0)

    def answer(self, caller: str | None, dialled: str, **answer: Any) -> None:
        """What the customer says about calls of this caller to this number."""
        self.answers[caller, dialled] = answer

    def says(self, delivery: Delivery) -> tuple[int, Any]:
        """The endpoints' answer."""
        data = delivery.document["data"]
        return 200, self.answers.get((data["caller"], data["dialled"]), {"action": "refuse"})

    def asked(self, dialled: str) -> list[dict[str, Any]]:
        """The questions about this number that came to the first endpoint."""
        found = [delivery.document["data"] for delivery in self.first.events]
        return [data for data in found if data["dialled"] == dialled]

    async def cdr(self, dialled: str, count: int = 1) -> dict[str, Any]:
        """The newest record of a call to this number, when there are so many."""
        for _ in range(300):
            found = await self.customer.request("POST", "/v1/cdrs/search", {"number": dialled})
            cdrs = [cdr for cdr in found["items"] if cdr["dialled"] == dialled]
            if len(cdrs) >= count:
                return dict(cdrs[0])
            await asyncio.sleep(0.1)
        raise AssertionError(f"{len(cdrs)} records instead of {count}")

    async def refused(
        self, call: OutgoingCall, dialled: str, code: int, cause: int, reason: str, count: int = 1
    ) -> dict[str, Any]:
        """The call is refused with these, and its record says so."""
        await refused(self.theatre, call, code, cause)
        cdr = await self.cdr(dialled, count)
        assert (cdr["reason"], cdr["sip_code"], cdr["q850_cause"]) == (reason, code, cause)
        return cdr


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scheme2(theatre: Theatre) -> AsyncIterator[Scheme2]:
    async with AsyncExitStack() as stack:
        endpoints = [
            await stack.enter_async_context(CustomerEndpoint("127.0.0.5", secret=SECRET)) for _ in range(3)
        ]
        customer = await theatre.stage.add_customer("routes its calls", endpoints[2].url)
        await customer.request("POST", "/v1/webhook/secret", {"secret": SECRET})
        await customer.request("POST", "/v1/routing/secret", {"secret": SECRET})
        x_pool = await theatre.stage.add_pool("x of scheme 2", customer)
        y_pool = await theatre.stage.add_pool("y of scheme 2", customer)
        xs, ys = [f"+861700003{n:04}" for n in range(80)], [f"+86106203{n:04}" for n in range(80)]
        bound = [await theatre.stage.add_pool(f"{name} of its bindings", customer) for name in "xy"]
        for numbers, trunk, pool, bound_pool in (
            (xs, theatre.mobile_trunk, x_pool, bound[0]),
            (ys, theatre.city_trunk, y_pool, bound[1]),
        ):
            await theatre.stage.add_numbers(numbers[:70], trunk, pool)
            await theatre.stage.add_numbers(numbers[70:], trunk, bound_pool)
        bound_pools = dict(zip(("x_pool", "y_pool"), bound, strict=True))
        made = Scheme2(theatre, customer, *endpoints, x_pool, y_pool, bound_pools)
        made.first.answer = made.second.answer = made.says
        await made.plan()
        for pool in (x_pool, y_pool, *bound):
            await customer.request("PUT", f"/v1/pools/{pool}/routing", {"routing": "ask"})
        await asyncio.sleep(1.0)
        yield made


async def test_both_directions(scheme2: Scheme2) -> None:
    """The document's scheme 2: nothing is bound; who is called and shown says the customer, each time."""
    x, y = scheme2.numbers()
    driver, passenger = Person(scheme2.theatre), Person(scheme2.theatre)
    scheme2.answer(driver.number, y, action="connect", callee=passenger.number, display=x, user_data="ride 1")
    scheme2.answer(passenger.number, x, action="connect", callee=driver.number, display=y, record=False)
    await talk(driver.city, y, passenger.mobile, x)
    await talk(passenger.mobile, x, driver.city, y)
    (question,) = scheme2.asked(y)
    assert (question["caller"], question["test"], question["binding_id"]) == (driver.number, False, None)
    there, back = await scheme2.cdr(y), await scheme2.cdr(x)
    assert question["call_id"] == there["call_id"]
    assert (there["callee"], there["displayed"], there["user_data"]) == (passenger.number, x, "ride 1")
    assert (there["recording"] is None, back["recording"] is None) == (False, True)
    routing = there["routing"]
    assert (routing["decided_by"], routing["action"], routing["verdict"]) == (
        "customer",
        "connect",
        "answered",
    )
    assert 0 <= routing["took_ms"] < 800
    assert (routing["url"], routing["problem"]) == ("first", None)
    path = await scheme2.customer.request("GET", f"/v1/calls/{there['call_id']}/path")
    [asked] = [entry["details"] for entry in path["entries"] if entry["what"] == "ask_the_customer"]
    assert asked == {name: value for name, value in routing.items() if value is not None}


async def test_answers_that_do_not_connect(scheme2: Scheme2) -> None:
    """A refusal with the customer's reason, a queue without a voice, and answers that nobody may give."""
    x, y = scheme2.numbers()
    caller, callee = Person(scheme2.theatre), Person(scheme2.theatre)
    foreign = "+8617000000001"  # the theatre's own customer's
    wrong, not_ours = "routing_answer_refused", {"callee": callee.number, "display": foreign}
    cases = (
        ({"action": "refuse", "reason": "busy"}, 486, 17, "customer_refused"),
        ({"action": "queue", "queue": "hotline"}, 480, 41, "queue_unavailable"),
        ({"action": "connect", **not_ours}, 403, 29, wrong),
        ({"action": "connect", "callee": "+85223456789", "display": x}, 403, 29, wrong),
    )
    for count, (answer, code, cause, reason) in enumerate(cases, start=1):
        scheme2.answers[caller.number, y] = answer
        cdr = await scheme2.refused(await caller.city.call(y), y, code, cause, reason, count)
        assert cdr["callee"] is None
        if reason == wrong:
            told = await scheme2.events.wait_for("routing.answer_refused", cdr["call_id"])
            assert told.document["data"]["verdict"] == cdr["routing"]["verdict"] == "not_allowed"
            assert told.document["data"]["problem"]


async def test_answers_that_would_connect_a_stranger(scheme2: Scheme2) -> None:
    """Numbers of the platform, the caller, emergency services, no numbers, and whom a policy bars."""
    x, y = scheme2.numbers()
    caller, barred = Person(scheme2.theatre), Person(scheme2.theatre)
    entry = {"list": "black", "person": barred.number, "side": "callee"}
    await scheme2.customer.request("POST", "/v1/policies/entries", {"entries": [entry]})
    await in_force(scheme2.theatre)
    cases = (
        (x, "routing_answer_refused", 29, "callee: is a number of the platform, not a person's"),
        ("0" + y.removeprefix("+86"), "routing_answer_refused", 29, "callee: is a number of the platform"),
        (caller.number, "routing_answer_refused", 29, "callee: is the caller"),
        ("110", "routing_answer_refused", 29, "callee: is no telephone number"),
        (barred.number, "callee_blacklisted", 21, "policy: callee_blacklisted"),
    )
    for count, (callee, reason, cause, problem) in enumerate(cases, start=1):
        scheme2.answer(caller.number, y, action="connect", callee=callee, display=x)
        cdr = await scheme2.refused(await caller.city.call(y), y, 403, cause, reason, count)
        told = await scheme2.events.wait_for("routing.answer_refused", cdr["call_id"])
        data = told.document["data"]
        assert (data["verdict"], data["decided_by"]) == ("not_allowed", "nobody")
        assert data["problem"].startswith(problem)
        assert cdr["routing"]["problem"] == data["problem"]


async def test_bindings_are_the_fallback(scheme2: Scheme2) -> None:
    """While the customer's endpoints hang or answer garbage, scheme 1 connects; then the customer decides."""
    a, b = Person(scheme2.theatre), Person(scheme2.theatre)
    await scheme2.plan(fallbacks=["binding"], deadline_ms=500)
    pools = scheme2.bound_pools
    binding = await scheme2.customer.request("POST", "/v1/bindings", {"a": a.number, "b": b.number, **pools})
    x, y = binding["x"], binding["y"]
    scheme2.first.answer = lambda _: (200, ["garbage"])
    await talk(a.city, y, b.mobile, x)
    cdr = await scheme2.cdr(y)
    assert (cdr["binding_id"], cdr["routing"]["decided_by"]) == (binding["id"], "binding")
    assert cdr["routing"]["verdict"] == "not_understood"
    told = await scheme2.events.wait_for("routing.answer_refused", cdr["call_id"])
    assert told.document["data"]["decided_by"] == "binding"
    scheme2.first.answer, scheme2.first.manner = None, hanging()
    await talk(b.mobile, x, a.city, y)
    cdr = await scheme2.cdr(x)
    assert (cdr["routing"]["decided_by"], cdr["routing"]["verdict"]) == ("binding", "no_answer")
    assert cdr["routing"]["took_ms"] >= 500
    scheme2.first.answer, scheme2.first.manner = scheme2.says, fast()
    await scheme2.plan()


async def test_the_second_url_and_the_last_answer(scheme2: Scheme2) -> None:
    x, y = scheme2.numbers()
    caller, callee = Person(scheme2.theatre), Person(scheme2.theatre)
    await scheme2.plan(second_url=scheme2.second.url, fallbacks=["last_answer"], keep_answers_s=60)
    scheme2.answer(caller.number, y, action="connect", callee=callee.number, display=x)
    scheme2.first.answer, scheme2.first.manner = None, failing(500)
    await talk(caller.city, y, callee.mobile, x)
    assert (await scheme2.cdr(y))["routing"]["url"] == "second"
    scheme2.second.answer, scheme2.second.manner = None, failing(503)
    await talk(caller.city, y, callee.mobile, x)
    cdr = await scheme2.cdr(y, 2)
    assert (cdr["routing"]["decided_by"], cdr["routing"]["verdict"]) == ("last_answer", "bad_status")
    for endpoint in (scheme2.first, scheme2.second):
        endpoint.answer, endpoint.manner = scheme2.says, fast()
    await scheme2.plan()


async def test_a_call_that_is_only_played(scheme2: Scheme2) -> None:
    """Nobody's phone rings; API and command show question, answer, verdict."""
    x, y = scheme2.numbers()
    scheme2.answer("+8613700000077", y, action="connect", callee="+8613700000078", display=x)
    body = {"caller": "+8613700000077", "dialled": y}
    shown = await scheme2.customer.request("POST", "/v1/routing:test", body)
    assert shown["question"]["data"]["test"] is True
    assert json.loads(shown["attempts"][0]["answer"])["display"] == x
    assert (shown["is_asked"], shown["callee"], shown["displayed"]) == (True, "+8613700000078", x)
    options = ("--customer", scheme2.customer.id, "--caller", "13700000077", "--dialled", y)
    said = await scheme2.theatre.stage.command("routing", "test", *options)
    assert "verdict: answered" in said
    assert f"showing {x}" in said
    # nobody waits either
    waits = {"action": "queue", "queue": "night shift", "max_wait_s": 500, "music": "none"}
    scheme2.answers["+8613700000077", y] = waits
    shown = await scheme2.customer.request(
        "POST", "/v1/routing:test", body | {"attempt": 3, "waited_ms": 9000}
    )
    data = shown["question"]["data"]
    assert (data["attempt"], data["queue"], data["waited_ms"] // 1000) == (3, "queue", 9)
    assert (shown["decision"]["action"], shown["decision"]["attempt"], shown["reason"]) == ("queue", 3, None)
    assert (shown["wait"]["max_wait_s"], shown["wait"]["music"]) == (120, "none")
    said = await scheme2.theatre.stage.command("routing", "test", *options, "--attempt", "2")
    assert "waits in 'night shift', asked again after 5 s, 120 s at the most, then announcement" in said
    scheme2.answer("+8613700000077", y, action="connect", callee="+8613700000078", display=x)
    # what a policy would refuse is not said to be connected
    entry = {"list": "black", "person": "+8613700000078", "side": "callee"}
    await scheme2.customer.request("POST", "/v1/policies/entries", {"entries": [entry]})
    shown = await scheme2.customer.request("POST", "/v1/routing:test", body)
    assert (shown["reason"], shown["decision"]["verdict"]) == ("callee_blacklisted", "not_allowed")
