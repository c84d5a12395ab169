"""Routes: numbers in bulk."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse

from xiaohao.api.auth import OperatorKey
from xiaohao.api.receiving import received
from xiaohao.api.route import PROBLEM_CONTENT, api_router
from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict, validation_failed
from xiaohao.inventory import files
from xiaohao.inventory.bulk_store import CACHE_KIB
from xiaohao.inventory.exporting import What, export, inventory, totals
from xiaohao.inventory.files import MEDIA_TYPES, FileError, Format
from xiaohao.inventory.importing import FAULTS_KEPT, Import
from xiaohao.inventory.model import Outcome, Report, RowReport, Take
from xiaohao.inventory.uploads import IMPORT, TABLE, format_of_file, said_format
from xiaohao.numbers.cities import city_name
from xiaohao.numbers.model import NumberState
from xiaohao.secrecy import Vault

FILE_MAX: Final = 100_000_000
#: rows that an answer tells of one by one
ROWS_TOLD: Final = 10_000
_WHY: Final = {
    400: "The file is not what its format says",
    408: "The file came too slowly",
    409: "Another import is at work, or somebody else added a number just now",
    413: "The file is too large",
    415: "The body is neither CSV nor XLSX",
    422: "A field cannot be used, or the first line does not name the columns",
}
_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file",
        "content": TABLE,
    }
}


class ImportQuery(BaseModel):
    """How to import."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[
        Format | None, Field(description="null: what Content-Type says; without one, what it looks like")
    ] = None
    take: Annotated[Take, Field(description="all of the rows or none, or the valid ones")] = Take.ALL
    dry_run: Annotated[bool, Field(description="Say what would become of each row; change nothing")] = False
    rows: Annotated[bool, Field(description=f"Tell of every row, of the first {ROWS_TOLD}")] = False


class ExportQuery(BaseModel):
    """What to export."""

    model_config = ConfigDict(extra="forbid")

    format: Format = Format.CSV
    what: What = What.NUMBERS


class InventoryQuery(BaseModel):
    """The table has no filters."""

    model_config = ConfigDict(extra="forbid")


class RowView(BaseModel):
    """What became of a row of the file."""

    line: int = Field(description="1 is the header")
    outcome: Outcome
    number: str | None
    field: str | None
    detail: str | None


class ImportView(BaseModel):
    """What became of a file."""

    rows: int
    added: int = Field(description="That were added, or could be")
    unchanged: int = Field(description="That were there already just so")
    refused: int
    written: bool = Field(description="Whether the inventory was changed")
    seconds: float
    faults: list[RowView] = Field(description=f"The first {FAULTS_KEPT} rows that were refused")
    told: list[RowView] = Field(description="Every row, where that was asked for")


class InventoryLine(BaseModel):
    """Numbers of one kind, city and carrier."""

    kind: str
    city: str | None
    city_name: str | None
    carrier: str | None
    states: dict[NumberState, int]
    total: int


class InventoryView(BaseModel):
    """How many numbers there are."""

    items: list[InventoryLine]
    states: dict[NumberState, int]
    total: int


def router(database: Database, vault: Vault) -> APIRouter:
    """The routes of numbers in bulk."""
    router = api_router("numbers")
    at_work = asyncio.Lock()

    @router.post(
        "/v1/numbers:import",
        openapi_extra=IMPORT,
        responses={status: {"description": why, "content": PROBLEM_CONTENT} for status, why in _WHY.items()},
    )
    async def import_numbers(
        key: OperatorKey, query: Annotated[ImportQuery, Query()], request: Request
    ) -> ImportView:
        """Put the numbers of a CSV or XLSX file (the body) into the inventory. Again is no error."""
        said = said_format(request)
        if None not in (query.format, said) and query.format is not said:
            raise validation_failed("format", "is not what Content-Type says")
        if at_work.locked():
            raise conflict("import_at_work", "An import is at work", "One file after the other, please.")
        async with at_work:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "numbers"
                await received(request, file, FILE_MAX)
                format_ = format_of_file(query.format or said, file)
                told: list[RowReport] = []
                report = await asyncio.to_thread(
                    _imported, database, vault, file, format_, query, key.key_id, told
                )
        return _report(report, told)

    @router.get("/v1/numbers:export", response_class=FileResponse, responses=_FILES)
    async def export_numbers(_: OperatorKey, query: Annotated[ExportQuery, Query()]) -> FileResponse:
        """All numbers, or how many there are by kind, city, carrier and state, as a file."""
        folder = tempfile.TemporaryDirectory()
        file = Path(folder.name) / f"{query.what.value}.{query.format.value}"
        try:
            await asyncio.to_thread(_exported, database, file, query)
        except BaseException:
            folder.cleanup()
            raise
        media_type = MEDIA_TYPES[query.format]
        return FileResponse(
            file, media_type=media_type, filename=file.name, background=BackgroundTask(folder.cleanup)
        )

    @router.get("/v1/numbers:inventory")
    async def number_inventory(_: OperatorKey, _query: Annotated[InventoryQuery, Query()]) -> InventoryView:
        """How many numbers there are, by kind, city, carrier and state, with totals."""
        lines = await asyncio.to_thread(_counted, database)
        sums = totals(lines)
        items = [
            InventoryLine(
                kind=line.kind,
                city=line.city,
                city_name=None if line.city is None else city_name(line.city),
                carrier=line.carrier,
                states=line.states,
                total=line.total,
            )
            for line in lines
        ]
        return InventoryView(items=items, states=sums, total=sum(sums.values()))

    return router


def _imported(
    database: Database,
    vault: Vault,
    file: Path,
    format_: Format,
    query: ImportQuery,
    by: str,
    told: list[RowReport],
) -> Report:
    direct = Direct(database.url, cache_kib=CACHE_KIB, fence=database.fence)

    def tell(row: RowReport) -> None:
        if query.rows and len(told) < ROWS_TOLD:
            told.append(row)

    try:
        job = Import(direct, vault, take=query.take, dry_run=query.dry_run, by=by, listener=tell)
        return job.run(files.rows(file, format_))
    except FileError as error:
        raise Refusal("file_malformed", "The file cannot be read", _sentence(error), 400) from None
    finally:
        direct.close()


def _exported(database: Database, file: Path, query: ExportQuery) -> None:
    direct = Direct(database.url, cache_kib=CACHE_KIB, fence=database.fence)
    try:
        export(direct, file, query.format, query.what)
    except FileError as error:
        raise Refusal("file_too_long", "The file would be too long", _sentence(error), 422) from None
    finally:
        direct.close()


def _counted(database: Database) -> Any:
    direct = Direct(database.url, cache_kib=CACHE_KIB, fence=database.fence)
    try:
        return inventory(direct)
    finally:
        direct.close()


def _sentence(error: FileError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _report(report: Report, told: list[RowReport]) -> ImportView:
    return ImportView(
        rows=report.rows,
        added=report.added,
        unchanged=report.unchanged,
        refused=report.refused,
        written=report.written,
        seconds=round(report.seconds, 3),
        faults=[_row(row) for row in report.faults],
        told=[_row(row) for row in told],
    )


def _row(row: RowReport) -> RowView:
    return RowView(line=row.line, outcome=row.outcome, number=row.number, field=row.field, detail=row.detail)
