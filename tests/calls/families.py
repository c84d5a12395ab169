"""A platform with IPv4 and IPv6 addresses, carriers of both kinds, and people who are bound to each other."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xiaohao.edge.addresses import every_listener, family_of
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.stage import Stage, StageCustomer, free_ports

from .searcher import Call

FOUR, SIX = "127.0.0.1", "::1"
#: host and transport of each
CARRIERS = {"six": (SIX, "udp"), "four": ("127.0.0.171", "udp"), "six over TCP": (SIX, "tcp")}
#: whoever calls from ::1 is the first trunk's
SOURCES: dict[str, list[str]] = {"six": ["::/64"], "six over TCP": []}
_serial = itertools.count(1)


@dataclass
class Scene:
    """Two people who are bound to each other: phones at two carriers, and what the caller dials."""

    caller: Phone
    callee: Phone
    dialled: str
    binding_id: str


class Hall:
    """A platform with both kinds of addresses, carriers by name, and a pool of numbers shown over each."""

    def __init__(self, stage: Stage, carriers: dict[str, Carrier]) -> None:
        self.stage, self.carriers = stage, carriers
        self.pools: dict[str, str] = {}
        self.trunks: dict[str, str] = {}
        self.customer: StageCustomer

    async def furnish(self) -> None:
        self.customer = await self.stage.add_customer("ride")
        for serial, (name, carrier) in enumerate(self.carriers.items()):
            spec = {"transport": carrier.transport_name.lower()}
            spec |= {"sources": SOURCES[name]} if name in SOURCES else {}
            trunk = await self.stage.add_trunk(name, carrier.address, **spec)
            pool = await self.stage.add_pool(name, self.customer)
            await self.stage.add_numbers([f"+8617{serial:02}00{n:05}" for n in range(90)], trunk, pool)
            self.trunks[name], self.pools[name] = trunk, pool
        # the switch looks for what is new of trunks once a second
        await asyncio.sleep(1.5)

    async def scene(
        self, caller: str, callee: str, behaviour: Behaviour | None = None, **options: Any
    ) -> Scene:
        """Two new people; the number that the callee sees is shown over the callee's carrier."""
        serial = next(_serial)
        a, b = f"+86138{serial * 7919 % 10**8:08}", f"+86139{serial * 6007 % 10**8:08}"
        phones = []
        for name, number, hz in ((caller, a, 400), (callee, b, 900)):
            phones.append(self.carriers[name].add_phone(number, hz, behaviour=behaviour, **options))
        made = await self.customer.reserve(a, b, self.pools[callee], self.pools[caller])
        return Scene(phones[0], phones[1], made["y"], made["id"])

    async def hang_up(self, scene: Scene) -> None:
        """The customer ends the call."""
        for _ in range(50):
            calls = (await self.customer.request("GET", "/v1/calls"))["items"]
            mine = [call["call_id"] for call in calls if call["binding_id"] == scene.binding_id]
            if mine:
                break
            await asyncio.sleep(0.1)
        await self.customer.request("POST", f"/v1/calls/{mine[0]}/hang-up")

    def target(self, name: str) -> dict[str, Any]:
        """A carrier as a target of a trunk."""
        host, port = self.carriers[name].address
        return {"host": host, "port": port, "transport": CARRIERS[name][1]}

    async def change(self, name: str, **changes: Any) -> None:
        """Change the description of a trunk and wait until that counts."""
        path = f"/v1/trunks/{self.trunks[name]}"
        trunk = await self.stage.request("GET", path)
        body = {key: trunk[key] for key in ("name", "state")} | {"spec": trunk["spec"] | changes}
        await self.stage.request("PUT", path, body)
        await asyncio.sleep(1.5)

    async def traced(self, call_id: str) -> set[tuple[str, str]]:
        """Whose SIP messages of a call are kept: side and address."""
        for _ in range(100):
            status, kept = await self.stage.attempt("GET", f"/v1/calls/{call_id}/messages")
            if status == 200 and any(item["method"] == "BYE" for item in kept["items"]):
                break
            await asyncio.sleep(0.1)
        return {(item["side"], item["address"]) for item in kept["items"]}

    async def cdr(self, scene: Scene) -> dict[str, Any]:
        """The one CDR of a scene, as the operator sees it."""
        path = f"/v1/cdrs?binding_id={scene.binding_id}&customer_id={self.customer.id}"
        for _ in range(100):
            found = (await self.stage.request("GET", path))["items"]
            if found:
                break
            await asyncio.sleep(0.1)
        assert len(found) == 1
        return dict(found[0])


def addresses(*hosts: str) -> dict[str, Any]:
    """A configuration's tables: where the edge listens, and the addresses for media."""
    ports = [(f"[{host}]" if ":" in host else host, free_ports(host, 1)[0]) for host in hosts]
    listen_at = [f"{kind}:{host}:{port}" for kind in ("udp", "tcp") for host, port in ports]
    return {"edge": {"listen": listen_at}, "media": {"interface": list(hosts)}}


@asynccontextmanager
async def opened(folder: Path, stage_type: type[Stage] = Stage, **changes: Any) -> AsyncIterator[Hall]:
    """A platform and its carriers, as far as it has their kind of addresses."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(stage_type(folder, **changes))
        reached = {family_of(each.host): each.here for each in every_listener(stage.settings.edge)}
        carriers = {}
        for name, (host, transport) in CARRIERS.items():
            if edge := reached.get(family_of(host)):
                carrier = Carrier(host, edge=edge, transport=transport)
                carriers[name] = await stack.enter_async_context(carrier)
        hall = Hall(stage, carriers)
        await hall.furnish()
        yield hall
        for carrier in carriers.values():
            assert not carrier.errors
            assert not carrier.complaints


async def talk(scene: Scene, **options: object) -> tuple[Call, Call]:
    """Both views of a call in which they hear each other."""
    call = await scene.caller.call(scene.dialled, **options)
    other = await scene.callee.next_call()
    await call.wait_answered()
    await other.wait_answered()
    assert await call.wait_heard(900)
    assert await other.wait_heard(400)
    return call, other
