"""The receiver of the guide, run as it is printed, against the real deliverer."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests.notifications.conftest import SECRET, Post, until
from xiaohao.clock import now_us
from xiaohao.database.schema import cdrs
from xiaohao.digests.model import HOUR
from xiaohao.digests.service import Digests
from xiaohao.notifications.feed import Feed, Wanted
from xiaohao.simulator.stage import free_ports

RECEIVER = Path(__file__).parents[2] / "docs" / "examples" / "receiver.py"


def test_it_is_as_short_as_it_says() -> None:
    lines = [line for line in RECEIVER.read_text().splitlines() if line.strip()]
    assert lines[0].startswith('"""')
    assert len(lines[1:]) <= 30


@asynccontextmanager
async def receiving(port: int, file: Path, said: list[str]) -> AsyncIterator[None]:
    """The receiver, listening; `said` grows with what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, RECEIVER, str(port), file),
        env=os.environ | {"SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None

    async def read(stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            said.append(line.decode().strip())

    reading = asyncio.create_task(read(process.stdout))
    try:
        yield
    finally:
        process.kill()
        await process.wait()
        await reading


@pytest.fixture
def port() -> int:
    return free_ports("127.0.0.1", 1)[0]


async def test_it_deals_with_each_event_once_and_compares(post: Post, tmp_path: Path, port: int) -> None:
    customer = await post.tenants.create_customer("Ride", f"http://127.0.0.1:{port}/")
    await post.tenants.set_webhook_secret(customer.id, SECRET)
    await post.tenants.plan_webhook(customer.id, f"http://127.0.0.1:{port}/", None, 3)
    said: list[str] = []
    hour = now_us() // HOUR * HOUR - 2 * HOUR
    call_ids = [await post.call(customer.id, received_at=hour + n) for n in range(5)]
    feed, digests = Feed(post.database, post.vault), Digests(post.database, post.vault)

    def count(kind: str) -> int:
        return sum(line.startswith(kind) for line in said)

    async with post.delivering():
        async with receiving(port, tmp_path / "db", said):
            for call_id in call_ids:
                await post.settled(call_id, ["delivered"] * 5)
        # what comes again after a restart is known already
        async with receiving(port, tmp_path / "db", said):
            assert await feed.replay(Wanted(customer_id=customer.id, kinds=["cdr.created"])) == 5
            for call_id in call_ids:
                await post.settled(call_id, ["delivered"] * 5)
            assert len(said) == 25
            assert await digests.make_due() == 1
            await until(lambda: count("digest.created") == 1)
            # a record that the platform has lost
            async with post.database.begin() as connection:
                await connection.execute(delete(cdrs).where(cdrs.c.call_id == call_ids[2]))
            late = await post.call(customer.id, received_at=hour)
            await post.settled(late, ["delivered"] * 5)
            assert await digests.make_due() == 1
            await until(lambda: count("digest.created") == 2)
    assert count("cdr.created") == 6
    told = [line.split()[2] for line in said if line.startswith("digest.created")]
    assert told == ["complete", "differs"]


async def test_it_refuses_what_is_not_signed(post: Post, tmp_path: Path, port: int) -> None:
    customer = await post.tenants.create_customer("Ride", f"http://127.0.0.1:{port}/")
    said: list[str] = []
    call_id = await post.call(customer.id)
    async with receiving(port, tmp_path / "db", said), post.delivering():
        refused = Wanted(customer_id=customer.id)

        async def noticed() -> bool:
            told, _ = await Feed(post.database, post.vault).after(0, 1, refused)
            return bool(told[0].document["delivery"]["error"] == "HTTP 401")

        await until(noticed)
        assert said == []
        # both secrets sign while one is being replaced
        await post.tenants.set_webhook_secret(customer.id, SECRET)
        await post.tenants.set_webhook_secret(customer.id, overlap_s=60)
        await post.settled(call_id, ["delivered"] * 5)
    assert len(said) == 5
