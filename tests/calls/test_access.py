"""Who gets in: passwords in both directions, TLS, and nothing for anybody else."""

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from xiaohao.edge.rpc import Rpc
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.stage import Stage

from .bare import End, exchange, header, sdp
from .conftest import Theatre

USER, PASSWORD = "branch-office", "a-b;c:d|^%$(x)"


@asynccontextmanager
async def password_trunk(theatre: Theatre) -> AsyncIterator[str]:
    """A trunk without addresses: whoever knows its user name and password may call."""
    spec = {"carrier": "office", "targets": [], "digest_in": {"username": USER, "password": PASSWORD}}
    made = await theatre.stage.request("POST", "/v1/trunks", {"name": "office", "spec": spec})
    await theatre.trunks_in_force()
    try:
        yield str(made["id"])
    finally:
        await theatre.stage.request("DELETE", f"/v1/trunks/{made['id']}")
        await theatre.trunks_in_force()


async def test_password_of_a_caller(theatre: Theatre) -> None:
    """The right password lets in, from an address that no trunk has; a wrong one does not."""
    edge = theatre.stage.sip
    async with (
        password_trunk(theatre) as trunk_id,
        Carrier("127.0.0.151", edge=edge, username=USER, password=PASSWORD) as office,
        Carrier("127.0.0.152", edge=edge, username=USER, password="guess") as guesser,
    ):
        pair = await theatre.pair()
        call = await office.add_phone(pair.driver.number, 400).call(pair.y)
        other = await pair.passenger.next_call()
        await call.wait_answered()
        assert await call.wait_heard(pair.passenger.tone_hz)
        refused = await guesser.add_phone(pair.driver.number, 400).call(pair.y)
        await refused.wait_ended()
        assert refused.final_code == 407
        # a change of any trunk gives the edge all passwords anew; who is in a call stays known
        await theatre.stage.add_trunk("another", ("127.0.0.59", 5060), probe=False)
        await theatre.trunks_in_force()
        assert await call.hold() == 200
        assert await call.hang_up() == 200
        await other.wait_ended()
        cdr = await pair.cdr()
        assert cdr["reason"] == "caller_hung_up"
        path = f"/v1/cdrs/{cdr['call_id']}"
        assert (await theatre.stage.request("GET", path))["trunk_in"] == trunk_id


async def test_guessing_passwords_is_stopped(theatre: Theatre) -> None:
    """After twenty wrong tries nothing from that address is answered any more."""
    async with password_trunk(theatre):
        guesser = Stranger(theatre.stage.sip, "127.0.0.153")
        for number in range(19):
            guess = (
                f'Digest username="{USER}", realm="xiaohao", nonce="1", uri="sip:x", response="{number:032x}"'
            )
            guesser.send(guesser.request("INVITE", number, guess, agent="Phone"))
        await asyncio.sleep(0.3)
        answers = guesser.received()
        assert len(answers) == 19
        assert all(answer.startswith(b"SIP/2.0 407") for answer in answers)
        for number in range(19, 40):
            guesser.send(guesser.request("INVITE", number, guess, agent="Phone"))
        guesser.send(guesser.request("INVITE", 40, agent="Phone"))
        await asyncio.sleep(0.3)
        assert guesser.received() == []
        guesser.close()


async def test_a_ban_ends(tmp_path: Path) -> None:
    """Whoever was banned is heard again after `edge.ban_s`, and banned again for the same."""
    async with Stage(tmp_path / "strict", edge={"ban_s": 2}) as stage:
        given = {"username": USER, "password": PASSWORD}
        spec = {"carrier": "office", "targets": [], "digest_in": given}
        await stage.request("POST", "/v1/trunks", {"name": "office", "spec": spec})
        await asyncio.sleep(1.5)
        stranger = Stranger(stage.sip, "127.0.0.65")
        for round_ in (0, 100):
            stranger.send(stranger.request("INVITE", round_, agent="Phone"))
            await asyncio.sleep(0.2)
            [answer] = stranger.received()
            assert answer.startswith(b"SIP/2.0 407")
            for number in range(20):
                stranger.send(stranger.request("REGISTER", round_ + 1 + number, agent="Phone"))
            await asyncio.sleep(0.2)
            stranger.send(stranger.request("INVITE", round_ + 50, agent="Phone"))
            await asyncio.sleep(0.2)
            assert stranger.received() == []
            await asyncio.sleep(3)
        stranger.close()


async def test_many_honest_calls_at_once(theatre: Theatre) -> None:
    """Thirty calls begin before any has shown its password: each is challenged, and nobody is banned."""
    edge = theatre.stage.sip
    async with (
        password_trunk(theatre),
        Carrier("127.0.0.62", edge=edge, username=USER, password=PASSWORD) as office,
    ):
        pairs = [await theatre.pair() for _ in range(30)]
        phones = [office.add_phone(pair.driver.number, 400) for pair in pairs]
        calls = await asyncio.gather(*(phone.call(pair.y) for phone, pair in zip(phones, pairs, strict=True)))
        await asyncio.gather(*(call.wait_answered(timeout=10) for call in calls))
        await asyncio.gather(*(call.hang_up() for call in calls))
        await asyncio.gather(*(pair.cdr() for pair in pairs))


async def test_a_call_outlives_what_is_known_of_its_caller(theatre: Theatre) -> None:
    """When the address is not remembered any more, BYE still ends the call: it knows the call's tags."""
    async with (
        password_trunk(theatre),
        Carrier("127.0.0.63", edge=theatre.stage.sip, username=USER, password=PASSWORD) as office,
    ):
        pair = await theatre.pair()
        call = await office.add_phone(pair.driver.number, 400).call(pair.y)
        other = await pair.passenger.next_call()
        await call.wait_answered()
        rpc = Rpc(theatre.stage.settings.edge.rpc)
        await rpc.call("htable.delete", "shown", "127.0.0.63")
        rpc.close()
        assert await call.hang_up() == 200
        await other.wait_ended()
        assert (await pair.cdr())["reason"] == "caller_hung_up"


def digest(given: str, method: str, password: str) -> str:
    """What the response of these credentials must be (RFC 2617 section 3.2.2)."""
    fact = dict(re.findall(r'(\w+)="?([^",]*)"?', given))

    def h(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    first = h(f"{fact['username']}:{fact['realm']}:{password}")
    second = h(f"{method}:{fact['uri']}")
    if "qop" in fact:
        return h(f"{first}:{fact['nonce']}:{fact['nc']}:{fact['cnonce']}:{fact['qop']}:{second}")
    return h(f"{first}:{fact['nonce']}:{second}")


async def challenged(end: End, request: str, code: int) -> str:
    """The far end wants credentials; gives the request as it comes again, with right ones."""
    method = request.partition(" ")[0]
    name, answer = ("WWW", "Authorization") if code == 401 else ("Proxy", "Proxy-Authorization")
    challenge = (
        f'{name}-Authenticate: Digest realm="carrier.example", nonce="n{code}", algorithm=MD5, qop="auth"\r\n'
    )
    end.reply(request, f"{code} Who Are You", extra=challenge)
    again = await end.socket.next(f"{method} ")
    given = header(again, answer)
    assert f'response="{digest(given, method, PASSWORD)}"' in given
    assert 'realm="carrier.example"' in given
    assert f'username="{USER}"' in given
    assert int(header(again, "CSeq").split()[0]) == int(header(request, "CSeq").split()[0]) + 1
    return again


@pytest.mark.parametrize("code", [401, 407])
async def test_password_of_ours(theatre: Theatre, code: int) -> None:
    """A carrier that challenges gets our password, at any time; the caller sees nothing of it."""
    password = {"digest_out": {"username": USER, "password": PASSWORD}}
    hosts = ("127.0.0.154", "127.0.0.55") if code == 401 else ("127.0.0.56", "127.0.0.57")
    async with exchange(theatre, *hosts, **password) as bare:
        line = await bare.line()
        near, far = line.near, line.far
        line.invite()
        invite = await challenged(far, await line.arrive(), code)
        far.take(invite)
        far.reply(invite, "200 OK", content=sdp(far.socket.host))
        ok = await near.socket.next("SIP/2.0 200")
        assert header(ok, "CSeq") == "1 INVITE"
        near.follow(ok)
        near.request("ACK", cseq=1)
        assert header(await far.socket.next("ACK"), "CSeq") == "2 ACK"

        near.request("INVITE", content=sdp(near.socket.host, 9400))
        again = await challenged(far, await far.socket.next("INVITE "), code)
        far.reply(again, "200 OK", content=sdp(far.socket.host, 9500))
        assert header(await near.socket.next("SIP/2.0 200"), "CSeq") == "2 INVITE"
        near.request("ACK", cseq=2)
        assert header(await far.socket.next("ACK"), "CSeq").split()[0] == header(again, "CSeq").split()[0]

        near.request("BYE")
        bye = await challenged(far, await far.socket.next("BYE "), code)
        far.reply(bye, "200 OK")
        assert header(await near.socket.next("SIP/2.0 200"), "CSeq") == "3 BYE"
        assert (await line.cdr())["reason"] == "caller_hung_up"
        assert not [
            message
            for message in near.socket.inbox
            if "Authenticate" in message or "Authorization" in message
        ]


async def test_password_that_the_carrier_does_not_take(theatre: Theatre) -> None:
    """One answer to a challenge, not more: then the trunk has failed."""
    password = {"digest_out": {"username": USER, "password": PASSWORD}}
    async with exchange(theatre, "127.0.0.58", "127.0.0.60", **password) as bare:
        line = await bare.line()
        line.invite()
        again = await challenged(line.far, await line.arrive(), 401)
        line.far.reply(
            again, "401 No", extra='WWW-Authenticate: Digest realm="carrier.example", nonce="x"\r\n'
        )
        refusal = await line.near.socket.next("SIP/2.0 5")
        assert refusal.startswith("SIP/2.0 503")
        assert (await line.cdr())["reason"] == "trunk_failure"


class Stranger:
    """A socket at an address that no trunk has."""

    def __init__(self, edge: tuple[str, int], host: str) -> None:
        self._edge = edge
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        self.host, self.port = self._socket.getsockname()

    def send(self, message: str | bytes) -> None:
        self._socket.sendto(message.encode() if isinstance(message, str) else message, self._edge)

    def received(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536))
            except BlockingIOError:
                return found

    def request(
        self, method: str, number: int, authorization: str = "", agent: str = "friendly-scanner"
    ) -> str:
        host, port = self._edge
        shown = f"Proxy-Authorization: {authorization}\r\n" if authorization else ""
        return (
            f"{method} sip:100@{host}:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bKs{number};rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:100@{self.host}>;tag=s{number}\r\nTo: <sip:100@{host}>\r\n"
            f"Call-ID: s{number}@{self.host}\r\nCSeq: 1 {method}\r\n"
            f"Contact: <sip:100@{self.host}:{self.port}>\r\n{shown}User-Agent: {agent}\r\n"
            "Content-Length: 0\r\n\r\n"
        )

    def close(self) -> None:
        self._socket.close()


async def test_strangers_get_no_answer_and_are_banned(theatre: Theatre) -> None:
    """What comes from an address that no trunk has: silence, and after twenty messages not even a look."""

    banned = "xiaohao_strangers_banned_total"
    before = await theatre.metric(banned)
    stranger = Stranger(theatre.stage.sip, "127.0.0.61")
    methods = (
        "OPTIONS",
        "REGISTER",
        "INVITE",
        "BYE",
        "CANCEL",
        "ACK",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "NONSENSE",
    )
    for number, method in enumerate(methods * 2):
        stranger.send(
            stranger.request(method, number, agent="VaxSIPUserAgent" if number % 2 else "friendly-scanner")
        )
    for garbage in (
        b"\0" * 64,
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"INVITE",
        b"\xff" * 9000,
    ):
        stranger.send(garbage)
    await asyncio.sleep(0.5)
    assert stranger.received() == []
    assert await theatre.metric(banned) == before + 1
    # a carrier that is added later is let in, ban or not
    async with Carrier("127.0.0.61", edge=theatre.stage.sip) as carrier:
        assert await asyncio.wait_for(_silence(carrier), 3)
        sources = ["127.0.0.61/255.255.255.255", "10.61.2.3/0.0.255.255"]
        trunk_id = await theatre.stage.add_trunk("late", carrier.address, sources=sources)
        await theatre.trunks_in_force()
        assert await carrier.ping() == 200
        await theatre.disable_trunk(trunk_id)
        assert not carrier.errors
    stranger.close()


async def _silence(carrier: Carrier) -> bool:
    ping = asyncio.ensure_future(carrier.ping())
    await asyncio.sleep(1)
    silent = not ping.done()
    ping.cancel()
    return silent


async def test_strangers_connections_are_closed(theatre: Theatre) -> None:
    """Over TCP a stranger's first request ends the connection without a word."""
    host, port = theatre.stage.sip
    reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.62", 0))
    writer.write(
        b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.62:9;branch=z9hG4bKt\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:a@b>\r\nCall-ID: t\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
