"""Routes: CDRs as a file, their corrections, and how long they are kept."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, Strict

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Id, Moment, Note, Number, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.calls.corrections import Correction, Corrections
from xiaohao.calls.exporting import MEDIA_TYPES, Format, written
from xiaohao.calls.http import CdrConditions, CdrView, filter_of
from xiaohao.calls.model import Party, Reason
from xiaohao.calls.records import CallRecords
from xiaohao.calls.retention import Retention
from xiaohao.secrecy import Vault

_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file, sent while it is made",
        "content": {
            kind.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
            for kind in MEDIA_TYPES.values()
        },
    }
}


class ExportRequest(Request, CdrConditions):
    """Which CDRs, and as what."""

    person: Number | None = Field(None, description="Real number of the caller or the callee")
    format: Annotated[Format, Strict(False)] = Format.CSV


class Change(BaseModel):
    """One field that is otherwise now."""

    before: int | str | None = Field(alias="from")
    after: int | str | None = Field(alias="to")


class CorrectionView(BaseModel):
    """What was wrong in a CDR."""

    id: str
    call_id: str
    number: int = Field(description="Of the corrections of this CDR, from 1")
    corrects: str = Field(description="The call whose CDR it corrects, or the correction before")
    note: str
    changes: dict[str, Change]
    created_at: Timestamp
    cdr: CdrView = Field(description="As it is from then on")


class CorrectionMade(CorrectionView):
    """A correction, and what has become of the call's charge."""

    billing: str = Field(
        description="`measured_anew`; `not_measured_yet`: it will be, with this; `month_closed`: rate that"
        " month anew; `nobody`: the call is no customer's"
    )


class CorrectionRequest(Request):
    """What is to be otherwise; fields that are left out stay as they are."""

    note: Note = Field(description="Why; goes into the audit log and to the customer")
    ringing_at: Moment | None = None
    answered_at: Moment | None = None
    ended_at: Moment | None = None
    ended_by: Annotated[Party, Strict(False)] | None = None
    reason: Annotated[Reason, Strict(False)] | None = None
    sip_code: int | None = Field(None, ge=100, le=699)
    q850_cause: int | None = Field(None, ge=1, le=127)
    acd_ms: int | None = Field(None, ge=0, le=10**12)


class CorrectionQuery(PageQuery):
    """Which corrections, by when they were made."""

    since: Moment | None = None
    until: Moment | None = None
    customer_id: Id | None = Field(None, description="For the operator")


class RetentionView(BaseModel):
    """For how long a customer's CDRs are kept."""

    days: int | None = Field(description="0: for ever; null: as long as the platform keeps everybody's")
    platform_days: int = Field(description="What holds for customers without days of their own; 0: for ever")


class RetentionRequest(Request):
    """For how long a customer's CDRs are to be kept."""

    days: int | None = Field(ge=0, le=36_600)


def router(records: CallRecords, corrections: Corrections, retention: Retention, vault: Vault) -> APIRouter:
    """The routes."""
    routes = api_router("calls")

    @routes.post(
        "/v1/cdrs:export", response_class=StreamingResponse, responses=_FILES, openapi_extra=ONLY_READS
    )
    async def export_cdrs(key: AnyKey, body: ExportRequest) -> StreamingResponse:
        """CDRs as a file, in the order of the calls' arrival, the oldest first; however many there are."""
        pages = await records.export(key, filter_of(key, body, body.person), body.format.value)
        name = f'attachment; filename="cdrs.{body.format.value}"'
        parts = written(pages, body.format, for_operator=key.is_operator)
        return StreamingResponse(
            parts, media_type=MEDIA_TYPES[body.format], headers={"Content-Disposition": name}
        )

    @routes.post("/v1/cdrs/{call_id}/corrections", status_code=201)
    async def correct_cdr(key: OperatorKey, call_id: str, body: CorrectionRequest) -> CorrectionMade:
        """Put a CDR right. It stays as it is; from then on the correction holds, and the customer is told."""
        changes = body.model_dump(exclude={"note"}, exclude_unset=True, mode="json")
        made, billing = await corrections.correct(key, call_id, changes, body.note)
        return CorrectionMade(**made.document, billing=billing)

    @routes.get("/v1/cdrs/{call_id}/corrections", response_model_exclude_unset=True)
    async def list_corrections_of_cdr(key: AnyKey, call_id: str) -> list[CorrectionView]:
        """What was found wrong in a CDR, the first correction first; the last one holds."""
        return [_view(one) for one in await corrections.of_call(key.customer_id, call_id)]

    @routes.get("/v1/cdr-corrections", response_model_exclude_unset=True)
    async def list_corrections(
        key: AnyKey, query: Annotated[CorrectionQuery, Query()]
    ) -> Page[CorrectionView]:
        """Corrections of all CDRs, the newest first."""
        cursors = Cursors(vault, f"cdr corrections {key.customer_id}")
        position = cursors.position(query.after)
        found = await corrections.page(
            key.customer_id,
            None if position is None else int(position),
            query.limit + 1,
            since=query.since,
            until=query.until,
            of_customer=query.customer_id,
        )
        return cursors.page(found, query.limit, _view, lambda one: one.seq)

    @routes.get("/v1/customers/{customer_id}/cdr-retention")
    async def get_cdr_retention(_: OperatorKey, customer_id: str) -> RetentionView:
        """For how long a customer's CDRs are kept."""
        return RetentionView(days=await retention.of(customer_id), platform_days=retention.days)

    @routes.put("/v1/customers/{customer_id}/cdr-retention")
    async def put_cdr_retention(key: OperatorKey, customer_id: str, body: RetentionRequest) -> RetentionView:
        """Keep a customer's CDRs for so many days; null: as long as everybody's."""
        await retention.put(key, customer_id, body.days)
        return RetentionView(days=body.days, platform_days=retention.days)

    return routes


def _view(one: Correction) -> CorrectionView:
    return CorrectionView(**one.document)
