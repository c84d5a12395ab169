"""A process that binds people all at once with others of its kind, and says what became of it."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from tests.world import person

from xiaohao.bindings.jobs import Reserved
from xiaohao.bindings.model import Reservation
from xiaohao.bindings.service import Bindings
from xiaohao.database import direct
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault


@dataclass(frozen=True)
class Task:
    """Bind each of these drivers with each of these passengers, in an order of one's own."""

    url: str
    master_key: bytes
    customer_id: str
    x_pool: str
    y_pool: str
    drivers: Sequence[int]
    passengers: Sequence[int]
    #: of each pair that was bound: whether it is released again at once
    comes_and_goes: bool
    seed: int


def work(task: Task) -> Counter[str]:
    """How often what happened: `bound`, a refusal's code, or the name of an error that nobody should see."""
    return asyncio.run(_work(task))


async def _work(task: Task) -> Counter[str]:
    # Sixteen processes on two busy cores: how long one of them waits is not what is asked here.
    vars(direct)["BUSY_TIMEOUT_MS"] = 60_000
    rng = random.Random(task.seed)
    database = Database(task.url)
    bindings = Bindings(database, Vault(task.master_key))
    pairs = list(product(task.drivers, task.passengers))
    rng.shuffle(pairs)
    heard: Counter[str] = Counter()

    async def bind(part: Sequence[tuple[int, int]]) -> None:
        wanted = [Reservation(person(a), person(b), x_pool=task.x_pool, y_pool=task.y_pool) for a, b in part]
        try:
            outcomes = await bindings.reserve_all(task.customer_id, wanted)
        except Exception as error:  # noqa: BLE001 - that is what the test wants to know
            heard[f"{type(error).__name__}: {error}"] += len(part)
            return
        bound = [outcome.binding.id for outcome in outcomes if isinstance(outcome, Reserved)]
        heard["bound"] += len(bound)
        heard.update(outcome.code for outcome in outcomes if isinstance(outcome, Refusal))
        if task.comes_and_goes and bound:
            await bindings.release_all(task.customer_id, bound)

    # some alone and some in batches, several at once
    parts, start = [], 0
    while start < len(pairs):
        size = rng.choice([1, 1, 1, 4])
        parts.append(pairs[start : start + size])
        start += size
    waiting = asyncio.Semaphore(2)

    async def bind_in_turn(part: Sequence[tuple[int, int]]) -> None:
        async with waiting:
            await bind(part)

    try:
        await asyncio.gather(*(bind_in_turn(part) for part in parts))
    finally:
        await database.close()
    return heard
