"""More calls than an operator allows a second: a few are refused with a CDR, the rest at the least cost."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from xiaohao.simulator.stage import Stage

from .bare import Socket, header, sdp

HOST = "127.0.0.21"
ALLOWED = 10


@pytest_asyncio.fixture(loop_scope="session")
async def narrow(tmp_path: Path) -> AsyncIterator[Stage]:
    """A platform that takes few calls a second, and says nothing to whom it refuses."""
    quiet = {"on": False}
    async with Stage(tmp_path / "narrow", edge={"calls_per_second": ALLOWED}, announcements=quiet) as stage:
        await stage.add_trunk("carrier", (HOST, 5060), probe=False)
        await asyncio.sleep(1.5)
        yield stage


def invite(socket: Socket, number: int, cseq: int = 1) -> str:
    """A call of somebody's to a number that is nobody's."""
    offer = sdp(HOST)
    host, port = socket.address
    return (
        f"INVITE sip:+861069990001@{socket.edge[0]}:{socket.edge[1]} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bKmany{number}.{cseq}\r\n"
        f"From: <sip:+8613800000001@{host}>;tag=many{number}\r\nTo: <sip:+861069990001@{host}>\r\n"
        f"Call-ID: many{number}@{host}\r\nCSeq: {cseq} INVITE\r\nContact: <sip:{host}:{port}>\r\n"
        f"Max-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: {len(offer)}\r\n\r\n{offer}"
    )


def final(socket: Socket) -> dict[str, str]:
    """The first final answer to each call."""
    answers: dict[str, str] = {}
    for message in socket.inbox:
        if not message.startswith("SIP/2.0 1"):
            answers.setdefault(header(message, "Call-ID"), message)
    return answers


async def test_too_many_calls_are_refused_at_once(narrow: Stage) -> None:
    """Sixty at once: those allowed are decided, the others hear 503 and when to come back."""
    async with Socket(HOST, narrow.sip) as socket:
        for number in range(60):
            socket.send(invite(socket, number))
        for _ in range(50):
            if len(final(socket)) == 60:
                break
            await asyncio.sleep(0.1)
        answers = final(socket)
        refused = {call_id: text for call_id, text in answers.items() if text.startswith("SIP/2.0 503 ")}
        decided = [text for text in answers.values() if text.startswith("SIP/2.0 404 ")]
        assert len(refused) + len(decided) == 60
        # the sixty may have come in two or three different seconds
        assert ALLOWED <= len(decided) <= 3 * ALLOWED
        assert all(header(text, "Retry-After") == "2" for text in refused.values())
        assert all(header(text, "Reason") == "Q.850;cause=42" for text in refused.values())

        # the last one, of which nothing was kept, is sent again in a quieter second: still no call
        last = list(refused)[-1]
        await asyncio.sleep(1.2)
        socket.inbox.clear()
        socket._taken = 0
        socket.send(invite(socket, int(re.findall(r"\d+", last)[0])))
        again = await socket.next("SIP/2.0 ")
        assert again.startswith("SIP/2.0 503 ")
        assert header(again, "Call-ID") == last

        # whoever waits and tries again with the same Call-ID comes through (RFC 3261 section 8.1.3.5)
        socket.send(invite(socket, int(re.findall(r"\d+", last)[0]), cseq=2))
        assert (await socket.next("SIP/2.0 4")).startswith("SIP/2.0 404 ")

        await asyncio.sleep(1.5)
        cdrs = (await narrow.request("GET", "/v1/cdrs?limit=200"))["items"]
        told = [cdr for cdr in cdrs if cdr["reason"] == "overload"]
        assert len([cdr for cdr in cdrs if cdr["reason"] == "unknown_number"]) == len(decided) + 1
        assert 0 < len(told) < len(refused)
        assert all((cdr["sip_code"], cdr["q850_cause"]) == (503, 42) for cdr in told)
        counted = re.findall(r'"calls": (\d+)', "".join(turned_away(narrow)))
        assert sum(map(int, counted)) == len(refused) - len(told)


async def test_memory_runs_out(tmp_path: Path) -> None:
    """The edge has too little memory for so many calls: they are refused in time, and taken again later."""
    async with Stage(tmp_path / "small", edge={"shared_memory_mb": 24}) as stage:
        await stage.add_trunk("carrier", (HOST, 5060), probe=False)
        await asyncio.sleep(1.5)
        async with Socket(HOST, stage.sip) as socket:
            sent = 0
            while sent < 6000 and not any(message.startswith("SIP/2.0 503 ") for message in socket.inbox):
                for _ in range(50):
                    sent += 1
                    socket.send(invite(socket, sent))
                    await asyncio.sleep(0.003)
            for _ in range(200):
                if len(final(socket)) == sent:
                    break
                await asyncio.sleep(0.1)
            answers = list(final(socket).values())
            assert len(answers) == sent
            refused = [text for text in answers if text.startswith("SIP/2.0 503 ")]
            assert refused
            assert all(header(text, "Retry-After") == "2" for text in refused)
            assert {text.split()[1] for text in answers} == {"404", "503"}
            for attempt in range(30):
                await asyncio.sleep(1)
                socket.send(invite(socket, 7000 + attempt))
                await asyncio.sleep(0.3)
                if [text for text in list(final(socket).values())[-1:] if text.startswith("SIP/2.0 404 ")]:
                    break
            else:
                raise AssertionError("calls are still refused half a minute later")
        assert "could not allocate" not in stage.log("kamailio")


def turned_away(stage: Stage) -> list[str]:
    """What the switch says of calls that it never saw."""
    return [line for line in stage.log("switch").splitlines() if "calls_turned_away" in line]
