"""`xiaohao billing …` killed with SIGKILL in the middle, and called again: nothing is lost, nothing twice."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from tests.billing.scenes import LANDLINE, MOBILE, flat
from tests.ids import new_call_id
from xiaohao.billing import calendar
from xiaohao.billing.closing import Closing
from xiaohao.billing.rater import Rater
from xiaohao.billing.rerating import Reratings
from xiaohao.billing.service import Billing
from xiaohao.clock import SECOND
from xiaohao.database.billing_tables import closed_months, invoices, usage_sums, usages
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

MASTER_KEY = bytes(range(32))
MONTH = 202609
CALLS = 6000
CUSTOMERS = 60


@pytest.fixture
def config(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XIAOHAO_MASTER_KEY", MASTER_KEY.hex())
    path = tmp_path / "xiaohao.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n')
    return path


async def furnish(database: Database) -> list[str]:
    """Customers, the first of whom has most calls."""
    tenants = Tenants(database, Vault(MASTER_KEY))
    owners = [(await tenants.create_customer(f"customer {place}")).id for place in range(CUSTOMERS)]
    start, rows = calendar.start_of(MONTH), []
    for place in range(CALLS):
        at = start + place * SECOND
        rows.append(
            {
                "call_id": new_call_id(),
                "customer_id": owners[place % CUSTOMERS if place % 10 == 0 else 0],
                "dialled": MOBILE if place % 3 else LANDLINE,
                "received_at": at,
                "answered_at": at,
                "ended_at": at + 61 * SECOND,
                "ended_by": "caller",
                "reason": "caller_hung_up",
                "tries": "[]",
                "recorded": place % 2 == 0,
            }
        )
    async with database.begin() as connection:
        await connection.execute(insert(cdrs), rows)
    return owners


async def number(database: Database, query: Any) -> int:
    async with database.read() as connection:
        return int((await connection.execute(query)).scalar_one() or 0)


async def killed(database: Database, config: Path, done: Any, whole: int, *command: str) -> None:
    """Run a command, kill it when some of `whole` is done, and run it again to its end."""
    run: Callable[..., subprocess.Popen[bytes]] = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-m", "xiaohao.cli", "billing", *command, "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process = run()
    until = time.monotonic() + 60
    is_halfway = False
    while process.poll() is None and not is_halfway:
        assert time.monotonic() < until
        await asyncio.sleep(0.004)
        # it stands still while it is looked at, and cannot come to its end before it is killed
        process.send_signal(signal.SIGSTOP)
        is_halfway = 0 < await number(database, done) < whole
        if not is_halfway:
            process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
    assert is_halfway, "it was never seen halfway"
    assert 0 < await number(database, done) < whole
    assert await asyncio.to_thread(run().wait) == 0


async def test_killed_while_rating_closing_and_accepting(config: Path, database_url: str) -> None:
    database, vault = Database(database_url), Vault(MASTER_KEY)
    await database.agree()
    busiest, *_ = await furnish(database)
    rated = select(func.count()).select_from(usages)
    await killed(database, config, rated, CALLS, "rate")
    assert await number(database, rated) == CALLS
    assert await number(database, select(func.sum(usage_sums.c.calls))) == CALLS
    assert await number(database, select(func.sum(usage_sums.c.seconds))) == CALLS * 120

    rater = Rater(database, vault)
    reratings = Reratings(database, rater)
    contract = flat("1")
    contract["rates"][0]["unit_s"] = 600
    await Billing(database, vault).add_contract(busiest, MONTH, contract)
    rerating = await reratings.prepare(busiest, MONTH)
    theirs = rerating.report["changed"]
    anew = select(func.count()).select_from(usages).where(usages.c.seconds == 600)
    await killed(database, config, anew, theirs, "accept", rerating.id)
    assert await number(database, anew) == theirs
    assert await number(database, select(func.sum(usage_sums.c.seconds))) == (
        theirs * 600 + (CALLS - theirs) * 120
    )

    closed = select(func.count()).select_from(closed_months).where(closed_months.c.invoiced)
    await killed(database, config, closed, CUSTOMERS, "close", "2026-09")
    assert await number(database, closed) == CUSTOMERS
    made = select(func.count()).select_from(invoices)
    once = select(func.count(func.distinct(invoices.c.customer_id)))
    assert await number(database, made) == await number(database, once)
    # what all invoices come to is what all calls cost
    before = await number(database, select(func.sum(invoices.c.gross_amount)))
    seconds = select(func.sum(usages.c.seconds))
    others = usages.c.customer_id != busiest
    of_landline = await number(database, seconds.where(others, usages.c.number == LANDLINE))
    of_mobile = await number(database, seconds.where(others, usages.c.number == MOBILE))
    # the contract of the busiest has no price for recordings
    recorded = await number(database, select(func.sum(usages.c.recordings)).where(others))
    minutes = theirs * 10_000_000 + of_landline // 60 * 250_000 + of_mobile // 60 * 200_000
    assert before == minutes + recorded * 100_000
    assert await Closing(database, rater).close_all(MONTH) == 0
    await database.close()
