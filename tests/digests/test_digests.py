"""The digest of an hour: made once its hour is over, made again when a record comes late, told each time."""

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from tests.calls_store.lives import life
from tests.ids import new_call_id
from tests.world import NOON, Clock
from xiaohao.audit.service import Audit
from xiaohao.calls.journal import CallEnded, CallJournal, Change
from xiaohao.calls.records import CallRecords, CdrFilter
from xiaohao.clock import SECOND, parse_rfc3339
from xiaohao.database.engine import Database
from xiaohao.database.schema import events
from xiaohao.digests import store
from xiaohao.digests.model import HOUR, Digest
from xiaohao.digests.service import Digests
from xiaohao.notifications.wire import DigestEventDocument
from xiaohao.secrecy import Vault


class House:
    """Digests of one database under a clock that stands still; calls end when the test says."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database, self.vault = database, vault
        self.clock = Clock()
        self.digests = Digests(database, vault, after_s=300, clock=self.clock)
        self.journal = CallJournal(database, vault)

    async def call(self, ended_at: int, talk_ms: int | None = 5000, customer_id: str | None = "cus_a") -> str:
        """A call that ended at a moment; None: nobody answered."""
        call_id = new_call_id()
        (*_, ended) = life(customer_id, id=call_id, received_at=ended_at - HOUR // 2, record=False)
        answered_at = None if talk_ms is None else ended_at - talk_ms * 1000
        facts = {"answered_at": answered_at, "ended_at": ended_at, "customer_id": customer_id}
        change: Change = CallEnded(msgspec.structs.replace(ended.call, **facts), False)
        await self.journal.write([change])
        return call_id

    async def all(self, customer_id: str | None = "cus_a", **bounds: int) -> list[Digest]:
        return await self.digests.page(customer_id, (0, ""), 100, **bounds)

    async def told(self) -> list[DigestEventDocument]:
        query = select(events.c.body_sealed).where(events.c.kind == "digest.created").order_by(events.c.seq)
        async with self.database.read() as connection:
            rows = (await connection.execute(query)).scalars().all()
        return [msgspec.json.decode(self.vault.open(row), type=DigestEventDocument) for row in rows]


@pytest.fixture
def house(database: Database, vault: Vault) -> Any:
    house = House(database, vault)
    yield house
    house.journal.close()


def hash_of(call_ids: list[str]) -> str:
    return hashlib.sha256("".join(f"{call_id}\n" for call_id in sorted(call_ids)).encode()).hexdigest()


async def test_an_hour_in_three_numbers(house: House) -> None:
    ids = [
        await house.call(NOON + at, talk) for at, talk in ((0, 5000), (1, 5001), (HOUR - 1, None), (9, 999))
    ]
    await house.call(NOON - 1)
    await house.call(NOON + HOUR)
    await house.call(NOON + 5, customer_id="cus_b")
    await house.call(NOON + 5, customer_id=None)
    house.clock.forward(3600 + 299)
    assert await house.digests.make_due() == 1  # the hour before
    assert [digest.hour for digest in await house.all()] == [NOON - HOUR]
    house.clock.forward(1)
    assert await house.digests.make_due() == 2
    _, digest = await house.all()
    assert (digest.hour, digest.revision, digest.count) == (NOON, 1, 4)
    assert digest.billable_s == 5 + 6 + 0 + 1
    assert digest.sha256 == hash_of(ids)
    assert await house.digests.make_due() == 0


async def test_a_record_that_comes_late_makes_another_revision(house: House) -> None:
    first = await house.call(NOON)
    house.clock.forward(2 * 3600)
    assert await house.digests.make_due() == 1
    late = await house.call(NOON + 7)
    assert await house.digests.make_due() == 1
    (digest,) = await house.all()
    assert (digest.revision, digest.count, digest.sha256) == (2, 2, hash_of([first, late]))
    told = await house.told()
    assert [(one.sequence, one.data.revision, one.data.count) for one in told] == [(1, 1, 1), (2, 2, 2)]
    assert len({one.id for one in told}) == 2
    assert told[1].data.sha256 == digest.sha256
    assert parse_rfc3339(told[1].data.hour) == NOON


async def test_both_sides_come_to_the_same(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a customer works out from the CDRs' documents alone is what the platform says."""
    monkeypatch.setattr(store, "_ROWS_AT_ONCE", 7)
    for n in range(40):
        await house.call(NOON + n * 200 * SECOND + 999, talk_ms=n * 777 if n % 3 else None)
    house.clock.forward(5 * 3600)
    assert await house.digests.make_due() == 3
    found, _ = await CallRecords(house.database, house.vault, Audit(house.database, house.vault)).follow_cdrs(
        "cus_a", 0, 500, CdrFilter()
    )
    documents = sorted((one.document for one in found), key=lambda cdr: cdr["call_id"])
    for digest in await house.all():
        hour = [cdr for cdr in documents if parse_rfc3339(cdr["ended_at"]) // HOUR * HOUR == digest.hour]
        assert digest.count == len(hour) > 0
        assert digest.billable_s == sum((cdr["talk_ms"] + 999) // 1000 for cdr in hour)
        assert digest.sha256 == hash_of([cdr["call_id"] for cdr in hour])


async def test_two_workers_make_each_once(house: House, database: Database, vault: Vault) -> None:
    for hour in range(6):
        for customer_id in ("cus_a", "cus_b"):
            await house.call(NOON + hour * HOUR, customer_id=customer_id)
    house.clock.forward(24 * 3600)
    second = Digests(database, vault, clock=house.clock)
    made = await asyncio.gather(house.digests.make_due(), second.make_due())
    made = [*made, await house.digests.make_due()]
    assert sum(made) == 12
    assert [digest.revision for digest in await house.all(None)] == [1] * 12
    assert len(await house.told()) == 12


async def test_hours_are_chosen_and_paged(house: House) -> None:
    for hour in range(5):
        await house.call(NOON + hour * HOUR)
        await house.call(NOON + hour * HOUR, customer_id="cus_b")
    house.clock.forward(24 * 3600)
    await house.digests.make_due()
    chosen = await house.all(since=NOON + HOUR, until=NOON + 3 * HOUR)
    assert [digest.hour for digest in chosen] == [NOON + HOUR, NOON + 2 * HOUR]
    seen: list[tuple[int, str]] = []
    after = (0, "")
    while page := await house.digests.page(None, after, 3):
        seen += [(digest.hour, digest.customer_id) for digest in page]
        after = seen[-1]
    assert seen == [(NOON + hour * HOUR, name) for hour in range(5) for name in ("cus_a", "cus_b")]
