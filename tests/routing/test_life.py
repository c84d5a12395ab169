"""Scheme 2 from the API's use cases to a switch: what asks, what signs, what is kept and what is measured."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from sqlalchemy import insert, select
from standardwebhooks import Webhook

from tests.routing.test_asking import SECRET, serving
from tests.world import NOON, Ride, World, person, x_number, y_number
from xiaohao.bindings.lookup_store import look_up
from xiaohao.bindings.recognition import LegMatch, judge
from xiaohao.calls.model import Call
from xiaohao.clock import now_us
from xiaohao.database.prompt_tables import prompts
from xiaohao.database.routing_tables import routing_answers
from xiaohao.errors import Refusal
from xiaohao.outgoing.network import Network
from xiaohao.routing.decision import Decision, Judge
from xiaohao.routing.judging import Prefixes
from xiaohao.routing.memory import LastAnswers
from xiaohao.routing.model import Connect, Decider, Destination, Fallback, Refuse, Terms
from xiaohao.routing.service import Routing
from xiaohao.routing.store import shown
from xiaohao.routing.table import RoutingTable
from xiaohao.settings import Settings

X, Y = x_number(1), y_number(1)


async def good(_: web.Request) -> web.StreamResponse:
    return web.json_response({"action": "connect", "callee": person(2)})


class Switch:
    """The side of a switch, and the API's."""

    def __init__(self, ride: Ride) -> None:
        self.world, self.customer_id = ride.world, ride.customer.id
        settings = Settings()
        settings.notifications.allow_private_urls = True
        self.routing = Routing(self.world.database, self.world.vault, settings)
        judging = Judge(Prefixes(("+86",), ()), "CN", self._shown)
        self.table = RoutingTable(
            self.world.database, self.world.vault, Network(allow_private=True), judging, 2000, 100
        )

    async def _shown(self, display: str, callee: str) -> Sequence[Any] | None:
        async with self.world.database.read() as connection:
            return await shown(connection, display, callee)

    async def match(self, caller: str, dialled: str) -> LegMatch:
        async with self.world.database.read() as connection:
            row = await look_up(connection, self.world.vault.index(caller), dialled, NOON)
        return judge(row, NOON)

    async def asks(self, caller: str, dialled: str) -> bool:
        await self.table.load()
        return self.table.asks(await self.match(caller, dialled))

    async def decide(self, caller: str, dialled: str) -> Decision:
        await self.table.load()
        call = Call("0199f3c2-a1b0-7c3e-9d5e-6f708192a3b4", "", now_us(), dialled, caller)
        call.customer_id = self.customer_id
        decision = await self.table.decide(call, await self.match(caller, dialled))
        assert decision is not None
        return decision

    def metric(self, name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"customer": self.customer_id, **labels}) or 0.0


async def test_what_is_said_of_a_number_comes_before_its_pool_and_that_before_all(world: World) -> None:
    switch = Switch(ride := await world.ride())
    binding = await ride.reserve(1, 2)
    routing, asks = switch.routing, switch.asks
    assert binding.x is not None
    assert binding.y is not None
    assert not await asks(person(2), binding.x)
    with pytest.raises(Refusal, match="a number of the platform"):
        await routing.plan(switch.customer_id, Terms("", None, default=Destination(X)))
    await routing.plan(switch.customer_id, Terms("", "http://127.0.0.1:9/"))
    assert not await asks(person(2), binding.x)
    await routing.set_number(binding.x, Decider.ASK)
    assert await asks(person(2), binding.x)
    assert await asks(person(7), binding.x)  # whom no binding knows
    assert not await asks(person(1), binding.y)
    await routing.set_pool(ride.x_pool.id, Decider.BINDINGS)
    assert await asks(person(2), binding.x)
    assert (await routing.of_number(binding.x)).decider is Decider.ASK
    await routing.set_number(binding.x, None)
    assert not await asks(person(2), binding.x)
    await routing.plan(switch.customer_id, Terms("", "http://127.0.0.1:9/", everything=True))
    assert not await asks(person(2), binding.x)
    assert await asks(person(1), binding.y)
    await routing.set_number(binding.y, Decider.BINDINGS)
    assert not await asks(person(1), binding.y)
    await routing.set_pool(ride.x_pool.id, None)
    assert await asks(person(2), binding.x)
    await switch.table.close()


async def test_the_old_secret_signs_for_a_while_and_all_is_measured(world: World) -> None:
    arrived: list[tuple[bytes, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        arrived.append((await request.read(), dict(request.headers.items())))
        return await good(request)

    def signed_by(secret: str) -> bool:
        body, headers = arrived[-1]
        try:
            Webhook(secret).verify(body, headers)
        except Exception:  # noqa: BLE001 - the library's own, of whatever kind
            return False
        return True

    switch = Switch(await world.ride())
    newer, newest = (
        "whsec_" + "bmV3ZXIgdGhhbiB0aGUgb25lIGJlZm9yZSBpdA==",
        "whsec_" + "bmV3ZXN0IG9mIGFsbCB0aHJlZSBvZiB0aGVt",
    )
    async with serving(answer) as url:
        await switch.routing.plan(switch.customer_id, Terms("", url, everything=True))
        await switch.routing.set_secret(switch.customer_id, SECRET)
        decision = await switch.decide(person(1), X)
        assert (decision.routed.verdict, signed_by(SECRET)) == ("answered", True), decision.routed.problem
        await switch.routing.set_secret(switch.customer_id, newer, overlap_s=1)
        await switch.decide(person(1), X)
        assert (signed_by(SECRET), signed_by(newer)) == (True, True)
        await asyncio.sleep(1.1)
        await switch.decide(person(1), X)
        assert (signed_by(SECRET), signed_by(newer)) == (False, True)
        await switch.routing.set_secret(switch.customer_id, newest)
        await switch.decide(person(1), X)
        assert (signed_by(newer), signed_by(newest)) == (False, True)
    assert switch.metric("xiaohao_routing_seconds_count") == 4
    for _ in range(6):
        await switch.decide(person(1), X)  # nobody listens any more
    await switch.table.keep_up()
    metric = switch.metric
    assert metric("xiaohao_routing_asked_total", verdict="answered") == 4
    assert metric("xiaohao_routing_asked_total", verdict="no_connection") == 5
    assert metric("xiaohao_routing_asked_total", verdict="breaker_open") == 1
    assert metric("xiaohao_routing_decided_total", decided_by="customer") == 4
    assert metric("xiaohao_routing_decided_total", decided_by="nobody") == 6
    assert metric("xiaohao_routing_breaker_open", url="first") == 1
    await switch.table.close()


async def test_the_last_answer_is_sealed_and_the_later_one_of_two_switches_counts(world: World) -> None:
    database, vault = world.database, world.vault
    one, other = LastAnswers(database, vault), LastAnswers(database, vault)
    pair, connect = ("cus_1", X, person(1)), Connect(person(2), user_data="ride")
    one.remember(*pair, connect, 60)
    await one.write()
    assert await other.find(*pair) == connect
    assert await other.find("cus_2", X, person(1)) is None
    assert await other.find("cus_1", Y, person(1)) is None
    async with database.read() as connection:
        (row,) = (await connection.execute(select(routing_answers))).mappings()
    assert not [v for v in row.values() if isinstance(v, bytes) and (b"1380000" in v or b"ride" in v)]
    # what the customer said at another switch since then is its last word
    await asyncio.sleep(0.002)
    other.remember(*pair, Refuse(), 60)
    await other.write()
    assert await one.find(*pair) == Refuse()
    # and what it says here again is later still, though nothing is written for it
    await asyncio.sleep(0.002)
    one.remember(*pair, connect, 60)
    assert await one.find(*pair) == connect
    await one.write()
    # a switch that comes late with what it heard before changes nothing
    other._unwritten[pair] = ('{"action":"refuse"}', row["expires_at"] - 1)
    await other.write()
    assert await LastAnswers(database, vault).find(*pair) == connect


async def test_nobodys_answer_is_kept_and_other_terms_keep_none(world: World) -> None:
    switch = Switch(await world.ride())
    answers = switch.table.answers
    plan = {"everything": True, "fallbacks": (Fallback.LAST_ANSWER,)}
    async with serving(good) as url:
        await switch.routing.plan(switch.customer_id, Terms("", url, keep_answers_s=600, **plan))  # type: ignore[arg-type]
        await switch.decide(person(1), X)
        # two who hide their numbers are not the same person
        answers.remember(switch.customer_id, X, None, Refuse(), 600)
        assert await answers.find(switch.customer_id, X, None) is None
        await switch.table.keep_up()
    decision = await switch.decide(person(1), X)
    assert (decision.routed.decided_by, decision.way is not None) == ("last_answer", True)
    decision = await switch.decide(person(3), X)
    assert decision.routed.decided_by == "nobody"
    await switch.routing.plan(switch.customer_id, Terms("", url, keep_answers_s=60, **plan))  # type: ignore[arg-type]
    decision = await switch.decide(person(1), X)
    assert decision.routed.decided_by == "nobody"
    await switch.table.close()


async def test_prompts_that_there_are_not(world: World) -> None:
    async def announce(_: web.Request) -> web.StreamResponse:
        return web.json_response({"action": "announce", "prompt": "order is over"})

    switch = Switch(await world.ride())
    async with serving(announce) as url:
        with pytest.raises(Refusal, match="no prompt of this name"):
            await switch.routing.plan(switch.customer_id, Terms("", url, announcement="order is over"))
        await switch.routing.plan(switch.customer_id, Terms("", url, announcement="routing_failed"))
        routed = (await switch.routing.test(switch.customer_id, person(1), X)).decision.routed
        assert (routed.verdict, routed.problem) == ("not_allowed", "prompt: there is none of this name")
        row = {"name": "order is over", "version": 1, "revision": 1, "created_at": 0, "updated_at": 0}
        for owner, there in (("cus_other", False), (switch.customer_id, True)):
            async with world.database.begin() as connection:
                await connection.execute(insert(prompts).values(id=f"prm_{owner}", owner=owner, **row))
            routed = (await switch.routing.test(switch.customer_id, person(1), X)).decision.routed
            assert (routed.verdict == "answered") is there
