"""Carrier trunks: which way a call leaves, what happens when a way fails, how each carrier spells numbers."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.spelling import Spelling, spell

from .conftest import Theatre

_serial = itertools.count(1)


@dataclass
class Duo:
    """A carrier with two trunks, a pool of X that belongs to the first, and a bound pair of people."""

    theatre: Theatre
    first: Carrier
    second: Carrier
    trunks: list[str]
    driver: Phone
    binding: dict[str, Any]
    passenger: str

    def passenger_at(self, carrier: Carrier) -> Phone:
        return carrier.phones[self.passenger]

    async def cdr(self, *, operator: bool = False) -> dict[str, Any]:
        path = f"/v1/cdrs?binding_id={self.binding['id']}"
        (cdr,) = await self.theatre.until_cdrs(path, 1)
        if operator:
            cdr = await self.theatre.stage.request("GET", f"/v1/cdrs/{cdr['call_id']}")
        return dict(cdr)

    def invites_at(self, carrier: Carrier) -> int:
        return sum(m[1] == "in" and m[2].startswith(b"INVITE ") for m in carrier.messages)


@asynccontextmanager
async def duo(
    theatre: Theatre, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None,
    phone: Behaviour | None = None, transport: str = "udp",
) -> AsyncIterator[Duo]:  # fmt: skip
    """Two trunks of one carrier on addresses of their own, taken out of service at the end."""
    stage, serial = theatre.stage, next(_serial)
    hosts = f"127.0.1.{2 * serial}", f"127.0.1.{2 * serial + 1}"
    async with (
        Carrier(hosts[0], edge=stage.sip, transport=transport) as one,  # type: ignore[arg-type]
        Carrier(hosts[1], edge=stage.sip, transport=transport) as two,  # type: ignore[arg-type]
    ):
        trunks = []
        for name, carrier, spec in (("first", one, first or {}), ("second", two, second or {})):
            terms = {"carrier": f"duo{serial}", "transport": transport, "probe": False} | spec
            trunks.append(await stage.add_trunk(f"{name}{serial}", carrier.address, **terms))
        pool = await stage.add_pool(f"duo{serial}", theatre.customer)
        x = f"+8617100{serial:06}"
        await stage.add_numbers([x], trunks[0], pool)
        a, b = f"+86136{serial:08}", f"+86137{serial:08}"
        driver = theatre.mobile.add_phone(a, 600)
        for carrier in (one, two):
            carrier.add_phone(b, 1200, behaviour=phone)
        binding = await theatre.customer.reserve(a, b, pool, theatre.y_pool)
        await theatre.trunks_in_force()
        yield Duo(theatre, one, two, trunks, driver, binding, b)
        await asyncio.sleep(0.2)
        for trunk, name in zip(trunks, ("first", "second"), strict=True):
            known = await stage.request("GET", f"/v1/trunks/{trunk}")
            body = {"name": f"{name}{serial}", "state": "disabled", "spec": known["spec"]}
            await stage.request("PUT", f"/v1/trunks/{trunk}", body)
        assert not one.errors
        assert not two.errors


async def _talk_over(pair: Duo, carrier: Carrier) -> None:
    call = await pair.driver.call(pair.binding["y"])
    answering = await pair.passenger_at(carrier).next_call(timeout=10)
    await call.wait_answered(timeout=10)
    assert answering.display == pair.binding["x"]
    assert await call.wait_heard(1200)
    assert await answering.wait_heard(600)
    assert len(call.dialogs) == 1, "the caller notices the failover"
    await call.hang_up()
    await answering.wait_ended()


async def test_first_trunk_first(theatre: Theatre) -> None:
    """A call leaves through the trunk that owns the number displayed."""
    async with duo(theatre) as pair:
        await _talk_over(pair, pair.first)
        assert pair.invites_at(pair.second) == 0
        cdr = await pair.cdr(operator=True)
        assert cdr["trunk_out"] == pair.trunks[0]


@pytest.mark.parametrize("failure", [(503, "Service Unavailable"), (500, "Server Error"), (408, "Timeout")])
async def test_failover_on_a_refusal(theatre: Theatre, failure: tuple[int, str]) -> None:
    """A trunk that says 5xx or 408 is left for the next one; the caller sees one call."""
    async with duo(theatre) as pair:
        pair.first.refuse_all = failure
        await _talk_over(pair, pair.second)
        cdr = await pair.cdr(operator=True)
        assert cdr["trunk_out"] == pair.trunks[1]
        tries = [(entry["trunk_id"], entry["sip_code"]) for entry in cdr["tries"]]
        assert tries == [(pair.trunks[0], failure[0]), (pair.trunks[1], None)]
        assert cdr["reason"] == "caller_hung_up"


async def test_failover_from_a_silent_trunk(theatre: Theatre) -> None:
    """A trunk that answers nothing has failed after three seconds."""
    async with duo(theatre) as pair:
        pair.first.silent = True
        await _talk_over(pair, pair.second)
        cdr = await pair.cdr(operator=True)
        assert [entry["sip_code"] for entry in cdr["tries"]] == [408, None]


async def test_all_trunks_fail(theatre: Theatre) -> None:
    """No way is left: the caller gets a 5xx, the CDR says why."""
    async with duo(theatre) as pair:
        pair.first.refuse_all = pair.second.refuse_all = (503, "Service Unavailable")
        call = await pair.driver.call(pair.binding["y"])
        await call.wait_ended(timeout=10)
        assert call.final_code == 503
        cdr = await pair.cdr(operator=True)
        assert cdr["reason"] == "trunk_failure"
        assert len(cdr["tries"]) == 2


async def test_busy_is_not_a_failure_of_the_trunk(theatre: Theatre) -> None:
    """A busy callee is busy over every trunk: no second try."""
    async with duo(theatre, phone=Behaviour(reject_with=(486, "Busy Here"))) as pair:
        call = await pair.driver.call(pair.binding["y"])
        await call.wait_ended()
        assert call.final_code == 486
        assert pair.invites_at(pair.second) == 0
        await pair.cdr()


async def test_channels(theatre: Theatre) -> None:
    """A full trunk is passed over; where all are full the call is refused."""
    async with duo(theatre, {"channels": 1}, {"channels": 1}) as pair:
        calls = []
        for carrier in (pair.first, pair.second):
            call = await pair.driver.call(pair.binding["y"])
            await call.wait_answered()
            assert len(pair.passenger_at(carrier).calls) == 1
            calls.append(call)
        refused = await pair.driver.call(pair.binding["y"])
        await refused.wait_ended()
        assert refused.final_code == 503
        for call in calls:
            await call.hang_up()
            await call.wait_ended()
        path = f"/v1/cdrs?binding_id={pair.binding['id']}"
        cdrs = await theatre.until_cdrs(path, 3)
        assert [cdr["reason"] for cdr in cdrs] == ["caller_hung_up", "caller_hung_up", "channels_full"]


@pytest.mark.parametrize("form", ["e164", "digits", "zero", "national", "zero_except_mobile"])
async def test_spelling_of_numbers(theatre: Theatre, form: str) -> None:
    """The callee and the number displayed go out as the carrier wants them, prefix and all."""
    spec = {"callee_form": form, "cli_form": form, "prefix_out": "9876"}
    async with duo(theatre, spec) as pair:
        call = await pair.driver.call(pair.binding["y"])
        await call.wait_answered()
        await call.hang_up()
        invite = next(m[2] for m in pair.first.messages if m[2].startswith(b"INVITE ")).decode()
        assert invite.startswith(f"INVITE sip:9876{spell(pair.passenger, Spelling(form))}@")
        assert f"From: <sip:{spell(pair.binding['x'], Spelling(form))}@" in invite
        await pair.cdr()


@pytest.mark.parametrize(("where", "header"), [("pai", "P-Asserted-Identity"), ("rpid", "Remote-Party-ID")])
async def test_cli_header(theatre: Theatre, where: str, header: str) -> None:
    """The number displayed goes out in the header that this carrier reads."""
    async with duo(theatre, {"cli_header_out": where}) as pair:
        await _talk_over(pair, pair.first)
        invite = next(m[2] for m in pair.first.messages if m[2].startswith(b"INVITE ")).decode()
        assert f"{header}: <sip:{pair.binding['x']}@" in invite
        await pair.cdr()


async def test_tcp(theatre: Theatre) -> None:
    """A trunk over TCP."""
    async with duo(theatre, transport="tcp") as pair:
        await _talk_over(pair, pair.first)
        await pair.cdr()


async def test_disabled_trunk(theatre: Theatre) -> None:
    """A disabled trunk takes no call from the next second on."""
    async with duo(theatre) as pair:
        trunk = await theatre.stage.request("GET", f"/v1/trunks/{pair.trunks[0]}")
        body = {"name": trunk["name"], "state": "disabled", "spec": trunk["spec"]}
        await theatre.stage.request("PUT", f"/v1/trunks/{pair.trunks[0]}", body)
        await theatre.trunks_in_force()
        call = await pair.driver.call(pair.binding["y"])
        await call.wait_ended()
        assert call.final_code == 503
        assert (await pair.cdr())["reason"] == "no_trunk"
        assert pair.invites_at(pair.first) == 0


async def test_health(theatre: Theatre) -> None:
    """A target that does not answer OPTIONS is passed over without a wait, and used again when it does."""
    async with duo(theatre, {"probe": True}, {"probe": True}) as pair:
        pair.first.silent = True
        await asyncio.sleep(12)
        loop = asyncio.get_running_loop()
        began = loop.time()
        call = await pair.driver.call(pair.binding["y"])
        await pair.passenger_at(pair.second).next_call()
        assert loop.time() - began < 2.5
        await call.wait_answered()
        await call.hang_up()
        pair.first.silent = False
        await asyncio.sleep(6)
        again = await pair.driver.call(pair.binding["y"])
        await pair.passenger_at(pair.first).next_call()
        await again.wait_answered()
        await again.hang_up()
        await theatre.until_cdrs(f"/v1/cdrs?binding_id={pair.binding['id']}", 2)
