"""A carrier's first word comes when nobody waits for it any more: no phone rings or talks for nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from .bare import End, Exchange, Line, Socket, exchange, header, sdp
from .conftest import Theatre

#: the edge gives a silent trunk up after this, and forgets the caller's INVITE some seconds later
SILENCE_S = 3
FORGOTTEN_S = 13
SPEC = {"probe": False, "carrier": "slow"}


@asynccontextmanager
async def next_trunk(theatre: Theatre) -> AsyncIterator[Socket]:
    """Another trunk of the same carrier: calls go on there."""
    async with Socket("127.0.0.183", theatre.stage.sip) as after:
        trunk = await theatre.stage.add_trunk(f"after {after.address[1]}", after.address, **SPEC)
        await theatre.trunks_in_force()
        try:
            yield after
        finally:
            await theatre.disable_trunk(trunk)
            await theatre.trunks_in_force()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bare(theatre: Theatre) -> AsyncIterator[Exchange]:
    async with exchange(theatre, "127.0.0.181", "127.0.0.182", **SPEC) as opened:
        yield opened


async def given_up(bare: Exchange) -> tuple[Line, str]:
    """A call whose caller has heard 408 of the platform's, and the INVITE that is not answered yet."""
    line = await bare.line()
    line.invite()
    invite = await line.arrive()
    refusal = await line.near.socket.next("SIP/2.0 4", 8, holding=line.near.call_id)
    assert refusal.startswith("SIP/2.0 408")
    return line, invite


@pytest.mark.parametrize(
    ("word", "after_s"), [("100 Trying", 0.5), ("180 Ringing", 0.5), ("180 Ringing", FORGOTTEN_S - SILENCE_S)]
)
async def test_a_late_provisional_reply_is_answered_by_cancel(
    bare: Exchange, after_s: float, word: str
) -> None:
    line, invite = await given_up(bare)
    await asyncio.sleep(after_s)
    line.far.reply(invite, word)
    cancel = await line.far.socket.next("CANCEL", holding=line.far.call_id)
    assert cancel.split()[1] == invite.split()[1]
    for name in ("Via", "From", "To", "Call-ID"):
        assert header(cancel, name) == header(invite, name)
    assert header(cancel, "CSeq").split() == [header(invite, "CSeq").split()[0], "CANCEL"]
    line.far.reply(cancel, "200 OK")
    line.far.reply(invite, "487 Request Terminated")
    ack = await line.far.socket.next("ACK", holding=line.far.call_id)
    assert header(ack, "Via") == header(invite, "Via")
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["sip_code"], cdr["answered_at"]) == ("trunk_failure", 408, None)


@pytest.mark.parametrize("after_s", [0.5, FORGOTTEN_S - SILENCE_S])
async def test_a_late_answer_is_taken_and_hung_up(bare: Exchange, after_s: float) -> None:
    line, invite = await given_up(bare)
    await asyncio.sleep(after_s)
    line.far.reply(invite, "200 OK", content=sdp(line.far.socket.host))
    ack = await line.far.socket.next("ACK", holding=line.far.call_id)
    bye = await line.far.socket.next("BYE", holding=line.far.call_id)
    for message in (ack, bye):
        assert message.split()[1] == line.far.contact.strip("<>")
        assert header(message, "From") == header(invite, "From")
        assert header(message, "To") == line.far.ours
    line.far.reply(bye, "200 OK")
    assert await line.near.socket.none("SIP/2.0 200", holding=line.near.call_id)
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["sip_code"], cdr["answered_at"]) == ("trunk_failure", 408, None)


async def test_a_late_refusal_is_acknowledged_and_changes_nothing(bare: Exchange) -> None:
    line, invite = await given_up(bare)
    line.far.reply(invite, "486 Busy Here")
    ack = await line.far.socket.next("ACK", holding=line.far.call_id)
    assert header(ack, "Via") == header(invite, "Via")
    assert header(ack, "To") == line.far.ours
    cdr = await line.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["sip_code"]) == ("trunk_failure", "platform", 408)


@pytest.mark.parametrize("word", ["180 Ringing", "200 OK"])
@pytest.mark.parametrize("connects", [True, False])
async def test_a_late_word_while_the_next_trunk_is_tried(bare: Exchange, word: str, connects: bool) -> None:
    """The call goes on over the next trunk, or ends as that says."""
    async with next_trunk(bare.theatre) as after:
        line = await bare.line()
        line.invite()
        invite = await line.arrive()
        again = await after.next("INVITE", 8, holding=line.far.number)
        line.far.reply(invite, word, content=sdp(line.far.socket.host) if word[0] == "2" else "")
        for method in ("ACK", "BYE") if word[0] == "2" else ("CANCEL",):
            await line.far.socket.next(method, holding=line.far.call_id)
        callee = End(after, line.far.number)
        callee.take(again)
        if not connects:
            callee.reply(again, "503 Service Unavailable")
            await line.near.socket.next("SIP/2.0 503", holding=line.near.call_id)
            cdr = await line.cdr()
            assert (cdr["reason"], cdr["sip_code"], cdr["answered_at"]) == ("trunk_failure", 503, None)
            return
        callee.reply(again, "180 Ringing")
        await line.near.socket.next("SIP/2.0 180", holding=line.near.call_id)
        callee.reply(again, "200 OK", content=sdp(after.host))
        line.near.follow(await line.near.socket.next("SIP/2.0 200", holding=line.near.call_id))
        line.near.request("ACK", cseq=line.near.cseq)
        await after.next("ACK", holding=callee.call_id)
        line.near.request("BYE")
        callee.reply(await after.next("BYE", holding=callee.call_id), "200 OK")
        assert (await line.cdr())["reason"] == "caller_hung_up"


async def test_a_late_word_after_the_caller_gave_up(bare: Exchange) -> None:
    line = await bare.line()
    sent = line.invite()
    invite = await line.arrive()
    line.near.socket.send(sent.replace("INVITE sip:", "CANCEL sip:").replace("1 INVITE", "1 CANCEL"))
    await line.near.socket.next("SIP/2.0 487", 8, holding=line.near.call_id)
    await asyncio.sleep(FORGOTTEN_S - SILENCE_S)
    line.far.reply(invite, "180 Ringing")
    await line.far.socket.next("CANCEL", holding=line.far.call_id)
    assert (await line.cdr())["reason"] == "caller_cancelled"
