"""Routes: comparisons with carriers. The command line takes files that are too large for a request."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from xiaohao.api.auth import OperatorKey
from xiaohao.api.fields import Id, Moment, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import NO_KEY, api_router
from xiaohao.billing.reconcile import Reconciliation, Reconciliations
from xiaohao.clock import rfc3339
from xiaohao.secrecy import Vault

_FILE_MAX = 900_000


class NewReconciliation(Request):
    """A carrier's file and how to read it. What `mapping` may hold is written in docs/billing.md."""

    trunk_id: Id
    since: Moment
    until: Moment
    mapping: dict[str, Any]
    file: Annotated[str, StringConstraints(max_length=_FILE_MAX)] = Field(description="CSV")


class ReconciliationView(BaseModel):
    """A comparison."""

    id: str
    trunk_id: str
    since: Timestamp
    until: Timestamp
    summary: dict[str, Any]
    created_at: Timestamp


class ItemView(BaseModel):
    """A call that does not agree."""

    place: int
    finding: str = Field(description="missing_here, missing_there, seconds, amount or unreadable")
    line: int | None = Field(description="Of the carrier's file")
    call_id: str | None
    number: str | None
    person: str | None = Field(description="Real number, as the carrier wrote it")
    at: Timestamp | None
    our_seconds: int | None
    their_seconds: int | None
    our_amount: str | None = Field(description="What the carrier ought to take")
    their_amount: str | None


def router(service: Reconciliations, vault: Vault) -> APIRouter:
    """The routes of comparisons."""
    routes = api_router("billing")

    @routes.post("/v1/reconciliations", status_code=201, openapi_extra=NO_KEY)
    async def add_reconciliation(_: OperatorKey, body: NewReconciliation) -> ReconciliationView:
        """Compare the calls of a trunk with its carrier's file."""
        lines = body.file.splitlines()
        return _view(await service.compare(body.trunk_id, body.since, body.until, lines, body.mapping))

    @routes.get("/v1/reconciliations")
    async def list_reconciliations(
        _: OperatorKey, query: Annotated[PageQuery, Query()]
    ) -> Page[ReconciliationView]:
        """All comparisons."""
        cursors = Cursors(vault, "reconciliations")
        found = await service.page(cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _view, lambda one: one.id)

    @routes.get("/v1/reconciliations/{reconciliation_id}")
    async def get_reconciliation(_: OperatorKey, reconciliation_id: str) -> ReconciliationView:
        """One comparison."""
        return _view(await service.get(reconciliation_id))

    @routes.get("/v1/reconciliations/{reconciliation_id}/items")
    async def list_items(
        _: OperatorKey, reconciliation_id: str, query: Annotated[PageQuery, Query()]
    ) -> Page[ItemView]:
        """Each call that does not agree."""
        cursors = Cursors(vault, f"reconciliation {reconciliation_id}")
        after = int(cursors.position(query.after) or -1)
        found = await service.items(reconciliation_id, after, query.limit + 1)
        return cursors.page(found, query.limit, lambda one: ItemView(**one), lambda one: int(one["place"]))

    return routes


def _view(one: Reconciliation) -> ReconciliationView:
    return ReconciliationView(
        id=one.id,
        trunk_id=one.trunk_id,
        since=rfc3339(one.since),
        until=rfc3339(one.until),
        summary=one.summary,
        created_at=rfc3339(one.created_at),
    )
