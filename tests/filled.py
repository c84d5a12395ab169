"""A database in which every column that holds secrets holds some, made by the platform's own services.

What no service fills is filled in by hand, from the schema itself, so that a new column is never left out.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, func, insert, select, update
from starlette.responses import JSONResponse

from tests.api.facts import ended, journal_of, talking
from tests.world import Ride, World, person, x_number
from xiaohao.api.idempotency import Idempotency
from xiaohao.audit.service import Audit
from xiaohao.bindings.model import Binding, Mode, Reservation
from xiaohao.calls.journal import CallTraced
from xiaohao.complaints.model import Source
from xiaohao.edge import kamailio
from xiaohao.lookups.service import Lookups
from xiaohao.numbers.lifecycle import Reason
from xiaohao.rotation.model import secrets_of
from xiaohao.settings import Settings, host_port
from xiaohao.simulator.stage import free_ports
from xiaohao.tenants.model import Principal
from xiaohao.trace import hep
from xiaohao.trace.keeping import Keeping

#: the people of whom nothing may be found: A, B, B before a change, the person of what is filled in by hand
_PLACES = (31_415_926, 27_182_818, 14_142_135, 16_180_339)
A, B, BEFORE, OTHER = map(person, _PLACES)
MARKERS = (A, B, BEFORE, OTHER)
OPERATOR = Principal("key_operator", None, None)


@dataclass
class Filled:
    """What was made: (caller, dialled) and whom each of them reached."""

    ride: Ride
    live: Binding
    released: Binding


async def fill(world: World) -> Filled:
    """Make everything that a running platform would have."""
    ride = await world.ride(xs=4, ys=4)
    live = await ride.reserve(_PLACES[0], _PLACES[1], order_ref="order 1")
    released = await ride.release(await ride.reserve(_PLACES[3], _PLACES[1]))
    changed = await ride.reserve(_PLACES[0], _PLACES[2])
    world.clock.forward(1)
    # the leg of the B before rests, and whose it is stands in the binding's version only
    await world.bindings.change(ride.customer.id, changed.id, {"b": OTHER})
    await _other_modes(world, ride)
    await world.tenants.set_webhook(ride.customer.id, "https://example.com/events")
    await _calls(world, ride, live)
    await _sip_messages(world, ride, live)
    await _questions(world, live)
    await _an_idempotent_answer(world, ride)
    await _texts_with_numbers(world, live)
    await _whatever_is_left(world)
    return Filled(ride, live, released)


async def _other_modes(world: World, ride: Ride) -> None:
    """Legs that anyone may dial, that an extension tells apart, that know a last caller; a Y on the spot."""
    xs = [x_number(place) for place in range(11, 16)]
    pool = await world.pool(ride.customer, 60, xs)
    modes: list[dict[str, Any]] = [
        {"mode": Mode.AXB, "a": BEFORE, "b": B},
        {"mode": Mode.AX, "a": OTHER},
        {"mode": Mode.AXE, "a": A, "extension": "123"},
        {"mode": Mode.X},
        {"mode": Mode.AXYB, "a": BEFORE, "y_on_demand": True, "y_pool": ride.y_pool.id},
    ]
    for x, wanted in zip(xs, modes, strict=True):
        made = await world.bindings.reserve(ride.customer.id, Reservation(x=x, **wanted))
        if wanted.get("y_on_demand"):
            assert await world.bindings.give_y(made.id, A) is not None
    assert pool.id


async def _calls(world: World, ride: Ride, binding: Binding) -> None:
    seen = {"caller": A, "callee": B, "dialled": binding.y, "displayed": binding.x, "binding_id": binding.id}
    async with journal_of(world.database, world.vault) as journal:
        await talking(journal, ride.customer.id, **seen)
        await ended(journal, ride.customer.id, record=True, **seen)
        await ended(journal, None, caller=None, callee=None)


async def _sip_messages(world: World, ride: Ride, binding: Binding) -> None:
    """What an edge sends of a call, with everybody's number in it, and the call's path."""
    settings = Settings()
    settings.trace.sip, settings.trace.listen = True, f"127.0.0.1:{free_ports('127.0.0.1', 1)[0]}"
    async with journal_of(world.database, world.vault) as journal:
        call = await talking(journal, ride.customer.id, caller=A, callee=B, binding_id=binding.id)
        await journal.write([CallTraced(call, f"d6:result9:ok of {A}e".encode())])
    keeping = Keeping(world.database, world.vault, settings)
    keeping.start()
    assert keeping.listener is not None
    key = kamailio.hep_key(world.vault).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as edge:
        edge.connect(host_port(settings.trace.listen))
        for kind, payload in (
            (hep.LOG, b"caller@side"),
            (
                hep.SIP,
                f"INVITE sip:{B} SIP/2.0\r\nCall-ID: caller@side\r\nFrom: <sip:{A}@a>\r\n\r\n".encode(),
            ),
            (hep.SIP, f"INVITE sip:{BEFORE} SIP/2.0\r\nCall-ID: {call.id}\r\nTo: {OTHER}\r\n\r\n".encode()),
        ):
            ends = ("127.0.0.1", 1, "127.0.0.1", 2)
            packet = hep.Packet(world.clock(), kind, "udp", *ends, key, call.id.encode(), payload)
            edge.send(hep.write(packet))
    for _ in range(3000):
        if keeping.listener.counts()[0] == 2:
            break
        await asyncio.sleep(0.01)
    assert await keeping.write_due(everything=True) == 2
    await keeping.close()


async def _questions(world: World, binding: Binding) -> None:
    audit = Audit(world.database, world.vault, world.clock)
    lookups = Lookups(world.database, world.vault, audit, world.clock)
    await lookups.person(OPERATOR, A)
    await lookups.pair(OPERATOR, A, B)
    await lookups.number(OPERATOR, binding.x, None, 10)
    reason = f"the owner of {B} complains"
    await lookups.evidence(OPERATOR, binding.x, world.clock(), 60, reason, B, None, 10)


async def _an_idempotent_answer(world: World, ride: Ride) -> None:

    async def run() -> JSONResponse:
        return JSONResponse({"a": A, "b": B}, 201)

    keys = Idempotency(world.database, world.vault)
    await keys.once(ride.customer.id, f"order-{A}", (b"POST", b"/v1/bindings", A.encode()), run)


async def _texts_with_numbers(world: World, live: Binding) -> None:
    """What people write down although they were asked not to."""
    said = f"{A} is angry"
    await world.numbers.suspend(live.x, Reason.OPERATOR, None, "key_operator", said)
    await world.numbers.resume(live.x, "key_operator", said)
    await world.verifications.submit_number(live.x, (said,))
    await world.complaints.add(live.x, Source.OPERATOR, None, said)


async def _whatever_is_left(world: World) -> None:
    for secrets in secrets_of():
        table = secrets.table
        async with world.database.begin() as connection:
            if not (await connection.execute(select(func.count()).select_from(table))).scalar_one():
                row = {column.name: _some(column) for column in table.columns if not column.nullable}
                row.pop("seq", None)
                row |= {name: world.vault.seal(OTHER) for name in row if name.endswith("_sealed")}
                await connection.execute(insert(table).values(**row))
            for sealed, index in secrets.columns:
                values: dict[str, Any] = {sealed: world.vault.seal(OTHER)}
                if index is not None:
                    values[index] = world.vault.index(OTHER)
                query = select(func.count()).select_from(table).where(table.c[sealed].is_not(None))
                if not (await connection.execute(query)).scalar_one():
                    key = next(iter(table.primary_key.columns))
                    first = select(func.min(key)).scalar_subquery()
                    await connection.execute(update(table).where(key == first).values(**values))


def _some(column: Any) -> Any:
    if isinstance(column.type, Boolean):
        return False
    if isinstance(column.type, BigInteger | Integer):
        return 1
    return b"" if isinstance(column.type, LargeBinary) else f"some {column.name}"
