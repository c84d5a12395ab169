"""The two dialogs of a call as RFC 3261 section 12 wants each: routes, targets, sequence numbers, races."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator

import pytest_asyncio

from .bare import End, Exchange, answer, exchange, header, headers, sdp, split
from .conftest import Theatre


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bare(theatre: Theatre) -> AsyncIterator[Exchange]:
    async with exchange(theatre, "127.0.0.23", "127.0.0.24") as opened:
        yield opened


def at(end: End, user: str) -> str:
    """Another Contact at the same socket."""
    return f"<sip:{user}@{end.socket.address[0]}:{end.socket.address[1]}>"


async def test_proxies_on_both_sides_stay_on_the_way(bare: Exchange) -> None:
    """Record-Route makes a route set for each side, in its own order (RFC 3261 sections 12.1.1, 12.1.2)."""
    line = await bare.line()
    near, far = line.near, line.far
    host, port = near.socket.address
    caller_proxies = [f"<sip:{host}:{port};lr;p={n}>" for n in (2, 1)]
    line.invite(extra="".join(f"Record-Route: {route}\r\n" for route in caller_proxies))
    host, port = far.socket.address
    callee_proxies = [f"<sip:{host}:{port};lr;p={n}>" for n in (9, 8, 7)]
    recorded = (
        f"Record-Route: {callee_proxies[0]}, {callee_proxies[1]}\r\nRecord-Route: {callee_proxies[2]}\r\n"
    )
    invite, ok = await line.answered(extra=recorded)
    assert headers(invite, "Record-Route") == []
    assert split(headers(ok, "Record-Route")) == caller_proxies
    bye_to_callee = near.request("BYE")
    assert split(headers(bye_to_callee, "Route")) == caller_proxies[::-1]
    bye = await far.socket.next("BYE", holding=far.call_id)
    assert split(headers(bye, "Route")) == callee_proxies[::-1]
    far.reply(bye, "200 OK")
    await near.socket.next("SIP/2.0 200")

    again = await bare.line()
    again.invite(extra="".join(f"Record-Route: {route}\r\n" for route in caller_proxies))
    await again.answered(extra=recorded)
    again.far.request("BYE")
    bye = await again.near.socket.next("BYE", holding=again.near.call_id)
    assert split(headers(bye, "Route")) == caller_proxies
    again.near.reply(bye, "200 OK")


async def test_contacts_move_with_requests_and_replies(bare: Exchange) -> None:
    """re-INVITE and UPDATE, and the 2xx to them, tell where a side is now (RFC 3261 section 12.2)."""
    line = await bare.line()
    near, far = line.near, line.far
    line.invite()
    await line.answered()
    near.request("INVITE", content=sdp(near.socket.host), contact=at(near, "near-moved"))
    again = await far.socket.next("INVITE")
    far.reply(again, "200 OK", extra=f"Contact: {at(far, 'far-moved')}\r\n", content=sdp(far.socket.host))
    near.follow(await near.socket.next("SIP/2.0 200"))
    near.request("ACK", cseq=near.cseq)
    assert (await far.socket.next("ACK")).startswith("ACK sip:far-moved@")
    far.request("UPDATE", contact=at(far, "far-elsewhere"))
    update = await near.socket.next("UPDATE")
    assert update.startswith("UPDATE sip:near-moved@")
    near.reply(update, "200 OK", extra=f"Contact: {at(near, 'near-elsewhere')}\r\n")
    await far.socket.next("SIP/2.0 200")
    far.request("INFO", content="5", kind="application/dtmf")
    info = await near.socket.next("INFO")
    assert info.startswith("INFO sip:near-elsewhere@")
    near.reply(info, "200 OK")
    assert (await line.hang_up()).startswith("BYE sip:far-elsewhere@")


async def test_late_ringing_of_another_phone(bare: Exchange) -> None:
    """A 183 that comes after the answer, of another phone: neither the caller nor the dialog takes notice."""
    line = await bare.line()
    line.invite()
    invite, _ = await line.answered()
    answering, line.far.ours = line.far.ours, line.far.ours + "other"
    line.far.reply(invite, "183 Session Progress", content=sdp(line.far.socket.host, 9100))
    assert await line.near.socket.none("SIP/2.0 18")
    line.far.ours = answering
    assert header(await line.hang_up(), "To") == answering


async def test_two_phones_answer(bare: Exchange) -> None:
    """The caller sends the second one home (RFC 3261 section 13.2.2.4); the call goes on with the first."""
    line = await bare.line()
    near, far = line.near, line.far
    line.invite()
    invite, _ = await line.answered()
    second = End(far.socket, far.number, far.call_id, f"{far.ours}second", far.theirs, far.target)
    second.reply(invite, "200 OK", content=sdp(far.socket.host, 9200))
    stray = End(near.socket, near.number, near.call_id, near.ours, cseq=near.cseq)
    stray.follow(await near.socket.next("SIP/2.0 200"))
    assert stray.theirs != near.theirs
    stray.request("ACK", cseq=stray.cseq)
    assert header(await far.socket.next("ACK"), "To") == second.ours
    stray.request("BYE")
    bye = await far.socket.next("BYE", holding=far.call_id)
    assert header(bye, "To") == second.ours
    second.reply(bye, "200 OK")
    await near.socket.next("SIP/2.0 200")
    near.cseq = stray.cseq
    assert header(await line.hang_up(), "To") == far.ours
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["ended_by"]) == ("caller_hung_up", "caller")


async def test_answer_repeated_until_acknowledged(bare: Exchange) -> None:
    """A 200 whose ACK was lost is passed on again and acknowledged again, seconds later too."""
    line = await bare.line()
    line.invite()
    invite, _ = await line.answered()
    await asyncio.sleep(6)
    line.far.reply(invite, "200 OK", content=sdp(line.far.socket.host))
    await line.near.socket.next("SIP/2.0 200")
    line.near.request("ACK", cseq=1)
    assert header(await line.far.socket.next("ACK"), "CSeq") == "1 ACK"
    await line.hang_up()


async def test_hanging_up_is_said_again_and_again(bare: Exchange) -> None:
    """The network is away for some seconds: a BYE comes all the same, a party's and the platform's."""
    line, ended = await bare.line(), await bare.line()
    for each in (line, ended):
        each.invite()
        await each.answered()
    line.near.request("BYE")
    call = await ended.theatre.live(ended.binding_id)
    await ended.theatre.customer.request("POST", f"/v1/calls/{call['call_id']}/hang-up")
    sides = {line.far.call_id: line.far, ended.far.call_id: ended.far, ended.near.call_id: ended.near}
    await asyncio.sleep(3.3)
    for side in sides.values():
        side.socket._taken = len(side.socket.inbox)
    for call_id, side in sides.items():
        side.reply(await side.socket.next("BYE", 30, holding=call_id), "200 OK")
        if side is line.far:
            assert await line.near.socket.next("SIP/2.0 200", holding=f"{line.near.cseq} BYE")
    for side in sides.values():
        side.socket._taken = len(side.socket.inbox)  # what came twice is not for the next test


async def test_cancel_crosses_the_answer(bare: Exchange) -> None:
    """CANCEL comes when the 200 is on its way: it has no effect, the caller ends the call with BYE."""
    line = await bare.line()
    sent = line.invite()
    await line.answered()
    cancel = sent.replace("INVITE sip:", "CANCEL sip:").replace("1 INVITE", "1 CANCEL")
    line.near.socket.send(cancel.partition("Content-Type")[0] + "Content-Length: 0\r\n\r\n")
    assert "CANCEL" in header(await line.near.socket.next("SIP/2.0 200"), "CSeq")
    assert await line.far.socket.none("CANCEL")
    await line.hang_up()
    assert (await line.cdr())["reason"] == "caller_hung_up"


async def test_longer_session_interval_is_settled_with_the_callee(bare: Exchange) -> None:
    """422 asks for more (RFC 4028 section 7.3): the edge tries again by itself, and counts on from there."""
    line = await bare.line()
    near, far = line.near, line.far
    line.invite(extra="Supported: timer, 100rel\r\nSession-Expires: 90;refresher=uac\r\n")
    far.reply(await line.arrive(), "422 Session Interval Too Small", extra="Min-SE: 1800;x=y\r\n")
    invite = await line.arrive()
    assert header(invite, "CSeq") == "2 INVITE"
    assert (header(invite, "Session-Expires"), header(invite, "Min-SE")) == ("1800;refresher=uac", "1800")
    far.reply(
        invite, "183 Session Progress", extra="Require: 100rel\r\nRSeq: 5\r\n", content=sdp(far.socket.host)
    )
    ringing = await near.socket.next("SIP/2.0 183")
    assert header(ringing, "CSeq") == "1 INVITE"
    near.follow(ringing)
    near.request("PRACK", extra="RAck: 5 1 INVITE\r\n")
    prack = await far.socket.next("PRACK")
    assert (header(prack, "RAck"), header(prack, "CSeq")) == ("5 2 INVITE", "3 PRACK")
    far.reply(prack, "200 OK")
    assert header(await near.socket.next("SIP/2.0 200"), "CSeq") == "2 PRACK"
    far.reply(invite, "200 OK", extra="Session-Expires: 1800;refresher=uac\r\nRequire: timer\r\n")
    ok = await near.socket.next("SIP/2.0 200")
    assert (header(ok, "Session-Expires"), header(ok, "CSeq")) == ("1800;refresher=uac", "1 INVITE")
    near.request("ACK", cseq=1)
    assert header(await far.socket.next("ACK"), "CSeq") == "2 ACK"
    assert header(await line.hang_up(), "CSeq") == "4 BYE"
    await line.cdr()


async def test_refresh_that_is_too_short(bare: Exchange) -> None:
    """In a call the 422 and its Min-SE reach whoever asked."""
    line = await bare.line()
    line.invite()
    await line.answered()
    line.far.request("UPDATE", extra="Session-Expires: 60\r\nSupported: timer\r\n")
    update = await line.near.socket.next("UPDATE")
    line.near.reply(update, "422 Session Interval Too Small", extra="Min-SE: 900\r\n")
    assert header(await line.far.socket.next("SIP/2.0 422"), "Min-SE") == "900"
    await line.hang_up()


async def test_strange_tags_and_call_ids(bare: Exchange) -> None:
    """A request that only looks as if it belonged to a call gets 481, whoever sends it."""
    line = await bare.line()
    line.invite()
    await line.answered()
    near, far = line.near, line.far
    for end, wrong in (
        (near, {"call_id": "other"}),
        (near, {"ours": near.ours + "x"}),
        (near, {"theirs": near.theirs + "x"}),
        (far, {"call_id": "other"}),
        (far, {"ours": far.ours + "x"}),
        (far, {"theirs": far.theirs + "x"}),
        (far, {"target": far.target.replace(".b@", ".a@")}),
        (near, {"target": near.target.replace(".a@", ".b@")}),
        (near, {"target": near.target.replace("sip:", "sip:0")}),
    ):
        facts = {"call_id": end.call_id, "ours": end.ours, "theirs": end.theirs, "target": end.target} | wrong
        End(end.socket, end.number, cseq=50, **facts).request("BYE")
        await end.socket.next("SIP/2.0 481")
    assert await near.socket.none("BYE", 0.2, near.call_id)
    assert await far.socket.none("BYE", 0.2, far.call_id)
    await line.hang_up()


async def test_bye_before_the_answer(bare: Exchange) -> None:
    """A caller may end an early dialog with BYE in place of CANCEL (RFC 3261 section 15)."""
    line = await bare.line()
    line.invite()
    invite = await line.arrive()
    line.far.reply(invite, "180 Ringing")
    line.near.follow(await line.near.socket.next("SIP/2.0 180"))
    bye = await line.hang_up()
    assert header(bye, "To") == line.far.ours
    line.far.reply(invite, "487 Request Terminated")
    await line.near.socket.next("SIP/2.0 487")
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["answered_at"]) == ("caller_cancelled", "caller", None)


async def test_offers_before_the_answer(bare: Exchange) -> None:
    """UPDATE changes an early session from either side (RFC 3311 section 5.1)."""
    line = await bare.line()
    near, far = line.near, line.far
    line.invite(extra="Supported: 100rel\r\nAllow: UPDATE, PRACK\r\n")
    invite = await line.arrive()
    early = "Require: 100rel\r\nRSeq: 7\r\nAllow: UPDATE\r\n"
    far.reply(invite, "183 Session Progress", extra=early, content=sdp(far.socket.host))
    near.follow(await near.socket.next("SIP/2.0 183"))
    near.request("PRACK", extra="RAck: 7 1 INVITE\r\n")
    far.reply(await far.socket.next("PRACK"), "200 OK")
    await near.socket.next("SIP/2.0 200")
    for end, other in ((near, far), (far, near)):
        end.request("UPDATE", content=sdp(end.socket.host, 9800))
        update = await other.socket.next("UPDATE")
        assert "m=audio" in update
        other.reply(update, "200 OK", content=sdp(other.socket.host, 9900))
        assert "m=audio" in await end.socket.next("SIP/2.0 200")
    far.reply(invite, "200 OK")
    await near.socket.next("SIP/2.0 200", holding="CSeq: 1 INVITE")
    near.request("ACK", cseq=1)
    await far.socket.next("ACK")
    await line.hang_up()


async def test_invite_that_comes_twice(bare: Exchange) -> None:
    """A repeated INVITE is the same call, whether or not we have answered it."""
    line = await bare.line()
    sent = line.invite()
    line.near.socket.send(sent)
    invite = await line.arrive()
    line.near.socket.send(sent)
    line.far.reply(invite, "486 Busy Here")
    await line.near.socket.next("SIP/2.0 486")
    line.near.socket.send(sent)
    await line.near.socket.next("SIP/2.0 486")
    assert await line.none_arrives()
    await line.cdr()


async def test_cancel_before_the_decision(bare: Exchange) -> None:
    """The switch stands still, the caller gives up: 487 and one CDR, and nobody's phone rings afterwards."""
    line = await bare.line()
    switch = bare.theatre.stage.pid("switch")
    os.kill(switch, signal.SIGSTOP)
    try:
        sent = line.invite(content="")
        await line.near.socket.next("SIP/2.0 100")
        line.near.socket.send(sent.replace("INVITE sip:", "CANCEL sip:").replace("1 INVITE", "1 CANCEL"))
        await line.near.socket.next("SIP/2.0 487")
    finally:
        os.kill(switch, signal.SIGCONT)
    assert await line.none_arrives()
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("caller_cancelled", "caller", 487)


async def test_too_many_hops(bare: Exchange) -> None:
    """Max-Forwards counts on, and a request that has none left is refused (RFC 3261 section 16.3)."""
    line = await bare.line()
    line.near.socket.send(line.invite(content="").replace("z9hG4bK", "z9hG4bKh").replace("s: 70", "s: 0"))
    await line.near.socket.next("SIP/2.0 483")
    invite = await line.arrive()
    assert header(invite, "Max-Forwards") == "69"
    line.far.reply(invite, "486 Busy Here")
    await line.near.socket.next("SIP/2.0 486")


async def test_contacts_of_every_shape(bare: Exchange) -> None:
    """Parameters inside angle brackets belong to the URI, others do not (RFC 3261 section 20.10)."""
    line = await bare.line()
    near, far = line.near, line.far
    here, there = (f"{end.socket.address[0]}:{end.socket.address[1]}" for end in (near, far))
    line.invite(contact=f'"A, B" <sip:near;x=1@{here};ob;line="q">;expires=60;+sip.instance="<urn:uuid:1>"')
    invite = await line.arrive()
    far.reply(
        invite, "200 OK", extra=f"Contact: sip:far@{there};expires=60\r\n", content=sdp(far.socket.host)
    )
    near.follow(await near.socket.next("SIP/2.0 200"))
    near.request("ACK", cseq=1)
    assert (await far.socket.next("ACK")).startswith(f"ACK sip:far@{there} SIP/2.0")
    far.request("BYE")
    bye = await near.socket.next("BYE", holding=near.call_id)
    assert bye.startswith(f'BYE sip:near;x=1@{here};ob;line="q" SIP/2.0')
    near.reply(bye, "200 OK")
    await far.socket.next("SIP/2.0 200")


async def test_replies_without_a_contact(bare: Exchange) -> None:
    """Ringing without Contact leads to the target that was called; an INVITE without one is refused."""
    line = await bare.line()
    line.near.socket.send(
        re.sub("Contact:.*\r\n", "", line.invite(content="")).replace("z9hG4bK", "z9hG4bKc")
    )
    await line.near.socket.next("SIP/2.0 400")
    invite = await line.arrive()
    ringing = re.sub("Contact:.*\r\n", "", answer(invite, "180 Ringing", tag="early"))
    line.far.socket.send(ringing)
    line.near.theirs = header(await line.near.socket.next("SIP/2.0 180"), "To")
    line.far.ours = header(ringing, "To")
    line.far.reply(invite, "200 OK", content=sdp(line.far.socket.host))
    line.near.follow(await line.near.socket.next("SIP/2.0 200"))
    line.near.request("ACK", cseq=1)
    await line.far.socket.next("ACK")
    await line.hang_up()
