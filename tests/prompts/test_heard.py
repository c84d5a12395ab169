"""Uploaded prompts on real calls: a phone hears exactly what its customer has uploaded, and at once."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.announcer import audio
from tests.calls.conftest import _SECRET, LIMITS, Theatre
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.customer import CustomerEndpoint, Delivery
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.stage import Stage

pytestmark = [pytest.mark.calls, pytest.mark.asyncio(loop_scope="session")]

SWEEPS = {
    "first": (400, 2600, 1.0),
    "second": (2900, 700, 1.0),
    "order.over": (600, 1400, 1.0),
    "sorry": (3100, 1800, 1.0),
    "of.all": (500, 2200, 0.8),
    "of.pool": (2600, 1000, 0.8),
    "of.binding": (1500, 3000, 0.8),
    "before": (800, 3200, 0.8),
}
_callers = itertools.count()


class Uploader(Theatre):
    """The platform as it is installed, and a customer with prompts of its own."""

    sounds: dict[str, audio.Sound]
    folder: Path
    says: Any = None

    async def upload(self, name: str) -> str:
        """A prompt's id."""
        audio.write(self.folder / "upload.wav", self.sounds[name])
        url = f"{self.stage.url}/v1/prompts:upload"
        headers = {"Authorization": f"Bearer {self.customer.key}", "Content-Type": "audio/wav"}
        content = (self.folder / "upload.wav").read_bytes()
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, params={"name": name}, data=content, headers=headers) as response,
        ):
            assert response.status == 201, await response.text()
            return str((await response.json())["id"])

    async def call(self, dialled: str) -> OutgoingCall:
        """By somebody whom nobody knows."""
        return await self.city.add_phone(f"+8613744{next(_callers):06}", 1000).call(dialled)

    async def heard(self, call: OutgoingCall) -> list[str]:
        """What of the uploaded prompts a caller has heard who was not connected."""
        await call.wait_ended(15)
        assert call.answered_at is None
        return [name for name, sound in self.sounds.items() if audio.is_heard(sound, call.received_audio)]

    async def decided(self, dialled: str) -> tuple[str, str]:
        """Reason and decider of the newest call to a number."""
        for _ in range(300):
            found = await self.customer.request("POST", "/v1/cdrs/search", {"number": dialled})
            if found["items"]:
                return found["items"][0]["reason"], found["items"][0]["routing"]["decided_by"]
            await asyncio.sleep(0.1)
        raise AssertionError("no CDR")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def uploader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uploader]:
    folder = tmp_path_factory.mktemp("uploader")
    stage = Stage(folder / "platform", host="127.0.3.11", calls=LIMITS)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stage)
        endpoint = await stack.enter_async_context(CustomerEndpoint("127.0.3.14", secret=_SECRET))
        mobile = await stack.enter_async_context(Carrier("127.0.3.12", edge=stage.sip))
        city = await stack.enter_async_context(Carrier("127.0.3.13", edge=stage.sip))
        made = Uploader(stage, mobile, city, endpoint)
        made.sounds = {name: audio.sweep(*shape) for name, shape in SWEEPS.items()}
        made.folder = folder
        await made.furnish()
        yield made


async def test_an_upload_is_heard_within_a_second(uploader: Uploader) -> None:
    """Chosen for a situation, replaced by another, and given back to the default set."""
    ids = {name: await uploader.upload(name) for name in ("first", "second")}
    y = (await uploader.pair()).y
    for name in ("first", "second"):
        body = {"situation": "unknown_caller", "prompt_id": ids[name]}
        await uploader.customer.request("PUT", "/v1/announcements", body)
        await asyncio.sleep(1)
        assert await uploader.heard(await uploader.call(y)) == [name]
    body = {"situation": "unknown_caller", "prompt_id": "none"}
    await uploader.customer.request("PUT", "/v1/announcements", body)
    await asyncio.sleep(1)
    silent = await uploader.call(y)
    assert await uploader.heard(silent) == []
    assert silent.rtp_stats.packets_received == 0


async def test_what_the_customer_decides_is_heard(uploader: Uploader) -> None:
    """Scheme 2: the answer `announce`, then the fallbacks `announcement` and `default`."""
    for name in ("order.over", "sorry"):
        await uploader.upload(name)
    customer, endpoint = uploader.customer, uploader.endpoint
    await customer.request("POST", "/v1/routing/secret", {"secret": _SECRET})
    pool = await uploader.stage.add_pool("asking", customer)
    numbers = [f"+86106209{n:04}" for n in range(3)]
    await uploader.stage.add_numbers(numbers, uploader.city_trunk, pool)

    def answers(delivery: Delivery) -> tuple[int, Any]:
        return 200, uploader.says

    endpoint.answer = answers
    hotline = uploader.city.add_phone("+8613744999999", 700)
    terms: dict[str, Any] = {"url": endpoint.url, "announcement": "sorry"}
    await customer.request("PUT", "/v1/routing", terms | {"fallbacks": ["announcement"]})
    await customer.request("PUT", f"/v1/pools/{pool}/routing", {"routing": "ask"})
    await asyncio.sleep(1)
    uploader.says = {"action": "announce", "prompt": "order.over"}
    assert await uploader.heard(await uploader.call(numbers[0])) == ["order.over"]
    assert await uploader.decided(numbers[0]) == ("customer_announced", "customer")
    uploader.says = ["garbage"]
    assert await uploader.heard(await uploader.call(numbers[1])) == ["sorry"]
    assert await uploader.decided(numbers[1]) == ("routing_failed", "announcement")
    default = {"callee": hotline.number, "display": numbers[2]}
    await customer.request("PUT", "/v1/routing", terms | {"fallbacks": ["default"], "default": default})
    await asyncio.sleep(1)
    call = await uploader.call(numbers[2])
    called = await hotline.next_call()
    await call.wait_answered()
    assert called.display == numbers[2]
    assert await call.wait_heard(hotline.tone_hz)
    assert await called.wait_heard(call.phone.tone_hz)
    await call.hang_up()
    assert await uploader.decided(numbers[2]) == ("caller_hung_up", "default")
    endpoint.answer = None


async def test_the_nearest_choice_is_heard(uploader: Uploader) -> None:
    """A binding's own prompts, those of the pool of the number dialled, and those of all numbers."""
    ids = {name: await uploader.upload(name) for name in ("of.all", "of.pool", "of.binding", "before")}
    busy = Behaviour(reject_with=(486, "Busy Here"))
    prompts = {"to_caller": "before", "refused": "of.binding"}
    bound = await uploader.pair(passenger=busy, prompts=prompts)
    plain = await uploader.pair(passenger=busy, driver=busy)
    choices = [{"situation": "callee_busy"}, {"situation": "callee_busy", "pool_id": uploader.y_pool}]
    for choice, name in zip(choices, ("of.all", "of.pool"), strict=True):
        await uploader.customer.request("PUT", "/v1/announcements", choice | {"prompt_id": ids[name]})
    await asyncio.sleep(1)
    passenger = uploader.city.phones[plain.passenger.number]
    callers = ((bound.driver, bound.y), (plain.driver, plain.y), (passenger, plain.x))
    calls = [await phone.call(dialled) for phone, dialled in callers]
    heard = [await uploader.heard(call) for call in calls]
    assert heard == [["of.binding", "before"], ["of.pool"], ["of.all"]]
    assert {call.final_code for call in calls} == {486}
    first, then = (audio.find(uploader.sounds[name], calls[0].received_audio) for name in reversed(heard[0]))
    assert first.at_s < then.at_s
    for choice in choices:
        await uploader.customer.request("PUT", "/v1/announcements", choice | {"prompt_id": "default"})
