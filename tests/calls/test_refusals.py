"""Calls that the platform does not connect: a SIP refusal, one CDR, the customer's events, no connection."""

import asyncio
from typing import Any

import pytest

from xiaohao.clock import now_us, rfc3339
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.spelling import Spelling

from .conftest import Pair, Theatre


async def refused(
    theatre: Theatre, call: OutgoingCall, code: int, cause: int, sent: tuple[int, int] | None = None
) -> None:
    """The call ends with this code and cause, without any sign of ringing or media, and nobody is called.

    `sent`: so many messages had passed at each carrier before; without it, those until now.
    """
    sent = sent or (len(theatre.mobile.messages), len(theatre.city.messages))
    await call.wait_ended()
    assert (call.final_code, call.reason_header) == (code, f"Q.850;cause={cause}")
    assert call.provisional_codes == []
    assert call.rtp_stats.packets_received == 0
    await asyncio.sleep(0.1)
    for carrier, before in zip((theatre.mobile, theatre.city), sent, strict=True):
        later = list(carrier.messages)[before - 1 :]
        assert not [m for m in later if m.direction == "in" and m.raw.startswith(b"INVITE")]


async def recorded(
    theatre: Theatre, dialled: str, reason: str, code: int, cause: int, *, events: bool
) -> dict[str, Any]:
    """The newest CDR of this number, as the operator sees it, and the customer's events about it."""
    for _ in range(300):
        found = (await theatre.stage.request("GET", "/v1/cdrs?limit=5"))["items"]
        mine = [cdr for cdr in found if cdr["dialled"] == dialled]
        if mine and mine[0]["reason"] == reason:  # one of a call before may be there already
            break
        await asyncio.sleep(0.1)
    cdr = mine[0]
    assert (cdr["reason"], cdr["ended_by"]) == (reason, "platform")
    assert (cdr["sip_code"], cdr["q850_cause"]) == (code, cause)
    assert (cdr["ringing_at"], cdr["answered_at"], cdr["talk_ms"]) == (None, None, 0)
    assert cdr["recording"] is None
    assert cdr["tries"] == []
    if events:
        await theatre.endpoint.wait_for("cdr.created", cdr["call_id"])
        told = [delivery for delivery in theatre.endpoint.accepted if delivery.call_id == cdr["call_id"]]
        assert [delivery.kind for delivery in told] == ["call.received", "call.ended", "cdr.created"]
        assert told[1].document["data"]["reason"] == reason
        assert cdr["customer_id"] == theatre.customer.id
    else:
        assert cdr["customer_id"] is None
        await asyncio.sleep(0.3)
        assert not [delivery for delivery in theatre.endpoint.events if delivery.call_id == cdr["call_id"]]
    return dict(cdr)


async def test_unknown_caller(theatre: Theatre) -> None:
    """Somebody who has no binding dials a number of the platform's."""
    pair = await theatre.pair()
    stranger = theatre.city.add_phone("+8613712340001", 400)
    await refused(theatre, await stranger.call(pair.y), 403, 21)
    cdr = await recorded(theatre, pair.y, "unknown_caller", 403, 21, events=True)
    assert (cdr["caller"], cdr["callee"], cdr["binding_id"]) == (stranger.number, None, None)


async def test_unknown_number(theatre: Theatre) -> None:
    """A number that nobody has: nobody's customer is told, and it may be a person's, so that it is masked."""
    pair = await theatre.pair()
    began = rfc3339(now_us())
    await refused(theatre, await pair.driver.call("+8613566660000"), 404, 1)
    cdr = await recorded(theatre, "135****0000", "unknown_number", 404, 1, events=False)
    found = await theatre.stage.request("GET", f"/v1/cdrs?number=%2B8613566660000&since={began}")
    assert [one["call_id"] for one in found["items"]] == [cdr["call_id"]]
    theatre.numbers.add("+8613566660000")


@pytest.mark.parametrize("dialled", ["abc", "12", "*100%23", "+999", "1" * 30, "sos", "%00%FF"])
async def test_garbage_for_a_number(theatre: Theatre, dialled: str) -> None:
    """What is no telephone number at all is refused like one that nobody has."""
    pair = await theatre.pair()
    await refused(theatre, await pair.driver.call(dialled), 404, 1)


async def test_expired_binding(theatre: Theatre) -> None:
    """The binding's time is over."""
    pair = await theatre.pair(expires_in_s=1)
    await asyncio.sleep(1.1)
    await refused(theatre, await pair.driver.call(pair.y), 410, 22)
    cdr = await recorded(theatre, pair.y, "binding_expired", 410, 22, events=True)
    assert cdr["binding_id"] == pair.binding["id"]


async def test_released_binding(theatre: Theatre) -> None:
    """The customer has deleted the binding: the numbers rest, and lead to nobody."""
    pair = await theatre.pair()
    await theatre.customer.request("DELETE", f"/v1/bindings/{pair.binding['id']}")
    await refused(theatre, await pair.driver.call(pair.y), 410, 22)
    await recorded(theatre, pair.y, "binding_expired", 410, 22, events=True)


@pytest.mark.parametrize("which", ["dialled", "displayed"])
async def test_suspended_number(theatre: Theatre, which: str) -> None:
    """Neither a suspended number that is dialled connects, nor one that would be displayed."""
    pair = await theatre.pair()
    number = pair.y if which == "dialled" else pair.x
    await theatre.stage.request("POST", f"/v1/numbers/{number}/suspend")
    try:
        await refused(theatre, await pair.driver.call(pair.y), 404, 1)
        await recorded(theatre, pair.y, "number_not_in_service", 404, 1, events=True)
    finally:
        await theatre.stage.request("POST", f"/v1/numbers/{number}/resume")


async def test_suspended_customer(theatre: Theatre) -> None:
    """A suspended customer's calls do not connect until the customer is resumed."""
    pair = await theatre.pair()
    path = f"/v1/customers/{theatre.customer.id}"
    await theatre.stage.request("PATCH", path, {"state": "suspended"})
    try:
        await refused(theatre, await pair.driver.call(pair.y), 403, 21)
    finally:
        await theatre.stage.request("PATCH", path, {"state": "active"})
    await recorded(theatre, pair.y, "customer_suspended", 403, 21, events=True)
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    await call.hang_up()


@pytest.mark.parametrize(
    "options",
    [
        {"withhold": True},
        {"headers": {"Privacy": "id"}},
        {"headers": {"Privacy": "user;critical"}},
        {"headers": {"From": "<sip:anonymous@anonymous.invalid>;tag=a"}},
        {"headers": {"From": "<sip:192.0.2.1>;tag=a"}},
        {"headers": {"From": '"Unknown" <sip:unknown@unknown.invalid>;tag=a'}},
        {"headers": {"From": "<tel:+1>;tag=a"}},
    ],
)
async def test_withheld_number(theatre: Theatre, options: dict[str, Any]) -> None:
    """Without a caller's number nobody can be recognised (RFC 5079)."""
    pair = await theatre.pair()
    await refused(theatre, await pair.driver.call(pair.y, **options), 433, 21)
    cdr = await recorded(theatre, pair.y, "caller_withheld", 433, 21, events=True)
    assert cdr["caller"] is None


async def test_dialling_ones_own_number(theatre: Theatre) -> None:
    """A driver who dials their own X reaches nobody: the key of X is the passenger's."""
    pair = await theatre.pair()
    await refused(theatre, await pair.driver.call(pair.x), 403, 21)
    await recorded(theatre, pair.x, "unknown_caller", 403, 21, events=True)


async def _connects(pair: Pair, caller: Any, dialled: str) -> None:
    call = await caller.call(dialled)
    await call.wait_answered()
    await call.hang_up()


@pytest.mark.parametrize("form", list(Spelling))
async def test_every_spelling_of_a_carrier(theatre: Theatre, form: Spelling) -> None:
    """Callers and dialled numbers are recognised however a carrier writes them, a mobile and a landline."""
    pair = await theatre.pair()
    kept, theatre.city.number_form = theatre.city.number_form, form
    try:
        driver = theatre.city.add_phone(pair.driver.number, 400)
        await _connects(pair, driver, pair.y)
        passenger = theatre.city.phones[pair.passenger.number]
        await _connects(pair, passenger, pair.x)
    finally:
        theatre.city.number_form = kept
    cdrs = await pair.cdrs(2)
    assert [(cdr["caller"], cdr["dialled"]) for cdr in cdrs] == [
        (pair.driver.number, pair.y),
        (pair.passenger.number, pair.x),
    ]


async def test_telephone_uris(theatre: Theatre) -> None:
    """A caller may be named by a tel URI (RFC 3966), with its separators and parameters."""
    pair = await theatre.pair()
    number = pair.driver.number
    written = f"<tel:{number[:3]}-{number[3:6]}-{number[6:10]}-{number[10:]};phone-context=x>;tag=t"
    call = await pair.driver.call(pair.y, headers={"From": written})
    await call.wait_answered()
    await call.hang_up()
    assert (await pair.cdr())["caller"] == number


@pytest.mark.parametrize("header", ["P-Asserted-Identity", "Remote-Party-ID"])
async def test_number_in_another_header(theatre: Theatre, header: str) -> None:
    """A trunk that names callers in PAI or RPID is read there; From may say anything."""
    pair = await theatre.pair()
    path = f"/v1/trunks/{theatre.mobile_trunk}"
    trunk = await theatre.stage.request("GET", path)
    kind = "pai" if header.startswith("P") else "rpid"
    body = {"name": trunk["name"], "state": "active", "spec": trunk["spec"] | {"cli_header_in": kind}}
    await theatre.stage.request("PUT", path, body)
    await theatre.trunks_in_force()
    theatre.mobile.cli_header = kind
    try:
        await _connects(pair, pair.driver, pair.y)
        assert (await pair.cdr())["caller"] == pair.driver.number
        withheld = f"<sip:{pair.driver.number}@{theatre.mobile.host}>;party=calling;privacy=full"
        if kind == "rpid":
            await refused(theatre, await pair.driver.call(pair.y, headers={header: withheld}), 433, 21)
    finally:
        theatre.mobile.cli_header = "from"
        await theatre.stage.request("PUT", path, body | {"spec": trunk["spec"]})
        await theatre.trunks_in_force()
