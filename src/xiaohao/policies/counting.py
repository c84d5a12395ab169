"""Counting of calls in the database, exactly: no two switches let the last call through twice.

All that wait are counted in one transaction. It is not waited for until it is on the disk: what a machine
takes with it when its power fails are the last moments' counts.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from xiaohao.database.direct import Cursor, dialect_of
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.database.writer import Writer
from xiaohao.policies.counting_store import FRESH_US, CountingStatements
from xiaohao.policies.decision import Counted

_log = structlog.get_logger(__name__)
_GROUP_WEIGHT: Final = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """A call that wants to be counted. Its outcome is the limit that has no room, or None: it is counted."""

    call_id: str
    at: int
    hits: Sequence[Counted]
    seats: Sequence[Counted]
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Release:
    """A call is over."""

    call_id: str
    weight: int = 1


class Counters:
    """The counters of all switches, as one of them uses them. One per process."""

    def __init__(self, database: Database) -> None:
        self._statements = CountingStatements(dialect_of(database.url.get_backend_name()))
        self._writer = Writer(database.url, self._carry_out, _GROUP_WEIGHT, database.fence, durable=False)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def claim(self, claim: Claim) -> Counted | None:
        """Count a call if every limit has room for it; else gives the first that has none.

        Raises DatabaseUnavailable.
        """
        found: Counted | None = await self._writer.do(claim)
        return found

    def release(self, call_id: str) -> None:
        """A call that was counted is over. Where that cannot be written, the call's CDR tells as much."""
        task = asyncio.get_running_loop().create_task(self._release(call_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _release(self, call_id: str) -> None:
        try:
            await self._writer.do(Release(call_id))
        except DatabaseUnavailable as error:
            _log.warning("seat_not_given_back", call_id=call_id, error=str(error))

    async def close(self) -> None:
        """Write what waits and stop."""
        await self._writer.close()

    def _carry_out(
        self, cursor: Cursor, jobs: Sequence[Claim | Release], _attempt: int
    ) -> list[Counted | None]:
        over = [job.call_id for job in jobs if isinstance(job, Release)]
        claims = [job for job in jobs if isinstance(job, Claim)]
        if over:
            self._statements.free(cursor, over)
        outcomes = iter(self._claimed(cursor, claims) if claims else [])
        return [next(outcomes) if isinstance(job, Claim) else None for job in jobs]

    def _claimed(self, cursor: Cursor, claims: Sequence[Claim]) -> list[Counted | None]:
        statements = self._statements
        statements.lock(cursor, (c.subject for claim in claims for c in (*claim.hits, *claim.seats)))
        windows = [(c.subject, c.limit.since(claim.at)) for claim in claims for c in claim.hits]
        # a call that waited has its seats, and keeps them
        places = [(c.subject, claim.at - FRESH_US, claim.call_id) for claim in claims for c in claim.seats]
        hit = iter(statements.count_hits(cursor, windows) if windows else [])
        taken = iter(statements.count_seats(cursor, places) if places else [])
        #: what this group itself has let through
        new_hits: list[tuple[bytes, int, str]] = []
        new_seats: dict[tuple[bytes, str, int], int] = {}
        seated: Counter[bytes] = Counter()
        outcomes: list[Counted | None] = []
        for claim in claims:
            full: Counted | None = None
            for counted in claim.hits:
                since, subject = counted.limit.since(claim.at), counted.subject
                among = sum(1 for key, at, _ in new_hits if key == subject and at > since)
                if next(hit) + among >= counted.limit.most and full is None:
                    full = counted
            wanted = {(c.subject, c.place) for c in claim.seats}
            for counted in claim.seats:
                # a call that takes two seats of one trunk needs room for both
                needed = sum(1 for subject, _ in wanted if subject == counted.subject)
                room = counted.limit.most - next(taken) - seated[counted.subject]
                if room < needed and full is None:
                    full = counted
            outcomes.append(full)
            if full is None:
                new_hits += sorted({(c.subject, claim.at, claim.call_id) for c in claim.hits})
                new_seats |= {(subject, claim.call_id, place): claim.at for subject, place in wanted}
                seated.update(subject for subject, _ in wanted)
        statements.put(cursor, new_hits, [(*key, at) for key, at in new_seats.items()])
        return outcomes
