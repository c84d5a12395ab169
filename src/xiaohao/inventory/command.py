"""What `xiaohao numbers` does: numbers from a file into the inventory, and tables out of it."""

import asyncio
import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database
from xiaohao.inventory import files
from xiaohao.inventory.bulk_store import CACHE_KIB
from xiaohao.inventory.exporting import What, export
from xiaohao.inventory.files import FileError, Format
from xiaohao.inventory.importing import Import
from xiaohao.inventory.model import Listener, Report, RowReport, Take
from xiaohao.runtime.commands import plainly
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings

_FAULTS_SHOWN = 20
_REPORT_HEADER = ("line", "outcome", "number", "field", "detail")


def import_numbers(settings: Settings, file: Path, take: Take, dry_run: bool, report: Path | None) -> bool:
    """Import a file and show what became of it; `report`: a CSV file with a line for every row.

    Gives whether every row could be taken. Raises ChoreFailed.
    """
    with plainly(FileError), _direct(settings) as direct, _reporting(report) as listener, _bars() as bars:
        read, written = bars.add_task("read", total=None), bars.add_task("written", total=None)

        def progress(rows: int, done: int) -> None:
            bars.update(read, completed=rows)
            bars.update(written, completed=done, total=rows if done else None)

        job = Import(
            direct, vault_of(settings), take=take, dry_run=dry_run, listener=listener, progress=progress
        )
        result = job.run(files.rows(file, format_of(file)))
    _show(result, dry_run)
    return not result.refused


def export_numbers(settings: Settings, file: Path, what: What) -> int:
    """Write a table into a file; says how many rows. Raises ChoreFailed."""
    with plainly(FileError), _direct(settings) as direct:
        return export(direct, file, format_of(file), what)


def format_of(file: Path) -> Format:
    """What a file's name says of its format. Raises ChoreFailed."""
    try:
        return Format(file.suffix.lower().removeprefix("."))
    except ValueError:
        raise ChoreFailed(f"{file}: the name must end in .csv or .xlsx") from None


@contextlib.contextmanager
def _direct(settings: Settings) -> Iterator[Direct]:
    database = asyncio.run(_prepared(settings))
    direct = Direct(database.url, cache_kib=CACHE_KIB, fence=database.fence)
    try:
        yield direct
    finally:
        direct.close()


async def _prepared(settings: Settings) -> Database:
    """The database, up to date and of our master key; its own connections are closed."""
    database = Database(settings.database.url, vault_of(settings).key_id)
    try:
        await database.migrate()
        await database.agree()
    finally:
        await database.close()
    return database


@contextlib.contextmanager
def _reporting(report: Path | None) -> Iterator[Listener | None]:
    if report is None:
        yield None
        return
    with report.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_REPORT_HEADER)

        def write(row: RowReport) -> None:
            cells: list[Any] = [row.line, row.outcome.value, row.number, row.field, row.detail]
            writer.writerow(["" if cell is None else cell for cell in cells])

        yield write


def _bars() -> Bars:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def _show(report: Report, dry_run: bool) -> None:
    console = Console()
    table = Table(title=_title(report, dry_run))
    for name in ("rows", "added" if report.written else "could be added", "there already", "refused", "s"):
        table.add_column(name, justify="right")
    counts = (report.rows, report.added, report.unchanged, report.refused)
    table.add_row(*(f"{count:,}" for count in counts), f"{report.seconds:.1f}")
    console.print(table)
    if report.faults:
        faults = Table(title="refused")
        for name in ("line", "column", "why"):
            faults.add_column(name)
        for row in report.faults[:_FAULTS_SHOWN]:
            faults.add_row(str(row.line), row.field or "", row.detail or "")
        console.print(faults)
    if report.refused > _FAULTS_SHOWN:
        console.print(f"… and {report.refused - _FAULTS_SHOWN:,} more: --report FILE writes every row")


def _title(report: Report, dry_run: bool) -> str:
    if report.written:
        return "imported"
    if dry_run:
        return "dry run: nothing was changed"
    return "nothing was changed" if report.refused or not report.rows else "all of it is there already"
