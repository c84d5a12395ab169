"""One platform for all tests of this folder: the real engines, two simulated carriers, one customer."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.customer import CustomerEndpoint
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.stage import Stage, StageCustomer

#: with the call ended, how long its CDR may take to be readable
CDR_PATIENCE_S = 30.0
#: of the shared platform: short enough for a test to wait for
LIMITS = {"ring_s": 7, "progress_s": 3}
_people = itertools.count(1)
_SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1zaW11bGF0ZWQtY3VzdG9tZXI="


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder share the session's event loop, because they share the platform."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.calls)


@dataclass
class Pair:
    """A driver and a passenger who are bound to each other."""

    theatre: "Theatre"
    driver: Phone
    passenger: Phone
    binding: dict[str, Any]

    @property
    def x(self) -> str:
        return str(self.binding["x"])

    @property
    def y(self) -> str:
        return str(self.binding["y"])

    async def cdrs(self, count: int = 1) -> list[dict[str, Any]]:
        """The CDRs of this pair, oldest first, when there are so many; and not one more a moment later."""
        path = f"/v1/cdrs?binding_id={self.binding['id']}"
        return await self.theatre.until_cdrs(path, count)

    async def cdr(self) -> dict[str, Any]:
        """The one CDR of this pair."""
        return (await self.cdrs(1))[0]

    async def live(self) -> dict[str, Any]:
        """The one live call of this pair."""
        return await self.theatre.live(self.binding["id"])


class Theatre:
    """The platform with everybody around it."""

    def __init__(self, stage: Stage, mobile: Carrier, city: Carrier, endpoint: CustomerEndpoint) -> None:
        self.stage, self.mobile, self.city, self.endpoint = stage, mobile, city, endpoint
        self.customer: StageCustomer
        self.x_pool = self.y_pool = ""
        self.mobile_trunk = self.city_trunk = ""
        #: numbers of people without a simulated phone
        self.numbers: set[str] = set()

    async def furnish(self) -> None:
        """Trunks, a customer, pools and numbers. An X is shown over `mobile`, a Y over `city`."""
        stage = self.stage
        self.mobile_trunk = await stage.add_trunk("mobile", self.mobile.address)
        self.city_trunk = await stage.add_trunk("city", self.city.address)
        self.customer = await stage.add_customer("ride", self.endpoint.url)
        await self.customer.request("POST", "/v1/webhook/secret", {"secret": _SECRET})
        self.x_pool = await stage.add_pool("drivers", self.customer)
        self.y_pool = await stage.add_pool("passengers", self.customer)
        await stage.add_numbers([f"+861700000{n:04}" for n in range(300)], self.mobile_trunk, self.x_pool)
        await stage.add_numbers([f"+86106200{n:04}" for n in range(20)], self.city_trunk, self.y_pool)
        await self.trunks_in_force()

    async def trunks_in_force(self) -> None:
        """Wait until what the API has told of trunks counts: the switch looks once a second."""
        changed_at = time.time()
        for _ in range(600):
            if await self.metric("xiaohao_trunks_in_force_timestamp_seconds") >= changed_at:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the edge does not use the trunks that the API has told of")

    async def metric(self, series: str) -> float:
        """The value of one of the switch's series; 0 where there is none."""
        url = f"http://{self.stage.settings.switch.listen}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            lines = (await response.text()).splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{series} ")), 0.0)

    async def audio(self, call_id: str) -> Path:
        """A copy of a recording's audio, as a customer gets it."""
        document = await self.customer.request("GET", f"/v1/recordings/{call_id}")
        copy = Path(self.stage.settings.runtime_folder).parent / f"{call_id}.{document['format']}"
        copy.write_bytes(await self.customer.request("GET", document["url"]))
        return copy

    async def live(self, binding_id: str) -> dict[str, Any]:
        """The one live call of a binding."""
        for _ in range(300):
            listed = await self.customer.request("GET", "/v1/calls")
            calls = [call for call in listed["items"] if call["binding_id"] == binding_id]
            if calls:
                return dict(calls[0])
            await asyncio.sleep(0.1)
        raise AssertionError("the call is not among the live ones")

    async def disable_trunk(self, trunk_id: str) -> None:
        """A trunk that a test does not need any more: nobody answers there."""
        trunk = await self.stage.request("GET", f"/v1/trunks/{trunk_id}")
        body = {"name": trunk["name"], "state": "disabled", "spec": trunk["spec"]}
        await self.stage.request("PUT", f"/v1/trunks/{trunk_id}", body)

    async def pair(
        self, passenger: Behaviour | None = None, driver: Behaviour | None = None, **terms: Any
    ) -> Pair:
        """Two new people with phones, and their binding.

        The driver's phone is with `mobile` when calling, the passenger's with `city`; both carriers can reach
        both numbers, as real ones do, and `passenger` answers where calls showing X arrive.
        """
        serial = next(_people)
        a, b = f"+86138{serial:08}", f"+86139{serial:08}"
        a_hz, b_hz = 400 + serial % 10 * 20, 900 + serial % 10 * 20
        calling_driver = self.mobile.add_phone(a, a_hz)
        called_passenger = self.mobile.add_phone(b, b_hz, behaviour=passenger)
        self.city.add_phone(b, b_hz)
        self.city.add_phone(a, a_hz, behaviour=driver)
        binding = await self.customer.reserve(a, b, self.x_pool, self.y_pool, **terms)
        return Pair(self, calling_driver, called_passenger, binding)

    def find_numbers_at_rest(self) -> None:
        """No real number stands anywhere in the platform's folder, in the clear or as the edge writes it."""
        numbers = self.numbers.union(*(carrier.phones for carrier in (self.mobile, self.city)))
        digits = {number.removeprefix("+86").encode() for number in numbers}
        marks = digits | {mark.hex().encode() for mark in digits}
        for path in self.stage.folder.rglob("*"):
            if path.is_file() and path.suffix not in {".wav", ".pcap"}:
                with suppress(FileNotFoundError):  # the platform goes on working meanwhile
                    data = path.read_bytes()
                    held = {mark for mark in marks if mark in data}
                    assert not held, f"{len(held)} real numbers in {path.relative_to(self.stage.folder)}"

    async def until_cdrs(self, path: str, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for _ in range(int(CDR_PATIENCE_S / 0.1)):
            found = (await self.customer.request("GET", path))["items"]
            if len(found) >= count:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.2)
        found = (await self.customer.request("GET", path))["items"]
        assert len(found) == count, f"{len(found)} CDRs instead of {count}"
        return sorted(found, key=lambda cdr: cdr["received_at"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def theatre(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Theatre]:
    # how refused calls end is looked at here; what they hear before is looked at in tests/announcer
    quiet = {"on": False}
    folder = tmp_path_factory.mktemp("platform")
    stage = Stage(
        folder,
        media={"dead_after_s": 4},
        calls=LIMITS,
        announcements=quiet,
        trace={"sip": True},
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stage)
        endpoint = await stack.enter_async_context(CustomerEndpoint("127.0.0.4", secret=_SECRET))
        mobile = await stack.enter_async_context(Carrier("127.0.0.2", edge=stage.sip))
        city = await stack.enter_async_context(Carrier("127.0.0.3", edge=stage.sip))
        theatre = Theatre(stage, mobile, city, endpoint)
        await theatre.furnish()
        yield theatre
        theatre.find_numbers_at_rest()
        assert not mobile.errors
        assert not city.errors
