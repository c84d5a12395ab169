"""Scheme 2 by real calls over the real engines: the customer decides each call."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio

from xiaohao.simulator.customer import CustomerEndpoint, Delivery
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.stage import StageCustomer

from .conftest import Theatre
from .test_modes import Person, talk
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
        for _ in range(50):
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
        await theatre.stage.add_numbers(xs, theatre.mobile_trunk, x_pool)
        await theatre.stage.add_numbers(ys, theatre.city_trunk, y_pool)
        made = Scheme2(theatre, customer, *endpoints, x_pool, y_pool)
        made.first.answer = made.second.answer = made.says
        await made.plan()
        for pool in (x_pool, y_pool):
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
