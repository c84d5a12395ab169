"""Events as they happen, from the web process as it really runs."""

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.api.facts import ended, journal_of, talking
from tests.api.server import Server, serving
from tests.api.test_problems import problem

from xiaohao.calls.journal import CallJournal
from xiaohao.database.engine import Database
from xiaohao.notifications import streams
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

MASTER_KEY = bytes(range(32))  # that of the fixture `vault`
PATIENCE = httpx.Timeout(30.0)


@dataclass(frozen=True)
class Told:
    id: str
    event: str
    data: Any


@dataclass
class House:
    """A web process, the journal that the switch would write, and two customers."""

    server: Server
    journal: CallJournal
    tenants: Tenants
    keys: dict[str, str]
    ids: dict[str, str]

    @asynccontextmanager
    async def listening(
        self, who: str, after: str | None = None, **query: Any
    ) -> AsyncIterator[Callable[[], Any]]:
        """A stream; gives a function that waits for its next event."""
        headers = {"Authorization": f"Bearer {self.keys[who]}"}
        if after:
            headers["Last-Event-ID"] = after
        async with (
            httpx.AsyncClient(base_url=self.server.url, timeout=PATIENCE, headers=headers) as client,
            client.stream("GET", "/v1/events:stream", params=query) as response,
        ):
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
            lines = response.aiter_lines()

            async def told() -> Told:
                fields: dict[str, str] = {}
                async with asyncio.timeout(30):  # heartbeats go on, whatever is missing
                    async for line in lines:
                        if not line and "data" in fields:
                            return Told(fields["id"], fields["event"], json.loads(fields["data"]))
                        name, _, value = line.partition(": ")
                        fields[name] = value
                raise EOFError

            yield told


@dataclass(frozen=True)
class Place:
    """A web process that several tests share, each with customers of its own."""

    server: Server
    database_url: str


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("streams")
    with ExitStack() as stack:
        if request.param == "sqlite":
            shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "x.db")
            url = f"sqlite:///{folder}/x.db"
        else:
            cluster = request.getfixturevalue("postgresql")
            url = cluster.url(stack.enter_context(cluster.lent("template_xiaohao")))
        yield Place(stack.enter_context(serving(folder, url, MASTER_KEY)), url)


@pytest.fixture
async def house(place: Place, vault: Vault) -> AsyncIterator[House]:
    database = Database(place.database_url)
    tenants = Tenants(database, vault)
    ids = {name: (await tenants.create_customer(name)).id for name in ("a", "b")}
    keys = {name: (await tenants.create_key(owner, "test"))[1] for name, owner in ids.items()}
    keys["operator"] = await tenants.bootstrap_operator_key()
    async with journal_of(database, vault) as journal:
        yield House(place.server, journal, tenants, keys, ids)
    await database.close()


async def test_a_customer_watches_its_own_calls_and_goes_on_where_it_was_cut_off(house: House) -> None:
    live = await talking(house.journal, house.ids["a"])
    await talking(house.journal, house.ids["b"])
    async with house.listening("a") as told:
        first = await told()
        assert first.event == "calls"
        assert [call["call_id"] for call in first.data["calls"]] == [live.id]
        await ended(house.journal, house.ids["b"])
        call = await ended(house.journal, house.ids["a"])
        seen = [await told() for _ in range(3)]
        assert [one.event for one in seen] == ["call.received", "call.ended", "cdr.created"]
        assert {one.data["data"]["call_id"] for one in seen} == {call.id}
    missed = await ended(house.journal, house.ids["a"])
    async with house.listening("a", after=seen[1].id) as told:
        again = [await told() for _ in range(4)]
    assert again[0].data["id"] == seen[2].data["id"]
    assert {one.data["data"]["call_id"] for one in again[1:]} == {missed.id}
    # the same places as those of pages
    headers = {"Authorization": f"Bearer {house.keys['a']}"}
    async with httpx.AsyncClient(base_url=house.server.url, headers=headers) as client:
        page = (await client.get("/v1/events", params={"after": seen[2].id})).json()
    assert [item["data"]["call_id"] for item in page["items"]] == [missed.id] * 3


async def test_what_happens_once_the_stream_is_there_is_told(
    app: FastAPI, database: Database, vault: Vault, tenants: Tenants, customer_id: str
) -> None:
    _, key = await tenants.create_key(customer_id, "test")
    happened: list[str] = []
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            happened.append((await ended(journal, customer_id)).id)
        elif b"event: " in message["body"] and not told.done():
            told.set_result(message["body"].decode())

    async def receive() -> Any:
        await told
        return {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/events:stream",
        "query_string": b"calls=false",
        "headers": [(b"authorization", f"Bearer {key}".encode())],
    }
    async with asyncio.timeout(30), journal_of(database, vault) as journal:
        await app(scope, receive, send)
    assert happened[0] in told.result()


async def test_nobody_watches_anothers(house: House) -> None:
    theirs = await ended(house.journal, house.ids["b"])
    async with house.listening("a", calls=False, customer_id=house.ids["b"]) as told:
        await ended(house.journal, house.ids["b"])
        own = await ended(house.journal, house.ids["a"])
        assert (await told()).data["data"]["call_id"] == own.id
    foreign = {"Authorization": f"Bearer {house.keys['b']}"}
    async with httpx.AsyncClient(base_url=house.server.url, headers=foreign) as client:
        page = (await client.get("/v1/events", params={"call_id": theirs.id})).json()
    headers = {"Authorization": f"Bearer {house.keys['a']}"}
    async with httpx.AsyncClient(base_url=house.server.url, headers=headers) as client:
        problem(
            await client.get("/v1/events:stream", params={"after": page["next"]}), 422, "validation_failed"
        )


async def test_the_operator_watches_everybody_and_chooses(house: House) -> None:
    async with (
        house.listening("operator", calls=False) as everything,
        house.listening("operator", calls=False, kind="cdr.created", customer_id=house.ids["b"]) as chosen,
    ):
        first = await ended(house.journal, house.ids["a"])
        second = await ended(house.journal, house.ids["b"])
        seen = [await everything() for _ in range(6)]
        assert [one.data["data"]["call_id"] for one in seen] == [first.id] * 3 + [second.id] * 3
        assert seen[0].data["delivery"]["customer_id"] == house.ids["a"]
        one = await chosen()
        assert (one.event, one.data["data"]["call_id"]) == ("cdr.created", second.id)


async def test_who_reads_slowly_loses_nothing_and_costs_nobody_anything(house: House) -> None:
    host, _, port = house.server.url.removeprefix("http://").partition(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect((host, int(port)))
    key = f"authorization: Bearer {house.keys['a']}"
    deaf.sendall(f"GET /v1/events:stream HTTP/1.1\r\nhost: x\r\n{key}\r\n\r\n".encode())
    await asyncio.sleep(0.5)
    async with house.listening("a", calls=False) as told:
        names = []
        for _ in range(150):  # more than every buffer in between holds
            names.append((await ended(house.journal, house.ids["a"], user_data="x" * 2000)).id)
        seen = [await told() for _ in range(450)]
    assert [one.data["data"]["call_id"] for one in seen if one.event == "cdr.created"] == names
    text = b""
    deaf.settimeout(30)
    received = await asyncio.to_thread(read_until, deaf, text, names[-1].encode(), 3)
    deaf.close()
    assert received.count(b"event: cdr.created\n") == 150


def read_until(connection: socket.socket, text: bytes, name: bytes, times: int) -> bytes:
    """Read until a call has been told of in so many events, and the last of them is complete."""
    while text.count(b'"call_id":"' + name) < times + 1 or not text.endswith(b"\n\n\r\n"):
        piece = connection.recv(65536)
        assert piece, "the stream ended"
        text += piece
    return text


async def test_a_stream_ends_with_its_key_and_with_the_process(
    tmp_path: Path, place: Place, house: House
) -> None:
    with serving(tmp_path, place.database_url, MASTER_KEY) as server:
        await streams_end(replace(house, server=server))


async def streams_end(house: House) -> None:
    key, text = await house.tenants.create_key(house.ids["a"], "short-lived")
    house.keys["short-lived"] = text
    async with house.listening("short-lived") as told, house.listening("b") as other:
        for one in (told, other):
            assert (await one()).event == "calls"
        await house.tenants.revoke_key(house.ids["a"], key.id)
        with pytest.raises(EOFError):
            await asyncio.wait_for(told(), 10)
        await ended(house.journal, house.ids["b"])
        assert (await other()).event == "call.received"
        house.server.process.terminate()
        with pytest.raises(EOFError):
            for _ in range(3):
                await asyncio.wait_for(other(), 10)
        assert await asyncio.to_thread(house.server.process.wait, 8) == 0


async def test_who_takes_nothing_for_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_STALLED_S", 0.05)
    aborted, ended_in_order = [], []

    async def text() -> AsyncIterator[bytes]:
        try:
            for _ in range(3):
                yield b"data: 1\n\n"
        finally:
            ended_in_order.append(True)

    async def send(message: Any) -> None:
        if message.get("body"):
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "extensions": {streams.ABORT: {"call": lambda: aborted.append(True)}}}
    async with asyncio.timeout(30):
        await streams.StreamResponse(text())(scope, receive, send)
    assert (aborted, ended_in_order) == ([True], [True])


async def test_streams_are_bounded(house: House) -> None:
    headers = {"Authorization": f"Bearer {house.keys['a']}"}
    async with httpx.AsyncClient(base_url=house.server.url, headers=headers, timeout=PATIENCE) as client:
        held = [client.stream("GET", "/v1/events:stream") for _ in range(10)]
        for stream in held:
            assert (await stream.__aenter__()).status_code == 200
        refused = await client.get("/v1/events:stream")
        problem(refused, 429, "too_many_streams")
        assert refused.headers["retry-after"] == "5"
        await held[0].__aexit__(None, None, None)
        async with asyncio.timeout(30):
            while True:
                async with client.stream("GET", "/v1/events:stream") as again:
                    if again.status_code == 200:
                        break
        for stream in held[1:]:
            await stream.__aexit__(None, None, None)
        problem(await client.get("/v1/events:stream", params={"after": "x"}), 422, "validation_failed")
