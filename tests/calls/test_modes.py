"""Every mode and every reason that comes with them, by real calls over the real engines."""

import asyncio
import itertools
import random
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone

from .conftest import Theatre
from .crowd import kill, until_ready
from .searcher import leaks, received, secrets_of
from .test_refusals import recorded, refused

LEAKY = Behaviour(leaky_headers=True)
#: digits that are not found by accident
_dice = random.Random(31)
_tones = itertools.cycle(range(320, 1000, 40))


class Person:
    """Somebody whose phone is at either carrier: an X is shown over `mobile`, a Y over `city`.

    The two of a call are at different carriers, so that an address of the one's is not the other's own.
    """

    def __init__(self, theatre: Theatre, number: str | None = None) -> None:
        self.number = number or f"+861{_dice.choice((35, 87))}{_dice.randrange(10**7, 10**8)}"
        self.tone_hz = next(_tones)
        self.city = theatre.city.add_phone(self.number, self.tone_hz, behaviour=LEAKY)
        self.mobile = theatre.mobile.add_phone(self.number, self.tone_hz, behaviour=LEAKY)


class Couple:
    """Two of them, bound to each other in mode AXYB."""

    def __init__(self, theatre: Theatre) -> None:
        self.a, self.b = Person(theatre), Person(theatre)
        self.x = self.y = self.id = ""

    async def bind(self, theatre: Theatre, **terms: Any) -> dict[str, Any]:
        pools = {"x_pool": theatre.x_pool, "y_pool": theatre.y_pool}
        body = {"a": self.a.number, "b": self.b.number, **pools, **terms}
        binding = dict(await theatre.customer.request("POST", "/v1/bindings", body))
        self.x, self.y, self.id = binding["x"], binding["y"], binding["id"]
        return binding


async def couple(theatre: Theatre, **terms: Any) -> Couple:
    made = Couple(theatre)
    await made.bind(theatre, **terms)
    return made


async def bind(theatre: Theatre, mode: str, **terms: Any) -> dict[str, Any]:
    """A binding whose X comes from the pool of X: it is shown over `mobile`."""
    body = {"mode": mode, "x_pool": theatre.x_pool, **terms}
    return dict(await theatre.customer.request("POST", "/v1/bindings", body))


async def patch(theatre: Theatre, binding: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return dict(await theatre.customer.request("PATCH", f"/v1/bindings/{binding['id']}", changes))


async def connect(
    caller: Phone, dialled: str, callee: Phone, **options: Any
) -> tuple[OutgoingCall, IncomingCall]:
    """The caller dials, the callee answers, and each hears the other."""
    call = await caller.call(dialled, **options)
    other = await callee.next_call()
    await call.wait_answered()
    assert await call.wait_heard(callee.tone_hz)
    assert await other.wait_heard(caller.tone_hz)
    return call, other


async def talk(caller: Phone, dialled: str, callee: Phone, display: str, **options: Any) -> None:
    """The same, with this number on the display, and nothing of one side in what reaches the other."""
    call, other = await connect(caller, dialled, callee, **options)
    assert other.display == display
    await call.hang_up()
    await other.wait_ended()
    for one, far in ((call, other), (other, call)):
        assert received([one])
        assert leaks([one], secrets_of([far])) == []


async def is_refused(theatre: Theatre, call: OutgoingCall, dialled: str, reason: str) -> dict[str, Any]:
    codes = {
        "binding_expired": (410, 22),
        "direction_not_allowed": (403, 21),
        "caller_from_abroad": (403, 21),
        "display_not_allowed": (403, 29),
        "number_not_verified": (403, 29),
        "no_last_caller": (404, 1),
        "no_y_free": (480, 31),
        "extension_needed": (484, 28),
        "extension_unknown": (404, 1),
        "routing_missing": (480, 31),
        "caller_withheld": (433, 21),
        "loop": (482, 25),
    }
    await refused(theatre, call, *codes[reason])
    for _ in range(300):  # the newest record of this number may still be that of an earlier call
        found = (await theatre.stage.request("GET", "/v1/cdrs?limit=5"))["items"]
        if next((cdr["reason"] for cdr in found if cdr["dialled"] == dialled), None) == reason:
            break
        await asyncio.sleep(0.1)
    return await recorded(theatre, dialled, reason, *codes[reason], events=True)


async def test_axb(theatre: Theatre) -> None:
    """Both dial the same number and see it."""
    a, b, stranger = Person(theatre), Person(theatre), Person(theatre)
    binding = await bind(theatre, "axb", a=a.number, b=b.number)
    x = binding["x"]
    assert (binding["dial"], binding["y"]) == (x, None)
    await talk(a.city, x, b.mobile, x)
    await talk(b.city, x, a.mobile, x)
    await refused(theatre, await stranger.city.call(x), 403, 21)


async def test_ax(theatre: Theatre) -> None:
    """Whoever dials X reaches A; A reaches who called last."""
    a, first, second = Person(theatre), Person(theatre), Person(theatre)
    binding = await bind(theatre, "ax", a=a.number)
    x = binding["x"]
    await is_refused(theatre, await a.city.call(x), x, "no_last_caller")
    await talk(first.city, x, a.mobile, x)
    await talk(second.city, x, a.mobile, x)
    await talk(a.city, x, second.mobile, x)
    # one who hides their number gets through, but cannot be called back
    call = await first.city.call(x, withhold=True)
    other = await a.mobile.next_call()
    assert other.display == x
    await call.wait_answered()
    await call.hang_up()
    await other.wait_ended()
    await asyncio.sleep(0.2)
    await is_refused(theatre, await a.city.call(x), x, "no_last_caller")
    # A's phone forwards calls to X: that would go round for ever
    forwarded = theatre.city.add_phone(x, 400)
    await is_refused(theatre, await forwarded.call(x), x, "loop")
    del theatre.city.phones[x]  # it is nobody's real number
    # A names somebody
    await patch(theatre, binding, b=first.number)
    await talk(a.city, x, first.mobile, x)


async def test_the_last_caller_is_known_when_the_switch_was_killed(theatre: Theatre) -> None:
    """What A is to be called back by is on the disk, and no call waited for it."""
    a, b = Person(theatre), Person(theatre)
    x = (await bind(theatre, "ax", a=a.number))["x"]
    call, other = await connect(b.city, x, a.mobile)
    await until_ready(theatre.stage, kill(theatre.stage, "switch"))
    await call.hang_up()
    await other.wait_ended()
    await talk(a.city, x, b.mobile, x)


async def test_axe(theatre: Theatre) -> None:
    """Several people behind one X: who dials the extension with it is connected."""
    a, b, caller = Person(theatre), Person(theatre), Person(theatre)
    first = await bind(theatre, "axe", a=a.number, extension="1234")
    second = await bind(theatre, "axe", a=b.number, extension="7")
    x = first["x"]
    assert second["x"] == x
    await talk(caller.city, f"{x}1234", a.mobile, x)
    await talk(caller.city, f"{x}7", b.mobile, x, withhold=True)
    cdr = await is_refused(theatre, await caller.city.call(x), x, "extension_needed")
    assert cdr["binding_id"] is None
    await is_refused(theatre, await caller.city.call(f"{x}99"), x, "extension_unknown")
    await refused(theatre, await caller.city.call(f"{x}1234567"), 404, 1)
    await theatre.customer.request("DELETE", f"/v1/bindings/{first['id']}")
    await is_refused(theatre, await caller.city.call(f"{x}1234"), x, "binding_expired")


async def test_x(theatre: Theatre) -> None:
    """Calls that the customer will route wait for that."""
    caller = Person(theatre)
    binding = await bind(theatre, "x")
    cdr = await is_refused(theatre, await caller.city.call(binding["x"]), binding["x"], "routing_missing")
    assert cdr["binding_id"] == binding["id"]


async def on_demand(theatre: Theatre, a: Person, **terms: Any) -> dict[str, Any]:
    return await bind(theatre, "axyb", a=a.number, y_on_demand=True, y_pool=theatre.y_pool, **terms)


async def test_a_stranger_is_given_a_y_by_calling(theatre: Theatre) -> None:
    """B dials X for the first time: A sees a Y, calls it back, and it stays B's."""
    a, b = Person(theatre), Person(theatre)
    parent = await on_demand(theatre, a)
    x = parent["x"]
    call, other = await connect(b.mobile, x, a.city)
    y = str(other.display)
    assert y.startswith("+861062")
    await call.hang_up()
    await other.wait_ended()
    assert leaks([call], secrets_of([other])) == []
    assert leaks([other], secrets_of([call])) == []
    await talk(a.city, y, b.mobile, x)
    await talk(b.mobile, x, a.city, y)
    (child,) = (await theatre.customer.request("GET", f"/v1/bindings?parent_id={parent['id']}"))["items"]
    assert (child["a"], child["b"], child["x"], child["y"]) == (a.number, b.number, x, y)
    assert len(await theatre.until_cdrs(f"/v1/cdrs?binding_id={child['id']}", 3)) == 3
    # their time is over: b is as welcome as any stranger, and found again where A has them in the call log
    await theatre.customer.request("DELETE", f"/v1/bindings/{child['id']}")
    await talk(b.mobile, x, a.city, y)
    await is_refused(theatre, await b.city.call(x, withhold=True), x, "caller_withheld")
    await is_refused(theatre, await a.city.call(x), x, "loop")
    await theatre.customer.request("DELETE", f"/v1/bindings/{parent['id']}")
    await is_refused(theatre, await b.city.call(x), x, "binding_expired")
    await is_refused(theatre, await a.city.call(y), y, "binding_expired")


async def test_there_is_no_y_left(theatre: Theatre) -> None:
    a, b, c = Person(theatre), Person(theatre), Person(theatre)
    pool = await theatre.stage.add_pool("one", theatre.customer)
    await theatre.stage.add_numbers([f"+86106201{_dice.randrange(10**4):04}"], theatre.city_trunk, pool)
    parent = await bind(theatre, "axyb", a=a.number, y_on_demand=True, y_pool=pool)
    x = parent["x"]
    calls = [await person.mobile.call(x) for person in (b, c)]
    other = await a.city.next_call()
    await asyncio.sleep(0.5)
    (winner,) = [call for call in calls if call.final_code != 480]
    await winner.hang_up()
    await other.wait_ended()
    loser = b if winner is calls[1] else c
    await is_refused(theatre, await loser.mobile.call(x), x, "no_y_free")


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
async def test_direction(theatre: Theatre, direction: str) -> None:
    two = await couple(theatre, direction=direction)
    if direction == "a_to_b":
        await is_refused(theatre, await two.b.mobile.call(two.x), two.x, "direction_not_allowed")
        await talk(two.a.city, two.y, two.b.mobile, two.x)
    else:
        await is_refused(theatre, await two.a.city.call(two.y), two.y, "direction_not_allowed")
        await talk(two.b.mobile, two.x, two.a.city, two.y)


async def test_grace(theatre: Theatre) -> None:
    """Something was left in the car: for a while the pair still reaches each other, and it is marked."""
    x_pool, y_pool = [
        str((await theatre.stage.request("POST", "/v1/pools", body))["id"])
        for body in (
            {"name": "x", "recycle_s": 600, "grace_s": 2, "customer_id": theatre.customer.id},
            {"name": "y", "recycle_s": 600, "grace_s": 2, "customer_id": theatre.customer.id},
        )
    ]
    await theatre.stage.add_numbers([f"+86170001{_dice.randrange(10**5):05}"], theatre.mobile_trunk, x_pool)
    await theatre.stage.add_numbers([f"+86106202{_dice.randrange(10**4):04}"], theatre.city_trunk, y_pool)
    two = await couple(theatre, x_pool=x_pool, y_pool=y_pool)
    await theatre.customer.request("DELETE", f"/v1/bindings/{two.id}")
    await talk(two.a.city, two.y, two.b.mobile, two.x)
    (cdr,) = await theatre.until_cdrs(f"/v1/cdrs?binding_id={two.id}", 1)
    assert cdr["in_grace"] is True
    told = await theatre.endpoint.wait_for("cdr.created", cdr["call_id"])
    assert told.document["data"]["in_grace"] is True
    await asyncio.sleep(1.5)
    await is_refused(theatre, await two.a.city.call(two.y), two.y, "binding_expired")


async def test_b_changes_their_number_during_a_call(theatre: Theatre) -> None:
    """The call goes on; the old number reaches nobody, the new one reaches A, with X and Y as they were."""
    two, new_b = Couple(theatre), Person(theatre)
    binding = await two.bind(theatre)
    call, other = await connect(two.a.city, two.y, two.b.mobile)
    await patch(theatre, binding, b=new_b.number)
    assert await call.wait_heard(two.b.tone_hz)
    await call.hang_up()
    await other.wait_ended()
    await is_refused(theatre, await two.b.mobile.call(two.x), two.x, "binding_expired")
    await talk(two.a.city, two.y, new_b.mobile, two.x)
    await talk(new_b.mobile, two.x, two.a.city, two.y)


async def test_x_and_y_change_during_a_call(theatre: Theatre) -> None:
    """The call goes on; the old numbers are recognised and over, the new ones join the same two."""
    two = Couple(theatre)
    binding = await two.bind(theatre)
    call, other = await connect(two.a.city, two.y, two.b.mobile)
    new = await patch(theatre, binding, instead_of_x=two.x, instead_of_y=two.y)
    assert {new["x"], new["y"]}.isdisjoint({two.x, two.y})
    assert await call.wait_heard(two.b.tone_hz)
    await call.hang_up()
    await other.wait_ended()
    await is_refused(theatre, await two.b.mobile.call(two.x), two.x, "binding_expired")
    await is_refused(theatre, await two.a.city.call(two.y), two.y, "binding_expired")
    await talk(two.a.city, new["y"], two.b.mobile, new["x"])
    await talk(two.b.mobile, new["x"], two.a.city, new["y"])


@pytest.mark.parametrize("hang_up", ["true", "false"])
async def test_releasing_with_and_without_hanging_up(theatre: Theatre, hang_up: str) -> None:
    two = await couple(theatre)
    call, other = await connect(two.a.city, two.y, two.b.mobile)
    await theatre.customer.request("DELETE", f"/v1/bindings/{two.id}?hang_up={hang_up}")
    if hang_up == "true":
        await call.wait_ended()
    else:
        await asyncio.sleep(0.6)
        assert await call.wait_heard(two.b.tone_hz)
        await call.hang_up()
    await other.wait_ended()
    (cdr,) = await theatre.until_cdrs(f"/v1/cdrs?binding_id={two.id}", 1)
    assert cdr["reason"] == ("platform_hung_up" if hang_up == "true" else "caller_hung_up")


def set_number(theatre: Theatre, number: str, **values: Any) -> None:
    """What the inventory says of a number, without waiting for its state's own ways."""
    path = theatre.stage.settings.database.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=5)) as database, database:
        for name, value in values.items():
            database.execute(f"UPDATE numbers SET {name} = ? WHERE number = ?", (value, number))


async def test_a_number_that_is_only_dialled(theatre: Theatre) -> None:
    """B dials a 400 number to reach A, and sees another one when A calls."""
    two = await couple(theatre)
    shown = "+8617000000299"
    set_number(theatre, two.x, displayable=False)
    await is_refused(theatre, await two.a.city.call(two.y), two.y, "display_not_allowed")
    set_number(theatre, two.x, displayed_as=shown)
    await talk(two.a.city, two.y, two.b.mobile, shown)
    cdrs = await theatre.until_cdrs(f"/v1/cdrs?binding_id={two.id}", 2)
    assert [cdr["displayed"] for cdr in cdrs] == [None, shown]


async def test_a_number_whose_verification_is_over(theatre: Theatre) -> None:
    two = await couple(theatre)
    set_number(theatre, two.x, verification="verified", verified_until=1)
    await is_refused(theatre, await two.a.city.call(two.y), two.y, "number_not_verified")
    set_number(theatre, two.x, verified_until=None)
    await talk(two.a.city, two.y, two.b.mobile, two.x)


async def test_a_number_that_is_not_dialled_from_abroad(theatre: Theatre) -> None:
    a, abroad = Person(theatre), Person(theatre, "+85223456789")
    x = (await bind(theatre, "ax", a=a.number))["x"]
    await talk(abroad.city, x, a.mobile, x)
    set_number(theatre, x, dialled_by="domestic")
    await is_refused(theatre, await abroad.city.call(x), x, "caller_from_abroad")


async def test_a_number_that_rests_knows_its_people(theatre: Theatre) -> None:
    """The state in which an X waits for its next person: late callers are told that it is over."""
    two, stranger = await couple(theatre), Person(theatre)
    await theatre.customer.request("DELETE", f"/v1/bindings/{two.id}")
    set_number(theatre, two.x, state="ageing")
    await is_refused(theatre, await two.b.mobile.call(two.x), two.x, "binding_expired")
    await refused(theatre, await stranger.city.call(two.x), 403, 21)
