"""What passes of single messages, and what does not: written and read byte by byte at both ends."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .bare import Exchange, answer, body, exchange, header, headers
from .conftest import Theatre
from .searcher import Secrets, search

#: what one side says of itself where it should not
MARK = "+8613572468019 of Geheimrat at 192.0.2.77"
MARKS = Secrets({"name": b"Geheimrat", "host": b"192.0.2.77"}, numbers=["+8613572468019"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bare(theatre: Theatre) -> AsyncIterator[Exchange]:
    async with exchange(theatre, "127.0.0.21", "127.0.0.22") as opened:
        theatre.numbers |= set(MARKS.numbers)
        yield opened


def clean(*messages: str) -> bool:
    """Whether nothing of what is marked is in these messages."""
    found = [finding for message in messages for finding in search(message.encode(), MARKS, message[:20])]
    assert found == []
    return True


async def test_call_between_bare_ends(bare: Exchange) -> None:
    """The tools of this file make a call and its CDR."""
    line = await bare.line()
    line.invite()
    invite, ok = await line.answered()
    assert header(invite, "From").startswith("<sip:+861709")
    assert header(ok, "Call-ID") == line.near.call_id
    await line.hang_up()
    assert (await line.cdr())["reason"] == "caller_hung_up"


async def test_unknown_headers_end_here(bare: Exchange) -> None:
    """Headers that are not on the list do not pass, in either direction; those on it pass in our words."""
    extra = (
        f"Supported: timer;x={MARK}, {MARK},100rel\r\nAllow: INVITE, {MARK}, UPDATE\r\nX-Me: {MARK}\r\n"
        f"Session-Expires: 1800;refresher=uac;x={MARK}\r\nMin-SE: 90;x={MARK}\r\n"
        f"Content-Disposition: {MARK}\r\n"
        f"Accept: {MARK}\r\nContent-Language: {MARK}\r\nInfo-Package: {MARK}\r\nDate: {MARK}\r\n"
        f"Timestamp: 5 {MARK}\r\nHistory-Info: <sip:{MARK}>\r\nProxy-Require: {MARK}\r\n"
    )
    line = await bare.line()
    line.invite(extra=extra)
    back = (
        f"Supported: {MARK}\r\nServer: {MARK}\r\nContent-Type: application/sdp;x={MARK}\r\nAllow: {MARK}\r\n"
    )
    invite, ok = await line.answered(
        extra=f"Unsupported: {MARK}\r\nWarning: 399 {MARK}\r\nSupported: 100rel, {MARK}\r\n"
    )
    assert clean(invite, ok)
    assert header(invite, "Supported") == "100rel"
    assert header(invite, "Session-Expires") == "1800;refresher=uac"
    assert header(invite, "Min-SE") == "90"
    assert header(invite, "Allow") == "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"
    assert header(ok, "Supported") == "100rel"
    line.near.request(
        "BYE", extra=f'Reason: SIP;cause=200\r\nReason: Q.850;cause=31;text="{MARK}"\r\nX-Me: {MARK}\r\n'
    )
    bye = await line.far.socket.next("BYE", holding=line.far.call_id)
    assert header(bye, "Reason") == "Q.850;cause=31"
    line.far.reply(bye, f"200 {MARK}", extra=back)
    done = await line.near.socket.next("SIP/2.0 200")
    assert clean(bye, done)
    assert (await line.cdr())["q850_cause"] == 31


async def test_compact_header_names(bare: Exchange) -> None:
    """The short names of RFC 3261 section 7.3.3 and RFC 4028 are the same headers."""
    line = await bare.line()
    line.invite(
        extra=f"k: timer\r\nx: 600\r\ns: {MARK}\r\no: {MARK}\r\nr: <sip:{MARK}>\r\nb: <sip:{MARK}>\r\n"
    )
    sent = line.near.socket
    invite, _ = await line.answered()
    assert clean(invite)
    assert header(invite, "Supported") == "timer"
    assert header(invite, "Session-Expires") == "600"
    await line.hang_up()
    assert sent.inbox


@pytest.mark.parametrize(
    "short",
    [("Via", "v"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("Contact", "m"), ("Content-Type", "c")],
)
async def test_compact_core_headers(bare: Exchange, short: tuple[str, str]) -> None:
    """A caller may write the headers of the dialog itself in their short form."""
    line = await bare.line()
    long = line.invite(content="")
    await line.near.socket.next("SIP/2.0 100")
    first = await line.arrive()
    line.far.reply(first, "486 Busy Here")
    await line.near.socket.next("SIP/2.0 486")
    again = long.replace(f"\r\n{short[0]}:", f"\r\n{short[1]}:").replace(
        line.near.call_id, line.near.call_id + "2"
    )
    again = again.replace("x\r\n", "y\r\n", 1)
    line.near.call_id += "2"
    line.near.socket.send(again)
    invite, ok = await line.answered()
    assert headers(invite, "Call-ID") == [line.far.call_id]
    assert len(headers(invite, "From") + headers(invite, "f")) == 1
    assert len(headers(ok, "Via") + headers(ok, "v")) == 1
    assert line.near.number[1:] not in invite
    assert line.near.socket.host not in invite
    await line.hang_up()


@pytest.mark.parametrize(
    "damage", [MARK, "Content-Type: text/plain", "Max-Forwards: 7", "CSeq: 5 INVITE", "l: 5"]
)
async def test_what_cannot_be_taken_apart_goes_nowhere(bare: Exchange, damage: str) -> None:
    """A line that is no header, or a header that may stand once and stands twice: nothing goes on."""
    line = await bare.line()
    line.invite(extra=f"{damage}\r\n")
    assert await line.none_arrives()
    assert await line.near.socket.none("SIP/2.0 1", 0.05)


async def test_damaged_replies_go_nowhere(bare: Exchange) -> None:
    """The same in a reply: it is as if it had not come."""
    line = await bare.line()
    line.invite()
    invite = await line.arrive()
    line.far.reply(invite, "183 Session Progress", extra=f"{MARK}\r\n")
    line.far.reply(invite, "180 Ringing", extra=f"Content-Type: a/b\r\nContent-Type: {MARK}\r\n")
    line.far.socket.send(answer(invite, "181 Ringing", tag="z").encode() + MARK.encode())
    assert await line.near.socket.none("SIP/2.0 18")
    line.far.reply(invite, "486 Busy Here")
    await line.near.socket.next("SIP/2.0 486")


async def test_replies_without_a_transaction(bare: Exchange) -> None:
    """A reply that nobody asked for is dropped and looks up no host name."""
    line = await bare.line()
    line.invite()
    invite, _ = await line.answered()
    await line.hang_up()
    forged = answer(invite, "200 OK", tag="x").replace("branch=z9hG4bK", "branch=z9hG4bKno")
    line.far.socket.send(forged)
    assert await line.near.socket.none("SIP/2.0 200")


async def test_unknown_extensions_are_refused(bare: Exchange) -> None:
    """Require asks for what we do not do: 420 names it (RFC 3261 section 8.2.2.3)."""
    line = await bare.line()
    line.invite(extra="Require: 100rel, precondition\r\n")
    refusal = await line.near.socket.next("SIP/2.0 420")
    assert header(refusal, "Unsupported") == "precondition"
    assert await line.none_arrives()


@pytest.mark.parametrize("name", ["Replaces", "Join"])
async def test_calls_are_not_taken_over(bare: Exchange, name: str) -> None:
    """RFC 3891 and RFC 3911: no call of another's is at hand here."""
    line = await bare.line()
    line.invite(extra=f"{name}: abc;to-tag=1;from-tag=2\r\n")
    assert await line.near.socket.next("SIP/2.0 481")
    assert await line.none_arrives()


async def test_methods_that_carry_anything_are_refused(bare: Exchange) -> None:
    """No transfer, no texts, no subscriptions: within a call and outside."""
    line = await bare.line()
    line.invite()
    await line.answered()
    for method in ("REFER", "MESSAGE", "NOTIFY", "SUBSCRIBE", "PUBLISH"):
        for end, other in ((line.near, line.far), (line.far, line.near)):
            end.request(
                method, extra=f"Refer-To: <sip:{MARK}>\r\nEvent: x\r\n", content=MARK, kind="text/plain"
            )
            refusal = await end.socket.next("SIP/2.0 4")
            assert refusal.startswith(("SIP/2.0 405", "SIP/2.0 415"))
            assert await other.socket.none(method, 0.1)
    await line.hang_up()


async def test_info_carries_keys_only(bare: Exchange) -> None:
    """DTMF passes in our own words; whatever else INFO may carry is refused."""
    line = await bare.line()
    line.invite()
    await line.answered()
    for text, kind, passed in (
        (
            f"Signal= 5\r\nDuration=250\r\nX-Me: {MARK}\r\n",
            "application/dtmf-relay",
            "Signal=5\r\nDuration=160\r\n",
        ),
        ("Signal=#\r\nDuration=250\r\n", "application/dtmf-relay;x=y", "Signal=#\r\nDuration=250\r\n"),
        ("Signal=10\r\nDuration=250\r\n", "application/dtmf-relay", "Signal=*\r\nDuration=250\r\n"),
        ("Signal=15\r\n", "application/dtmf-relay", "Signal=D\r\nDuration=160\r\n"),
        ("Signal=1\r\nDuration=100\r\n", "application/dtmf-relay", "Signal=1\r\nDuration=100\r\n"),
        ("7\r\n", "application/dtmf", "7\r\n"),
    ):
        line.far.request("INFO", content=text, kind=kind)
        info = await line.near.socket.next("INFO")
        assert body(info) == passed
        assert header(info, "Content-Type") == kind.partition(";")[0]
        line.near.reply(info, "200 OK")
        await line.far.socket.next("SIP/2.0 200")
    for text, kind in (
        (MARK, "text/plain"),
        (MARK, "application/dtmf-relay"),
        (f"5 {MARK}", "application/dtmf"),
    ):
        line.far.request("INFO", content=text, kind=kind)
        assert "dtmf-relay" in header(await line.far.socket.next("SIP/2.0 415"), "Accept")
    assert await line.near.socket.none("INFO")
    await line.hang_up()


async def test_very_long_headers(bare: Exchange) -> None:
    """What is too long to be kept is refused at once; what is merely long works."""
    line = await bare.line()
    line.invite(contact=f"<sip:{'x' * 3000}@127.0.0.21>")
    assert await line.near.socket.next("SIP/2.0 400")
    line.invite(
        contact=f"<sip:{'x' * 800}@127.0.0.21:{line.near.socket.address[1]}>",
        extra=f"X-Long: {'y' * 20000}\r\n",
    )
    await line.answered()
    line.far.request("BYE")
    bye = await line.near.socket.next("BYE", holding=line.near.call_id)
    assert "x" * 800 in bye
    line.near.reply(bye, "200 OK")
    await line.far.socket.next("SIP/2.0 200")
    assert (await line.cdr())["reason"] == "callee_hung_up"


async def test_longest_user_data(bare: Exchange) -> None:
    """A binding with as much as it may hold, in characters of three bytes, still makes a call and a CDR."""
    text = "密" * 2000
    line = await bare.line(user_data=text)
    line.invite()
    await line.answered()
    await line.hang_up()
    assert (await line.cdr())["user_data"] == text
