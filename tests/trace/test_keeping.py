"""SIP messages from the socket into the database and out of it again."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, insert, select

from tests.api.facts import a_call, ended, journal_of, talking
from xiaohao.audit.service import Audit
from xiaohao.calls.journal import CallTraced
from xiaohao.calls.model import Mark
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.database.trace_tables import call_paths, event_failures, sip_messages
from xiaohao.edge import kamailio
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.simulator.stage import free_ports
from xiaohao.tenants.model import Principal
from xiaohao.trace import hep, homer
from xiaohao.trace.homer import Homer
from xiaohao.trace.keeping import Keeping
from xiaohao.trace.listener import Listener
from xiaohao.trace.service import CallTraces

DAY = 86_400 * SECOND
OPERATOR = Principal("key_1", None, None)


class Scene:
    """A listener, whoever sends to it, and a Homer server."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database, self.vault, self.now = database, vault, now_us()
        listen, homer = free_ports("127.0.0.1", 2)
        self.settings = Settings()
        self.settings.trace.sip, self.settings.trace.listen = True, f"127.0.0.1:{listen}"
        self.settings.trace.homer = f"127.0.0.1:{homer}"
        self.homer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.homer.bind(("127.0.0.1", homer))
        self.homer.settimeout(2)
        self.edge = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.edge.connect(("127.0.0.1", listen))
        self._open: list[Keeping] = []

    def keeping(self) -> Keeping:
        made = Keeping(self.database, self.vault, self.settings, CollectorRegistry(), lambda: self.now)
        made.start()
        self._open.append(made)
        return made

    def send(self, payload: str, kind: int = hep.SIP, about: str = "") -> bytes:
        ends = ("10.0.0.9", 5060, "10.0.0.1", 5061)
        key = kamailio.hep_key(self.vault).encode()
        data = hep.write(hep.Packet(self.now, kind, "udp", *ends, key, about.encode(), payload.encode()))
        self.now += 1
        self.edge.send(data)
        return data

    async def stop(self, keeping: Keeping) -> None:
        self._open.remove(keeping)
        await keeping.close()

    async def close(self) -> None:
        for keeping in self._open:
            await keeping.close()
        self.homer.close()
        self.edge.close()

    async def path(self, call_id: str) -> Any:
        audit = Audit(self.database, self.vault)
        traces = CallTraces(self.database, self.vault, self.settings, audit, lambda: self.now)
        return await traces.path(OPERATOR, call_id)


@pytest.fixture
async def scene(database: Database, vault: Vault) -> AsyncIterator[Scene]:
    scene = Scene(database, vault)
    yield scene
    await scene.close()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def kept(keeping: Keeping) -> int:
    assert keeping.listener is not None
    return keeping.listener.counts()[0]


async def test_from_the_socket_to_the_reader(scene: Scene) -> None:
    """The worker may be replaced in the middle of a call: the caller's side stays known; Homer has it all."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(journal_of(scene.database, scene.vault))
        call = await talking(journal, "cus_1")
    first = scene.keeping()
    invite = "INVITE sip:1@b SIP/2.0\r\nCall-ID: theirs@a\r\nCSeq: 1 INVITE\r\n\r\n"
    sent = [scene.send("theirs@a", hep.LOG, call.id), scene.send(invite)]
    await until(lambda: kept(first) == 1)
    await scene.stop(first)
    second = scene.keeping()
    assert await second.write_due() == 0
    sent.append(scene.send("BYE sip:1@b SIP/2.0\r\nCall-ID: theirs@a\r\nCSeq: 2 BYE\r\n\r\n"))
    await until(lambda: kept(second) == 1)
    assert await second.write_due(everything=True) == 1
    assert [scene.homer.recv(65_535) for _ in sent] == sent
    found = await scene.path(call.id)
    assert (found.live, found.sip.messages, found.sip.state) == (True, 2, "kept")


async def test_a_database_that_is_away_costs_nothing_at_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = scene.keeping()
    await keeping.write_due()
    call = a_call("cus_1")
    scene.send("x", hep.LOG, call.id)
    scene.send("INVITE sip:1@b SIP/2.0\r\nCall-ID: x\r\n\r\n")
    await until(lambda: kept(keeping) == 1)

    def away(_groups: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "_write", away)
        with pytest.raises(DatabaseUnavailable):
            await keeping.write_due(everything=True)
    assert await keeping.write_due() == 1


def test_a_homer_that_cannot_be_found_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is away, or no way there: the worker begins all the same, and finds it later."""
    look_up, is_known = socket.getaddrinfo, threading.Event()

    def answer(host: str, *args: Any, **more: Any) -> Any:
        if host == "homer.test" and not is_known.is_set():
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up("127.0.0.1" if host == "homer.test" else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(homer, "_AGAIN_S", 0.01)
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.05)
        for name in ("homer.test", "255.255.255.255"):  # nobody may send there without asking for it
            listener = Listener("127.0.0.1:0", b"key", 1.0, f"{name}:{server.getsockname()[1]}")
            stack.callback(listener.close)
            listener.start()
        found = Homer(f"homer.test:{server.getsockname()[1]}")
        stack.callback(found.close)
        found.start()
        found.send(b"lost")
        is_known.set()
        for _ in range(100):
            found.send(b"kept")
            with suppress(TimeoutError):
                assert server.recv(10) == b"kept"
                return
    raise AssertionError("it was never found")


async def test_what_is_old_is_forgotten(scene: Scene) -> None:
    """Paths and messages go by the time in the call's id; failed tries go with their events."""
    old, new = f"{(scene.now - 31 * DAY) // SECOND:010}", f"{(scene.now - 29 * DAY) // SECOND:010}"
    ids = [f"{t[:8]}-{t[8:]}{n:02}-8000-8000-{n:012}" for t in (old, new) for n in range(40)]
    sealed = scene.vault.seal_bytes(b"")
    async with scene.database.begin() as connection:
        await connection.execute(insert(call_paths), [{"call_id": i, "facts_sealed": sealed} for i in ids])
        rows = [{"call_id": i, "at": 1, "count": 1, "cut": 0, "messages_sealed": sealed} for i in ids]
        await connection.execute(insert(sip_messages), rows)
        await connection.execute(insert(event_failures), {"event_seq": 1, "at": 1, "error": "500"})
    async with journal_of(scene.database, scene.vault) as journal:
        for _ in range(2):
            await ended(journal, "cus_1")
    keeping = scene.keeping()
    assert await keeping.forget_old() == 80
    assert await keeping.forget_old() == 0
    async with scene.database.read() as connection:
        for table, left in ((call_paths, 40), (sip_messages, 40)):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == left
            first = (await connection.execute(select(func.min(table.c.call_id)))).scalar_one()
            assert first == ids[40]


async def test_the_path_of_a_call_that_has_ended(scene: Scene) -> None:
    """Marks and tries to notify are there; what is not kept is said with its reason."""
    async with journal_of(scene.database, scene.vault) as journal:
        call = await ended(journal, "cus_1")
        call.path = [Mark("find_the_binding", call.received_at + 5, 7, {"outcome": "connect"})]
        await journal.write([CallTraced(call), CallTraced(call)])
    async with scene.database.begin() as connection:
        await connection.execute(
            insert(event_failures), {"event_seq": 1, "at": now_us(), "error": "HTTP 500"}
        )
    found = await scene.path(call.id)
    whats = [entry.what for entry in found.entries]
    assert whats[:3] == ["received", "invite_sent", "find_the_binding"]
    (failed,) = [entry for entry in found.entries if entry.what == "try_failed"]
    assert (failed.details["try"], failed.details["error"]) == (1, "HTTP 500")
    assert failed.details["event"].startswith("evt_")
    assert (found.sip.state, found.sip.messages) == ("none", 0)
    scene.settings.trace.sample = 0
    assert (await scene.path(call.id)).sip.state == "not_sampled"
    scene.now += 31 * DAY
    assert (await scene.path(call.id)).sip.state == "expired"
    scene.settings.trace.sip = False
    assert (await scene.path(call.id)).sip.state == "off"
    with pytest.raises(Refusal, match="not_found"):
        await scene.path("17958757-2397-8808-aae4-6270936f9eb9")
