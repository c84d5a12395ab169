"""The worker as a process: killed in the middle it owes nothing for long, told to stop it finishes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from sqlalchemy import func, select

from tests.calls_store.lives import CALLEE, CALLER
from tests.notifications.conftest import ALL_KINDS, Post, Subscriber, until
from xiaohao.database.schema import cdrs
from xiaohao.notifications.wake import Waker
from xiaohao.runtime.programs import command
from xiaohao.simulator.customer import slow
from xiaohao.simulator.stage import OwnPorts

Process = asyncio.subprocess.Process


class House:
    """The configuration of a worker, and the processes started from it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.own = OwnPorts("127.0.0.1")
        http, wake = self.own.ports[:2]
        self.http, self.wake = f"127.0.0.1:{http}", f"127.0.0.1:{wake}"
        self.config, self.log = folder / "xiaohao.toml", folder / "worker.log"
        self.config.write_text(
            f"""
            [database]
            url = "{url}"
            [secrets]
            master_key_file = "master.key"
            [worker]
            listen = "{self.http}"
            wake = "{self.wake}"
            [notifications]
            retry_s = [1]
            allow_private_urls = true
            # the calls of these tests are of another day: their digest would be an event more
            digest_after_s = 100000000
            # nobody calls here; the ports for audio must leave out those that any program is given
            [media]
            port_min = 2000
            port_max = 2100
            """
        )
        (folder / "master.key").write_text(bytes(range(32)).hex())  # that of the fixture `vault`

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Process]:
        """A worker that answers; killed at the end if it still runs."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(*command("worker", self.config), stderr=log)
        try:
            await until(self.answers, within_s=90)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def answers(self) -> bool:
        try:
            return "ok" in await self.get("/healthz")
        except aiohttp.ClientError:
            return False

    async def get(self, path: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.http}{path}") as response:
            return await response.text()


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[House]:
    house = House(tmp_path, database_url)
    yield house
    house.own.release()


def first_of_each(customer: Subscriber, call_id: str) -> list[str]:
    return list(dict.fromkeys(customer.kinds(call_id)))


def took(customer: Subscriber, events: int) -> Callable[[], bool]:
    return lambda: len({one.message_id for one in customer.endpoint.accepted}) >= events


async def test_killed_in_the_middle_it_delivers_everything_after_its_restart(
    post: Post, house: House
) -> None:
    customer = await post.subscriber(slow(0.05))
    async with house.worker() as process:
        call_ids = [await post.call(customer.id) for _ in range(20)]
        await until(took(customer, 30))
        process.kill()
        await process.wait()
    assert not took(customer, 100)()
    call_ids += [await post.call(customer.id) for _ in range(5)]
    async with house.worker():
        await until(took(customer, 125))
        for call_id in call_ids:
            await post.settled(call_id, ["delivered"] * 5)
    assert not [one.verdict for one in customer.endpoint.events if not one.verified]
    for call_id in call_ids:
        assert first_of_each(customer, call_id) == ALL_KINDS
    written = {one.message_id: one.body for one in customer.endpoint.accepted if one.kind == "cdr.created"}
    assert len(written) == 25
    assert {one.body for one in customer.endpoint.accepted if one.kind == "cdr.created"} == {
        *written.values()
    }
    async with post.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(cdrs))).scalar_one() == 25


async def test_told_to_stop_it_finishes_and_tells_nothing_twice(post: Post, house: House) -> None:
    customer = await post.subscriber(slow(0.05))
    async with house.worker() as process:
        call_ids = [await post.call(customer.id) for _ in range(20)]
        await until(took(customer, 30))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    async with house.worker():
        await until(took(customer, 100))
    for call_id in call_ids:
        assert customer.tried(call_id) == ALL_KINDS


async def test_a_datagram_wakes_it_and_it_counts_what_it_does(post: Post, house: House) -> None:
    customer, waker = await post.subscriber(), Waker(house.wake)
    async with house.worker():
        call_id = await post.call(customer.id)
        waker()
        await post.settled(call_id, ["delivered"] * 5)
        metrics = await house.get("/metrics")
    waker.close()
    assert 'xiaohao_delivery_tries_total{outcome="delivered"} 5.0' in metrics
    assert "xiaohao_delivery_seconds_count 5.0" in metrics
    assert "process_resident_memory_bytes" in metrics


async def test_its_log_is_json_without_a_number(post: Post, house: House) -> None:
    customer = await post.subscriber()
    await customer.endpoint.stop()
    async with house.worker() as process:
        call_id = await post.call(customer.id)
        await until(lambda: post.was_tried(call_id))
        process.send_signal(signal.SIGTERM)
        await process.wait()
    lines = house.log.read_text().splitlines()
    assert msgspec.json.decode(lines[0])["event"] == "worker_ready"
    assert not [line for line in lines for number in (CALLER, CALLEE) if number[3:] in line]
