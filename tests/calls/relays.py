"""Several trunks of one carrier that lead to one callee, at the theatre's platform."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone

from .conftest import Theatre

_serial = itertools.count(1)


class Relays:
    """The trunks, in the order in which they are tried; the first one owns the numbers that callees see."""

    def __init__(self, theatre: Theatre, trunks: list[Carrier], trunk_ids: list[str], pool: str) -> None:
        self.theatre, self.trunks, self.trunk_ids, self._pool = theatre, trunks, trunk_ids, pool
        self.callee: Phone
        self.caller: Phone
        self.number = ""
        self.binding_id = ""

    async def people(self, behaviour: Behaviour | None = None, caller: Carrier | None = None) -> None:
        """A new caller, at `city` unless a carrier is given, and a callee with a phone at every trunk."""
        serial = next(_serial)
        a, b = f"+86177{31000000 + serial * 7919 % 10**6}", f"+86181{42000000 + serial * 6007 % 10**6}"
        self.caller = (caller or self.theatre.city).add_phone(a, 400, behaviour=behaviour)
        for trunk in self.trunks:
            trunk.add_phone(b, 900, behaviour=behaviour)
        binding = await self.theatre.customer.reserve(a, b, self._pool, self.theatre.y_pool)
        self.number, self.binding_id = binding["y"], binding["id"]

    def callee_at(self, index: int) -> Phone:
        """The callee's phone as this trunk reaches it."""
        number = next(reversed(self.trunks[index].phones))
        return self.trunks[index].phones[number]

    async def call(self) -> OutgoingCall:
        """The caller dials."""
        return await self.caller.call(self.number)

    async def talk(self, index: int) -> OutgoingCall:
        """A call that is answered over this trunk; both hear each other."""
        call = await self.call()
        other = await self.callee_at(index).next_call(timeout=20)
        await call.wait_answered()
        assert await call.wait_heard(900)
        assert await other.wait_heard(400)
        return call

    async def cdr(self) -> dict[str, Any]:
        """The one CDR of the two people, as the operator sees it."""
        await self.theatre.until_cdrs(f"/v1/cdrs?binding_id={self.binding_id}", 1)
        path = f"/v1/cdrs?binding_id={self.binding_id}&customer_id={self.theatre.customer.id}"
        found = (await self.theatre.stage.request("GET", path))["items"]
        assert len(found) == 1
        return dict(found[0])

    async def tries(self) -> list[tuple[int, int | None]]:
        """The tries of that CDR: which trunk, and its final code where it failed."""
        return [(self.trunk_ids.index(t["trunk_id"]), t["sip_code"]) for t in (await self.cdr())["tries"]]

    async def change(self, *indices: int, state: str = "active", **changes: Any) -> None:
        """Change the description of these trunks, or their state, and wait until that counts."""
        for index in indices:
            path = f"/v1/trunks/{self.trunk_ids[index]}"
            trunk = await self.theatre.stage.request("GET", path)
            body = {"name": trunk["name"], "state": state, "spec": trunk["spec"] | changes}
            await self.theatre.stage.request("PUT", path, body)
        await self.theatre.trunks_in_force()


@asynccontextmanager
async def relays(
    theatre: Theatre, *hosts: str, specs: list[dict[str, Any]] | None = None
) -> AsyncIterator[Relays]:
    """Opens one trunk a host; `specs` are laid over their descriptions."""
    serial = next(_serial)
    async with AsyncExitStack() as stack:
        trunks = []
        trunk_ids = []
        for index, host in enumerate(hosts):
            spec = {"carrier": f"relay{serial}", "priority": index} | (specs[index] if specs else {})
            kind = spec.pop("transport", "udp")
            trunk = await stack.enter_async_context(Carrier(host, edge=theatre.stage.sip, transport=kind))
            trunks.append(trunk)
            target = {"host": trunk.address[0], "port": trunk.address[1], "transport": kind}
            body = {"targets": [target], "sources": [host]} | spec
            made = await theatre.stage.request(
                "POST", "/v1/trunks", {"name": f"{body['carrier']} {index}", "spec": body}
            )
            trunk_ids.append(made["id"])
        pool = await theatre.stage.add_pool(f"relay{serial}", theatre.customer)
        numbers = [f"+861705{serial:03}{n:04}" for n in range(40)]
        await theatre.stage.add_numbers(numbers, trunk_ids[0], pool)
        await theatre.trunks_in_force()
        try:
            yield Relays(theatre, trunks, trunk_ids, pool)
        finally:
            for trunk_id in trunk_ids:
                await theatre.disable_trunk(trunk_id)
        for trunk in trunks:
            theatre.numbers |= set(trunk.phones)
            assert not trunk.errors
