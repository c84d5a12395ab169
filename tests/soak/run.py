"""One run: a platform, calls, mishaps, and the account at the end."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg

from tests.calls.conftest import _SECRET, Theatre
from tests.postgresql import Cluster
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.customer import CustomerEndpoint
from xiaohao.simulator.stage import Stage

from .bucket import Bucket
from .faults import Clock, Deck, Store, deck
from .ledger import Account, Told, account
from .load import Load

#: of its own, so that it gets on with other platforms on the machine
_HOST, _MOBILE, _CITY, _ENDPOINT = "127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"
_STORE = "127.0.1.5"


@dataclass(frozen=True)
class Plan:
    """How long, how hard, on which database; `seed` says what goes wrong when."""

    seconds: float
    seed: int
    database: Literal["sqlite", "postgresql"] = "sqlite"
    #: where recordings are kept
    store: Literal["folder", "s3"] = "folder"
    calls_per_second: float = 20.0
    #: between the mishaps of one part of the platform
    mean_gap_s: float = 20.0
    #: whether the clock of the platform's processes is set forth and back, too
    clock: bool = False
    #: the share of the calls that are recorded: making audio is most of the machine's work
    recorded: float = 1.0
    #: so long after the last thing that came nothing more will come
    patience_s: float = 120.0


@dataclass
class Report:
    """What came of a run."""

    plan: Plan
    deck: Deck
    load: Load
    account: Account
    settled_s: float

    def text(self) -> str:
        """For a person."""
        plan = self.plan
        return "\n".join(
            [
                f"chaos on {plan.database}, recordings in {plan.store}, seed {plan.seed}:"
                f" {plan.seconds:g} s, {plan.calls_per_second:g} calls a second",
                *(f"  {name:<52} {count:>8}" for name, count in sorted(self.deck.happened.items())),
                f"  {'calls left out because everybody talked':<52} {self.load.left_out:>8}",
                self.account.table(),
                f"  everything had come {self.settled_s:.0f} s after the last call",
                *(f"  FAULT: {fault}" for fault in self.account.faults[:40]),
                f"  {len(self.account.faults)} faults" if self.account.faults else "  everything agrees",
            ]
        )


async def run(plan: Plan, folder: Path) -> Report:
    """Carry a plan out in an empty folder."""
    with Store.at(folder / "data" / "store") as store, _database(plan) as cluster:
        clock = Clock(folder, plan.clock)
        async with (
            _bucket(plan, folder) as bucket,
            _theatre(folder, store, cluster, clock, bucket) as theatre,
        ):
            load = Load(theatre, plan.calls_per_second, plan.seed, plan.recorded)
            await load.prepare()
            mishaps = deck(plan.seed, theatre.stage, theatre.endpoint, cluster, store, clock, bucket)
            told = Told()
            folding = asyncio.create_task(_fold(told, theatre))
            try:
                await asyncio.gather(load.offer(plan.seconds), mishaps.play(plan.seconds, plan.mean_gap_s))
                ended = time.monotonic()
            finally:
                folding.cancel()
            found = await account(theatre, load.made, told, plan.seed, plan.patience_s)
            if told.untimely and not plan.clock:
                found.faults.append(f"{told.untimely} POSTs were signed by another clock")
            if load.forgotten:
                found.faults.append(f"{len(load.forgotten)} callees were never told that their call is over")
                found.faults += load.forgotten
            if load.stuck:
                found.faults.append(f"{load.stuck} callers' phones never came to an end")
            return Report(plan, mishaps, load, found, time.monotonic() - ended)


async def _fold(told: Told, theatre: Theatre) -> None:
    while True:
        await asyncio.sleep(2)
        told.take(theatre)


@contextmanager
def _database(plan: Plan) -> Iterator[Cluster | None]:
    if plan.database == "sqlite":
        yield None
        return
    with Cluster.started() as cluster:
        cluster.create("xiaohao")
        with psycopg.connect(cluster.url("xiaohao"), autocommit=True) as connection:
            connection.execute("ALTER DATABASE xiaohao SET synchronous_commit = on")
        yield cluster


@asynccontextmanager
async def _bucket(plan: Plan, folder: Path) -> AsyncIterator[Bucket | None]:
    if plan.store == "folder":
        yield None
        return
    place = folder.with_name("bucket")  # not the platform's: what lies there is searched apart
    place.mkdir()
    async with Bucket.at(place, _STORE) as bucket:
        yield bucket


@asynccontextmanager
async def _stopping(stage: Stage) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await stage.stop()


@asynccontextmanager
async def _theatre(
    folder: Path, store: Store, cluster: Cluster | None, clock: Clock, bucket: Bucket | None
) -> AsyncIterator[Theatre]:
    stage = Stage(
        folder,
        host=_HOST,
        notifications={"retry_s": [1, 2], "timeout_s": 2.0},
        recording={"folder": str(store.folder.relative_to(folder)), "format": "mp3"},
        **({} if cluster is None else {"database": {"url": cluster.url("xiaohao")}}),
        **({} if bucket is None else {"object_store": bucket.settings()}),
    )
    with clock.in_environment():
        await stage.start()
    async with (
        _stopping(stage),
        CustomerEndpoint(_ENDPOINT, secret=_SECRET) as endpoint,
        Carrier(_MOBILE, edge=stage.sip, history=2000, keep_audio_s=2) as mobile,
        Carrier(_CITY, edge=stage.sip, history=2000, keep_audio_s=2) as city,
    ):
        theatre = Theatre(stage, mobile, city, endpoint)
        await theatre.furnish()
        yield theatre
        theatre.find_numbers_at_rest()
