"""Asking real endpoints that behave in every bad way: within the deadline, with a word for each."""

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from xiaohao.outgoing.network import Network
from xiaohao.routing.asking import Asked, Desk
from xiaohao.routing.breaker import FAILURES, State
from xiaohao.routing.fairness import Places
from xiaohao.routing.model import Connect, Terms, Verdict

SECRET = "whsec_" + "YSBzZWNyZXQgb2YgdGhlIHJvdXRpbmcgdGVzdHM="
GOOD = {"action": "connect", "callee": "+8613900000002"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def good(_: web.Request) -> web.StreamResponse:
    return web.json_response(GOOD)


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def too_slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0.35)
    return web.json_response(GOOD)


async def drips(request: web.Request) -> web.StreamResponse:
    """Headers at once, and the body never."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"action": ')
    await asyncio.sleep(30)
    return response


async def huge(_: web.Request) -> web.StreamResponse:
    return web.json_response({**GOOD, "user_data": "x" * 1_000_000})


def answers(status: int = 200, text: str = "", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return handler


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@asynccontextmanager
async def desk_of(*handlers: Handler, deadline_ms: int = 300, **options: Any) -> AsyncIterator[Desk]:
    """A customer with one or two URLs."""
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(handler)) for handler in handlers]
        network = Network(allow_private=True)
        terms = Terms(SECRET, urls[0], (urls[1:] or [None])[0], deadline_ms=deadline_ms)
        desk = Desk("cus_1", terms, network, Places(100), **options)
        yield desk
        desk.close()
        network.close()


async def ask(desk: Desk, budget_s: float = 2.0) -> Asked:
    return await desk.ask("rtq_1", "{}", budget_s)


@pytest.mark.parametrize(
    ("handler", "verdict", "problem", "at_fault"),
    [
        (hangs, Verdict.NO_ANSWER, "no answer in time", True),
        (too_slow, Verdict.NO_ANSWER, "no answer in time", True),
        (drips, Verdict.NO_ANSWER, "no answer in time", True),
        (huge, Verdict.NOT_UNDERSTOOD, "the answer is too long", False),
        (answers(text="<html>hello"), Verdict.NOT_UNDERSTOOD, "the text is not JSON", False),
        (answers(204), Verdict.NOT_UNDERSTOOD, "the text is not JSON", False),
        (answers(500), Verdict.BAD_STATUS, "HTTP 500", True),
        (answers(429), Verdict.BAD_STATUS, "HTTP 429", True),
        (answers(404), Verdict.BAD_STATUS, "HTTP 404", False),
        (answers(302, Location="http://127.0.0.1:1/"), Verdict.BAD_STATUS,
         "HTTP 302, and redirects are not followed", False),
    ],
)  # fmt: skip
async def test_an_endpoint_that_is_of_no_use(
    handler: Handler, verdict: Verdict, problem: str, at_fault: bool
) -> None:
    async with desk_of(handler) as desk:
        asked = await ask(desk)
        assert asked.answer is None
        assert asked.last is not None
        assert (asked.verdict, asked.last.problem, asked.last.is_at_fault) == (verdict, problem, at_fault)
        assert desk.states()["first"].in_doubt == at_fault


async def test_nobody_listens_and_no_http() -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    network = Network(allow_private=True)
    async with await asyncio.start_server(garbage, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        desk = Desk("cus_1", Terms(SECRET, f"http://127.0.0.1:{port}/"), network, Places(1))
        assert (await ask(desk)).verdict in (Verdict.NOT_UNDERSTOOD, Verdict.NO_CONNECTION)
    desk = Desk("cus_1", Terms(SECRET, f"http://127.0.0.1:{port}/"), network, Places(1))
    assert (await ask(desk)).verdict is Verdict.NO_CONNECTION
    network.close()


async def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    command = [
        "openssl",
        *["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"],
        *files,
    ]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    network = Network(allow_private=True)
    async with serving(good, tls) as url:
        asked = await ask(Desk("cus_1", Terms(SECRET, url, deadline_ms=1500), network, Places(1)))
    network.close()
    assert asked.verdict is Verdict.NO_CONNECTION
    assert asked.last is not None
    assert str(asked.last.problem).startswith("TLS")


async def test_a_private_address_is_not_asked() -> None:
    async with serving(good) as url:
        network = Network(allow_private=False)
        asked = await ask(Desk("cus_1", Terms(SECRET, url), network, Places(1)))
        network.close()
    assert asked.last is not None
    assert "not public" in str(asked.last.problem)


@pytest.mark.parametrize("first", [hangs, answers(500), answers(text="?")])
async def test_the_second_url_answers_where_the_first_does_not(first: Handler) -> None:
    async with desk_of(first, good, deadline_ms=2000) as desk:
        asked = await ask(desk)
        assert asked.answer == Connect("+8613900000002")
        assert asked.last is not None
        assert asked.last.url == "second"
        waited = asked.took_ms >= 1000
        assert waited == (first is hangs)
        assert desk.states()["second"].state(time.monotonic()) is State.CLOSED


async def test_a_first_url_that_answers_late_still_counts() -> None:
    async def late(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.2)
        return web.json_response(GOOD)

    async with desk_of(late, hangs, deadline_ms=2000) as desk:
        asked = await ask(desk)
        assert asked.last is not None
        assert (asked.verdict, asked.last.url) == (Verdict.ANSWERED, "first")


async def test_the_breaker_opens_and_closes() -> None:
    clock, works = [1000.0], [False]

    async def sometimes(_: web.Request) -> web.StreamResponse:
        return web.json_response(GOOD) if works[0] else web.Response(status=503)

    async with desk_of(sometimes, deadline_ms=2000, clock=lambda: clock[0]) as desk:
        verdicts = [(await ask(desk)).verdict for _ in range(FAILURES + 2)]
        assert verdicts == [Verdict.BAD_STATUS] * FAILURES + [Verdict.BREAKER_OPEN] * 2
        works[0] = True
        clock[0] += 2.5
        assert [(await ask(desk)).verdict for _ in range(2)] == [Verdict.ANSWERED] * 2


async def test_who_gives_up_asking_leaves_the_place_to_the_next_one() -> None:
    """A caller who waits hangs up while the breaker tries whether the URL answers again."""
    clock, works = [1000.0], [False]

    async def sometimes(_: web.Request) -> web.StreamResponse:
        if not works[0]:
            await asyncio.sleep(30)
        return web.json_response(GOOD)

    async with desk_of(sometimes, deadline_ms=100, clock=lambda: clock[0]) as desk:
        assert {(await ask(desk)).verdict for _ in range(FAILURES)} == {Verdict.NO_ANSWER}
        clock[0] += 2.5
        trial = asyncio.ensure_future(ask(desk))
        await asyncio.sleep(0.02)
        trial.cancel()
        await asyncio.wait({trial})
        works[0] = True
        assert (await ask(desk)).verdict is Verdict.ANSWERED


async def test_a_hundred_who_hang_and_one_who_answers() -> None:
    """The one's questions go through, while the others wait or are turned away."""
    network, places = Network(allow_private=True), Places(150)
    async with serving(hangs) as dead, serving(good) as alive:
        hanging = [
            Desk(f"dead{n}", Terms(SECRET, dead, deadline_ms=400), network, places) for n in range(100)
        ]
        for _ in range(2):
            waiting = [asyncio.ensure_future(ask(desk)) for desk in hanging]
            await asyncio.gather(*waiting)
        waiting = [asyncio.ensure_future(ask(desk)) for desk in hanging for _ in range(3)]
        await asyncio.sleep(0.05)
        assert places.total <= 38
        one = Desk("alive", Terms(SECRET, alive, deadline_ms=5000), network, places)
        assert (await ask(one, 5.0)).verdict is Verdict.ANSWERED
        verdicts = {(await asked).verdict for asked in waiting}
        assert verdicts == {Verdict.NO_ANSWER, Verdict.TOO_MANY}
    network.close()


async def test_the_budget_of_the_call_is_shorter_than_the_deadline() -> None:
    async with desk_of(hangs, deadline_ms=5000) as desk:
        began = time.monotonic()
        assert (await ask(desk, 0.2)).verdict is Verdict.NO_ANSWER
        assert time.monotonic() - began < 4
