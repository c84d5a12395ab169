"""What `xiaohao billing …` does: long runs with a progress bar, which go on where they were when killed."""

import asyncio
import contextlib
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from xiaohao.billing.calendar import after, end_of, month_text, parse_month, start_of
from xiaohao.billing.closing import Closing
from xiaohao.billing.invoices import Invoices
from xiaohao.billing.rater import Rater
from xiaohao.billing.reconcile import Reconciliations
from xiaohao.billing.rerating import Rerating, Reratings
from xiaohao.billing.runs import Month
from xiaohao.billing.service import Billing
from xiaohao.billing.words import Language
from xiaohao.database.engine import Database
from xiaohao.runtime.commands import opened, plainly
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings

#: calls that are worth the second that another process takes to begin
_MANY = 50_000


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar, which is given how many more are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)


async def _calls_of(database: Database, customer_id: str, month: int) -> int:
    return await (await Month.of(database, customer_id, month)).count()


def _run(settings: Settings, work: Callable[[Database], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with opened(settings) as database:
            await database.migrate()
            await database.agree()
            return await work(database)

    with plainly(ValueError):
        return asyncio.run(inside())


def _json(file: Path) -> Any:
    with plainly(ValueError):
        return json.loads(file.read_text())


def _rater(settings: Settings, database: Database) -> Rater:
    return Rater(database, vault_of(settings))


def rate(settings: Settings) -> int:
    """Rate every CDR that is not rated yet; gives how many were. Raises ChoreFailed."""

    async def work(database: Database) -> int:
        rater = _rater(settings, database)
        with _bar("calls", await rater.waiting()) as advance:
            return await rater.rate_due(advance)

    return int(_run(settings, work))


def close(settings: Settings, month: str, customer_id: str | None) -> int:
    """Close a month of one customer, or of all; gives how many were closed. Raises ChoreFailed."""

    async def work(database: Database) -> int:
        closing = Closing(database, _rater(settings, database), settings.billing.seller)
        wanted = parse_month(month)
        if customer_id is not None:
            with _bar("calls", await _calls_of(database, customer_id, wanted)) as advance:
                await closing.close(customer_id, wanted, advance)
            return 1
        with _bar("customers", await closing.waiting(wanted)) as advance:
            return await closing.close_all(wanted, progress=lambda done, of: advance(1))

    return int(_run(settings, work))


def rerate(
    settings: Settings, month: str, until: str, customer_ids: list[str], processes: int = 1
) -> list[dict[str, Any]]:
    """Rate months anew for these customers, all when there are none. Raises ChoreFailed."""

    async def work(database: Database) -> list[dict[str, Any]]:
        reratings = Reratings(database, _rater(settings, database))
        wanted, last = parse_month(month), parse_month(until)
        found = []
        while wanted <= last:
            for customer_id in customer_ids or await reratings.customers_of(wanted):
                calls = await _calls_of(database, customer_id, wanted)
                with _bar(f"{month_text(wanted)} {customer_id}", calls) as advance:
                    rerating = await reratings.prepare(
                        customer_id, wanted, progress=advance, processes=processes if calls >= _MANY else 1
                    )
                    found.append(_row(rerating))
            wanted = after(wanted)
        return found

    return list(_run(settings, work))


def _row(one: Rerating) -> dict[str, Any]:
    report = one.report
    return {
        "rerating": one.id,
        "month": month_text(one.month),
        "customer": one.customer_id,
        "calls": report["calls"],
        "changed": report["changed"],
        "before": report["before"]["gross"],
        "after": report["after"]["gross"],
        "difference": report["difference"],
    }


def accept(settings: Settings, rerating_ids: list[str]) -> list[tuple[str, str]]:
    """Let reratings count; gives the state of each. Raises ChoreFailed."""

    async def work(database: Database) -> list[tuple[str, str]]:
        reratings = Reratings(database, _rater(settings, database))
        found = []
        for rerating_id in rerating_ids:
            one = await reratings.get(rerating_id)
            with _bar(rerating_id, await _calls_of(database, one.customer_id, one.month)) as advance:
                found.append((rerating_id, (await reratings.accept(rerating_id, advance)).state))
        return found

    return list(_run(settings, work))


def what_if(settings: Settings, month: str, customer_id: str, terms: Path) -> dict[str, Any]:
    """A month under other terms, side by side. Raises ChoreFailed."""

    document = _json(terms)

    async def work(database: Database) -> dict[str, Any]:
        billing = Billing(database, vault_of(settings))
        # both bills are reckoned
        calls = 2 * await _calls_of(database, customer_id, parse_month(month))
        with _bar("calls", calls) as advance:
            return await billing.what_if(customer_id, parse_month(month), document, advance)

    return dict(_run(settings, work))


def pdf(settings: Settings, invoice_id: str, language: Language, to: Path) -> None:
    """Print an invoice into a file. Raises ChoreFailed."""

    from xiaohao.billing.pdf import render  # noqa: PLC0415 - large, and only this needs it

    async def work(database: Database) -> bytes:
        return render(await Invoices(database).get(invoice_id), language)

    content = _run(settings, work)
    with plainly(ValueError):
        to.write_bytes(content)


def reconcile(settings: Settings, trunk_id: str, month: str, file: Path, mapping: Path) -> dict[str, Any]:
    """Compare a carrier's file of a month with our calls. Raises ChoreFailed."""

    document = _json(mapping)

    async def work(database: Database) -> dict[str, Any]:
        wanted = parse_month(month)
        since, until = start_of(wanted), end_of(wanted)
        service = Reconciliations(database, vault_of(settings))
        with file.open(encoding=_encoding(document), newline="") as lines:
            total = sum(1 for _ in lines)
            lines.seek(0)
            total += await service.count(trunk_id, str(document.get("leg")), since, until)
            with _bar("lines, calls", total) as advance:
                found = await service.compare(trunk_id, since, until, lines, document, advance)
        return {"reconciliation": found.id, **found.summary}

    return dict(_run(settings, work))


def _encoding(mapping: Any) -> str:
    """Raises ValueError."""
    if not isinstance(mapping, dict):
        raise ValueError("the mapping is no JSON object")  # noqa: TRY004 - said plainly to whoever wrote it
    encoding = str(mapping.get("encoding", "utf-8-sig"))
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    except LookupError:
        raise ValueError(f"encoding: {encoding} is none of texts") from None
    return encoding
