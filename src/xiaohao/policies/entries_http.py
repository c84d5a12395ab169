"""Routes: black and white lists, entry by entry and by the file."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Id, Moment, Note, Number, Request, Timestamp, UsualDigits
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.receiving import received
from xiaohao.api.route import ONLY_READS, PROBLEM_CONTENT, api_router
from xiaohao.clock import rfc3339, rfc3339_or_none
from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict
from xiaohao.inventory import files
from xiaohao.inventory.files import FileError, Format
from xiaohao.inventory.uploads import IMPORT, format_of_file, said_format
from xiaohao.policies.http import PolicyQuery, owner_of
from xiaohao.policies.importing import COLUMNS, FAULTS_KEPT, EntryImport, Imported
from xiaohao.policies.model import Entry, Kind, List, SetBy, Side
from xiaohao.policies.service import NewEntry, Owner, Policies
from xiaohao.secrecy import Vault

FILE_MAX: Final = 50_000_000
AT_ONCE: Final = 1000
_WHY: Final = {
    400: "The file is not what its format says, or its first line does not name the columns",
    404: "There is no such customer",
    408: "The file came too slowly",
    409: "Another import is at work, or the lists are full",
    413: "The file is too large",
    415: "The body is neither CSV nor XLSX",
}
_BEGINNING: Final = Field(
    max_length=11, pattern=r"^\+[0-9]{1,10}$", description="Numbers that begin so: `+86170`"
)


class EntryBody(Request):
    """One person, two, or a prefix."""

    list: List = Field(strict=False)
    person: Number | None = None
    other: Number | None = Field(None, description="With `person`: the two, whoever calls")
    prefix: Annotated[str, _BEGINNING, UsualDigits] | None = None
    side: Side = Field(Side.ANY, strict=False, description="In which part they count")
    expires_at: Moment | None = Field(None, description="null: for good")
    note: Note | None = None


class NewEntries(Request):
    """Entries to put on lists, all or none."""

    entries: list[EntryBody] = Field(min_length=1, max_length=AT_ONCE)
    customer_id: Id | None = Field(None, description="The operator: whose calls; null: everybody's")


class EntryQuery(PolicyQuery):
    """Which entries."""

    list: List | None = None
    kind: Kind | None = None


class EntrySearch(Request):
    """Whom the entries are about."""

    person: Number
    customer_id: Id | None = None


class ImportQuery(BaseModel):
    """How to import."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Annotated[Id | None, Field(description="The operator: whose calls; null: everybody's")] = (
        None
    )
    replace: Annotated[
        List | None, Field(description="Who is on this list and not in the file is taken off it")
    ] = None
    dry_run: Annotated[bool, Field(description="Only say what is wrong with the file")] = False


class EntryView(BaseModel):
    """An entry of a list."""

    id: str
    set_by: SetBy
    customer_id: str | None = Field(description="null: for all customers")
    list: List
    kind: Kind
    side: Side
    person: str | None
    other: str | None
    prefix: str | None
    expires_at: Timestamp | None
    note: str | None
    created_at: Timestamp
    updated_at: Timestamp


class EntriesView(BaseModel):
    """Entries as they are now."""

    items: list[EntryView]


class FaultView(BaseModel):
    """What is wrong with a line of the file."""

    line: int = Field(description="1 is the header")
    detail: str


class EntryImportView(BaseModel):
    """What became of a file. One line with a fault keeps all of it off the lists."""

    rows: int
    written: int
    removed: int
    refused: int
    faults: list[FaultView] = Field(description=f"The first {FAULTS_KEPT}")


def router(policies: Policies, database: Database, vault: Vault) -> APIRouter:
    """The routes of lists."""
    router = api_router("policies")
    at_work: set[str | None] = set()

    @router.post("/v1/policies/entries", status_code=201)
    async def add_policy_entries(key: AnyKey, body: NewEntries) -> EntriesView:
        """Put people on lists. An entry about the same people is replaced."""
        wanted = [NewEntry(**dict(entry)) for entry in body.entries]
        entries = await policies.put_entries(owner_of(key, body.customer_id), wanted, key.key_id)
        return EntriesView(items=[_view(entry) for entry in entries])

    @router.get("/v1/policies/entries")
    async def list_policy_entries(key: AnyKey, query: Annotated[EntryQuery, Query()]) -> Page[EntryView]:
        """The entries: a customer's own, or the operator's."""
        owner = Owner.of(key.customer_id, query.customer_id)
        cursors = Cursors(vault, f"policy entries {key.customer_id}")
        after = cursors.position(query.after) or ""
        found = await policies.entries(owner, after, query.limit + 1, query.list, query.kind)
        return cursors.page(found, query.limit, _view, lambda entry: entry.id)

    @router.post("/v1/policies/entries/search", openapi_extra=ONLY_READS)
    async def search_policy_entries(
        key: AnyKey, query: Annotated[PageQuery, Query()], body: EntrySearch
    ) -> Page[EntryView]:
        """The entries about a person. A number never stands in a URL."""
        owner = owner_of(key, body.customer_id)
        cursors = Cursors(vault, f"policy entries {key.customer_id} {vault.index(body.person).hex()}")
        after = cursors.position(query.after) or ""
        found = await policies.entries(owner, after, query.limit + 1, person=body.person)
        return cursors.page(found, query.limit, _view, lambda entry: entry.id)

    @router.get("/v1/policies/entries/{entry_id}")
    async def get_policy_entry(key: AnyKey, entry_id: str) -> EntryView:
        """One entry."""
        return _view(await policies.entry(Owner.of(key.customer_id, None), entry_id))

    @router.delete("/v1/policies/entries/{entry_id}", status_code=204)
    async def remove_policy_entry(key: AnyKey, entry_id: str) -> Response:
        """Take an entry off its list."""
        await policies.remove_entry(Owner.of(key.customer_id, None), entry_id)
        return Response(status_code=204)

    @router.post(
        "/v1/policies/entries:import",
        openapi_extra=IMPORT,
        responses={status: {"description": why, "content": PROBLEM_CONTENT} for status, why in _WHY.items()},
        description=f"Put everybody in a CSV or XLSX file on lists. Columns: {', '.join(COLUMNS)}.",
    )
    async def import_policy_entries(
        key: AnyKey, query: Annotated[ImportQuery, Query()], request: HttpRequest
    ) -> EntryImportView:
        owner = owner_of(key, query.customer_id)
        await policies.check_owner(owner)
        said = said_format(request)
        if key.customer_id in at_work:
            raise conflict("import_at_work", "An import is at work", "One file after the other, please.")
        at_work.add(key.customer_id)
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "entries"
                await received(request, file, FILE_MAX)
                format_ = format_of_file(said, file)
                report = await asyncio.to_thread(
                    _imported, database, vault, owner, key.key_id, file, format_, query
                )
        finally:
            at_work.discard(key.customer_id)
        return EntryImportView(
            rows=report.rows,
            written=report.written,
            removed=report.removed,
            refused=report.refused,
            faults=[FaultView(line=fault.line, detail=fault.detail) for fault in report.faults],
        )

    return router


def _imported(
    database: Database, vault: Vault, owner: Owner, by: str, file: Path, format_: Format, query: ImportQuery
) -> Imported:
    direct = Direct(database.url, fence=database.fence)
    try:
        work = EntryImport(direct, vault, owner, by)
        return work.run(files.rows(file, format_), replace=query.replace, dry_run=query.dry_run)
    except FileError as error:
        text = str(error)
        raise Refusal(
            "file_malformed", "The file cannot be read", f"{text[:1].upper()}{text[1:]}.", 400
        ) from None
    finally:
        direct.close()


def _view(entry: Entry) -> EntryView:
    return EntryView(
        id=entry.id,
        set_by=entry.set_by,
        customer_id=entry.customer_id or None,
        list=entry.list,
        kind=entry.kind,
        side=entry.side,
        person=entry.person,
        other=entry.other,
        prefix=entry.prefix,
        expires_at=rfc3339_or_none(entry.expires_at),
        note=entry.note,
        created_at=rfc3339(entry.created_at),
        updated_at=rfc3339(entry.updated_at),
    )
