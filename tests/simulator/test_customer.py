"""The customer's endpoint: signatures, manners and memory."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from standardwebhooks import Webhook

from xiaohao.simulator.customer import CustomerEndpoint, failing, flapping, hanging, slow

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
async def endpoint() -> AsyncIterator[CustomerEndpoint]:
    async with CustomerEndpoint("127.0.0.1", secret=SECRET) as endpoint:
        yield endpoint


async def post(
    endpoint, kind="call.answered", call_id="c1", *, secret=SECRET, within_s=2.0, identity="evt_1"
):
    body = json.dumps({"type": kind, "data": {"call_id": call_id}})
    now = datetime.now(tz=UTC)
    headers = {
        "webhook-id": identity,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(identity, now, body),
    }
    limit = aiohttp.ClientTimeout(total=within_s)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.post(endpoint.url, data=body, headers=headers) as response,
    ):
        return response.status


async def test_signed_event_is_kept_and_found(endpoint):
    waiting = asyncio.ensure_future(endpoint.wait_for("call.answered", "c2"))
    before = datetime.now(tz=UTC).timestamp()
    assert await post(endpoint, call_id="c1") == 204
    assert await post(endpoint, call_id="c2") == 204
    delivery = await waiting
    assert (delivery.kind, delivery.call_id, delivery.verified, delivery.message_id) == (
        "call.answered",
        "c2",
        True,
        "evt_1",
    )
    assert before <= delivery.arrived_us / 1e6 <= datetime.now(tz=UTC).timestamp()
    assert [each.call_id for each in endpoint.accepted] == ["c1", "c2"]


async def test_wrong_signature_is_refused_and_noted(endpoint):
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    assert await post(endpoint, secret=other) == 401
    async with aiohttp.ClientSession() as session, session.post(endpoint.url, data=b"{}") as response:
        assert response.status == 401
    assert len(endpoint.events) == 2
    assert all(each.verdict for each in endpoint.events)
    assert endpoint.accepted == []
    with pytest.raises(TimeoutError, match=r"call\.answered"):
        await endpoint.wait_for("call.answered", timeout=0.05)


async def test_failing_endpoint_remembers_what_it_refused(endpoint):
    endpoint.manner = failing(500)
    assert await post(endpoint) == 500
    assert endpoint.find("call.answered") is None
    refused = await endpoint.wait_for("call.answered", accepted_only=False)
    assert (refused.status, refused.verified, refused.accepted) == (500, True, False)


async def test_flapping_endpoint(endpoint):
    endpoint.manner = flapping(2, 503)
    assert [await post(endpoint) for _ in range(4)] == [204, 503, 204, 503]


async def test_slow_endpoint(endpoint):
    endpoint.manner = slow(0.2)
    started = asyncio.get_running_loop().time()
    assert await post(endpoint) == 204
    assert asyncio.get_running_loop().time() - started >= 0.19


async def test_hanging_endpoint_never_answers_but_stops_at_once(endpoint):
    endpoint.manner = hanging()
    with pytest.raises(TimeoutError):
        await post(endpoint, within_s=0.2)
    hanging_post = asyncio.ensure_future(post(endpoint, within_s=5))
    await endpoint.wait_for("call.answered", accepted_only=False)
    await asyncio.sleep(0.05)
    started = asyncio.get_running_loop().time()
    await endpoint.stop()
    assert asyncio.get_running_loop().time() - started < 2
    await asyncio.gather(hanging_post, return_exceptions=True)


async def test_endpoint_comes_back_on_its_port(endpoint):
    url = endpoint.url
    await endpoint.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(endpoint)
    await endpoint.start()
    assert endpoint.url == url
    assert await post(endpoint) == 204


async def test_customer_that_answers_with_a_document(endpoint):
    endpoint.answer = lambda delivery: (200, {"seen": delivery.kind})
    assert await post(endpoint) == 200
    assert endpoint.accepted[0].status == 200
