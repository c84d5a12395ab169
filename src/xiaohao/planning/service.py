"""What the API does with plans: compute and draw them in a process apart, and read demands from history."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict
from xiaohao.planning import store
from xiaohao.planning.child import REFUSED, Refused, Task
from xiaohao.planning.history import Busiest, Held, busiest, request_from
from xiaohao.planning.model import DAY_S, Usage
from xiaohao.planning.trend import DAYS, days_left
from xiaohao.planning.turns import Turns, busy
from xiaohao.planning.wire import PlanRequest, PlanView
from xiaohao.planning.words import Language
from xiaohao.pools.service import Pools
from xiaohao.secrecy import Vault
from xiaohao.settings import KEY_VARIABLE

#: a plan costs at most `effort.MOST_S` of a processor, at a low priority
_TIMEOUT_S: Final = 15.0
#: rows of history that are read; of more, those of some of the people only
_ROWS: Final = 200_000
_FRACTIONS: Final = 2**16
#: a pool's standing is counted again after so many seconds
_FRESH_S: Final = 10


@dataclass(frozen=True, slots=True)
class History:
    """A demand as it was. `share`: of all people, those who were looked at; `busiest` is about these."""

    request: PlanRequest
    bindings: int
    share: float
    busiest: list[Busiest]


class Planner:
    """Plans, and how pools stand. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._clock = clock
        self._pools = Pools(database, vault, clock)
        self._turns = Turns()
        self._known: dict[str, Usage] = {}

    async def plan(self, request: PlanRequest, customer_id: str | None) -> PlanView:
        """The numbers that a demand needs; `customer_id` None: for the operator.

        Raises Refusal: `validation_failed`, `planning_busy`.
        """
        return PlanView.model_validate_json(await self._done(Task(_raw(request)), customer_id))

    async def picture(
        self, request: PlanRequest, customer_id: str | None, form: str, language: Language
    ) -> bytes:
        """The same as a picture, `svg` or `png`. Raises Refusal: the same, and `font_missing`."""
        return await self._done(Task(_raw(request), form, language.value), customer_id)

    async def history(self, pool_id: str, customer_id: str | None, days: int) -> History:
        """The demand on a pool in the last `days` days: of the customer's own people, or (None) of all.

        Raises Refusal: `not_found`, `pool_without_history`.
        """
        pool = await self._pools.get(pool_id, customer_id)
        now = self._clock()
        queries = store.history(pool_id, now - days * DAY_S * SECOND, customer_id)
        async with self._database.read() as connection:
            counts = {name: await store.count(connection, query) for name, query in queries.items()}
            role = "y" if counts["y"] else "x"
            if not counts[role]:
                raise conflict(
                    "pool_without_history",
                    "The pool has no history",
                    "No binding has had a number of this pool in that time.",
                )
            share = min(_ROWS / counts[role], 1.0)
            below = None if share == 1.0 else round(share * _FRACTIONS).to_bytes(2)
            rows = await store.rows(connection, queries[role], below)
        held = [Held(row.person, row.since, row.until, row.city) for row in rows]
        policy = pool.policy
        request, most = await asyncio.to_thread(
            lambda: (
                request_from(held, policy.recycle_s, share, policy.max_relations),
                busiest(held, policy.recycle_s, now),
            )
        )
        return History(request, counts[role], share, most)

    async def usage(self, pool_id: str, customer_id: str | None) -> Usage:
        """How a pool stands. Raises Refusal: `not_found`, `pool_shared` (its figures are the operator's)."""
        pool = await self._pools.get(pool_id, customer_id)
        if customer_id is not None and pool.customer_id is None:
            raise Refusal(
                "pool_shared",
                "The pool is shared",
                "How a shared pool is used by all its customers is for the operator to know.",
                403,
            )
        now = self._clock()
        known = self._known.get(pool_id)
        if known is not None and now - known.at < _FRESH_S * SECOND:
            return known
        async with self._database.read() as connection:
            standing = await store.standing(connection, pool_id, now)
            samples = await store.samples(connection, now - DAYS * DAY_S * SECOND, pool_id)
        left = days_left(samples.get(pool_id, []), standing.needed, standing.usable, now)
        usage = self._known[pool_id] = Usage(standing, now, left)
        return usage

    async def _done(self, task: Task, customer_id: str | None) -> bytes:
        """Carry out a task in a process of its own, when it is the customer's turn."""
        async with self._turns.turn(customer_id or ""):
            return await _in_a_process(task)


def _raw(request: PlanRequest) -> msgspec.Raw:
    return msgspec.Raw(request.model_dump_json().encode())


async def _in_a_process(task: Task) -> bytes:
    # It needs no key: what it allocates are made-up people in a database of its own.
    environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xiaohao.planning.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            answer, said = await process.communicate(msgspec.json.encode(task))
    except TimeoutError:
        raise busy("The machine is busy, or these are too many cities.") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == REFUSED:
        refused = msgspec.json.decode(said, type=Refused)
        raise Refusal(refused.code, refused.title, refused.detail, refused.status, refused.extra)
    if process.returncode != 0:
        raise RuntimeError(f"planning ended with status {process.returncode}")
    return answer
