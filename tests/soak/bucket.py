"""An S3 store that goes wrong: its servers are killed or stopped, or the way to it is cut off."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.recordings import s3
from tests.recordings.s3 import Swift, swift

_SERVERS = ("proxy", "object", "container", "account")


class Bucket:
    """A bucket of a real S3 server, behind a relay that can be shut."""

    def __init__(self, store: Swift, folder: Path, host: str) -> None:
        self._store, self._host = store, host
        self._secret = folder / "s3-secret"
        self._secret.write_text(s3.SECRET)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._ways: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def at(cls, folder: Path, host: str) -> AsyncIterator["Bucket"]:
        """Start it, empty."""
        servers = swift(folder / "s3")
        store = await asyncio.to_thread(servers.__enter__)
        try:
            bucket = cls(store, folder, host)
            await bucket._open()
            yield bucket
            await bucket._shut()
        finally:
            await asyncio.to_thread(servers.__exit__, None, None, None)

    def settings(self) -> dict[str, str]:
        """The table `object_store` of a configuration."""
        return {
            "bucket": s3.BUCKET,
            "endpoint": f"http://{self._host}:{self._port}",
            "access_key_id": s3.ACCESS_KEY,
            "secret_file": str(self._secret),
        }

    @asynccontextmanager
    async def killed(self, dice: random.Random) -> AsyncIterator[None]:
        """One of its servers loses its power; it is started again."""
        kind = dice.choice(_SERVERS)
        await asyncio.to_thread(self._store.kill, kind)
        try:
            yield
        finally:
            await asyncio.to_thread(self._store.start, kind)

    @asynccontextmanager
    async def stopped(self, dice: random.Random) -> AsyncIterator[None]:
        """One of its servers takes what it is sent and says nothing."""
        kind = dice.choice(_SERVERS)
        self._store.pause(kind, True)
        try:
            yield
        finally:
            self._store.pause(kind, False)

    @asynccontextmanager
    async def cut_off(self, _: random.Random) -> AsyncIterator[None]:
        """Connections end in the middle, and new ones are refused."""
        await self._shut()
        try:
            yield
        finally:
            await self._open()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._relay, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for way in list(self._ways):
            way.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ways.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._store.ports["proxy"])
        except OSError:
            writer.transport.abort()
            self._ways.discard(writer)
            return
        self._ways.add(back)
        try:
            await asyncio.gather(_pour(reader, back), _pour(there, writer))
        finally:
            for way in (writer, back):
                way.transport.abort()
                self._ways.discard(way)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
