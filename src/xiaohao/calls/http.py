"""Routes: calls in progress and the records of those that ended."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, Strict

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Id, Moment, Number, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.calls.model import Call, Party, Reason, State
from xiaohao.calls.records import CallRecords, Cdr, CdrFilter
from xiaohao.calls.search_store import Place
from xiaohao.calls.wire import live_document
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal


class _CallFacts(BaseModel):
    # Both documents are made in calls/wire.py; what it adds shows up here by itself.
    model_config = ConfigDict(extra="allow")

    call_id: str
    binding_id: str | None
    in_grace: bool = Field(description="The binding has ended; the call came in its time of grace")
    order_ref: str | None
    user_data: str | None
    caller: str | None = Field(description="Real number; null where it was withheld")
    callee: str | None = Field(description="Real number; null where nobody was to be connected")
    dialled: str
    displayed: str | None = Field(description="The platform number that the callee saw")
    received_at: Timestamp
    received_at_local: Timestamp
    ringing_at: Timestamp | None
    ringing_at_local: Timestamp | None
    answered_at: Timestamp | None
    answered_at_local: Timestamp | None
    customer_id: str | None = Field(None, description="Shown to the operator only")
    trunk_in: str | None = Field(None, description="Shown to the operator only")
    trunk_out: str | None = Field(None, description="Shown to the operator only")


class LiveCallView(_CallFacts):
    """A call in progress."""

    state: State


class TryView(BaseModel):
    """One attempt to reach the callee."""

    trunk_id: str
    at: Timestamp
    sip_code: int | None


class RoutingView(BaseModel):
    """How a call was decided whose customer was to be asked."""

    decided_by: str = Field(description="`customer`, the fallback that was taken, or `nobody`")
    action: str = Field(description="connect, announce, queue or refuse")
    verdict: str = Field(description="What came of asking: `answered`, or why there was no answer to act on")
    took_ms: int = Field(description="For how long the call waited for it")
    url: str | None = Field(description="Whose answer it is, or who was asked last: first or second")
    problem: str | None = Field(description="What is wrong with the answer")
    attempt: int = Field(description="Which question about the call it was: from 2 on the caller waited")
    waited_ms: int = Field(description="For how long they had waited then")


class CdrView(_CallFacts):
    """The record of a call that has ended."""

    ended_at: Timestamp
    ended_at_local: Timestamp
    ring_ms: int | None
    talk_ms: int
    ended_by: Party
    reason: Reason
    sip_code: int | None
    q850_cause: int | None
    recording: str | None = Field(description="Where its recording is found once it is ready")
    routing: RoutingView | None = Field(description="null: the customer was not to be asked")
    tries: list[TryView] | None = Field(None, description="Shown to the operator only")
    corrected_by: str | None = Field(
        None, description="The newest correction, where there is one: see `/v1/cdrs/{call_id}/corrections`"
    )


class HangUpTaken(BaseModel):
    """The switch has been asked; `call.ended` tells when it is done."""

    call_id: str


class CallQuery(PageQuery):
    """Which calls in progress."""

    state: State | None = None
    binding_id: Id | None = None
    customer_id: Id | None = Field(None, description="For the operator")


class CdrConditions(BaseModel):
    """What a CDR may be searched by."""

    since: Moment | None = Field(None, description="Calls that arrived at this moment or later")
    until: Moment | None = Field(None, description="Calls that arrived before this moment")
    number: Number | None = Field(None, description="A platform number that was dialled or displayed")
    binding_id: Id | None = None
    reason: Reason | None = Field(None, strict=False)
    sip_code: int | None = Field(None, ge=100, le=699)
    q850_cause: int | None = Field(None, ge=1, le=127)
    trunk_id: Id | None = Field(None, description="For the operator: the trunk that brought or took the call")
    customer_id: Id | None = Field(None, description="For the operator")


class Order(StrEnum):
    """In which order CDRs come."""

    #: by the calls' arrival
    NEWEST = "newest"
    #: by the writing of the CDRs
    OLDEST = "oldest"


_OrderField = Annotated[
    Order,
    Field(
        description="`newest` first, or `oldest` first, in which order CDRs can be followed: `next` is never"
        " null then, and no CDR is ever skipped by who goes on with it"
    ),
]


class CdrQuery(PageQuery, CdrConditions):
    """Which CDRs."""

    order: _OrderField = Order.NEWEST


class CdrSearch(Request, CdrConditions):
    """Which CDRs, by a real number, too."""

    person: Number | None = Field(None, description="Real number of the caller or the callee")
    after: Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_-]*$")] | None = None
    limit: int = Field(100, ge=1, le=500)
    order: Annotated[_OrderField, Strict(False)] = Order.NEWEST


def router(records: CallRecords, vault: Vault) -> APIRouter:
    """The routes of calls in progress."""
    routes = api_router("calls")

    @routes.get("/v1/calls", response_model_exclude_unset=True)
    async def list_calls(key: AnyKey, query: Annotated[CallQuery, Query()]) -> Page[LiveCallView]:
        """Calls in progress, the oldest first."""
        cursors = Cursors(vault, f"calls {key.customer_id}")
        found = await records.page_live(
            key.customer_id or query.customer_id,
            cursors.position(query.after) or "",
            query.limit + 1,
            state=query.state,
            binding_id=query.binding_id,
        )
        return cursors.page(found, query.limit, lambda call: _live(call, key), lambda call: call.id)

    @routes.get("/v1/calls/{call_id}", response_model_exclude_unset=True)
    async def get_call(key: AnyKey, call_id: str) -> LiveCallView:
        """A call in progress. One that has ended is found under `/v1/cdrs`."""
        return _live(await records.live(key.customer_id, call_id), key)

    @routes.post("/v1/calls/{call_id}/hang-up", status_code=202)
    async def hang_up(key: AnyKey, call_id: str) -> HangUpTaken:
        """End a call in progress, whether it rings or talks."""
        await records.hang_up(key.customer_id, call_id)
        return HangUpTaken(call_id=call_id)

    return routes


def cdr_router(records: CallRecords, vault: Vault) -> APIRouter:
    """The routes of CDRs."""
    routes = api_router("calls")

    @routes.get("/v1/cdrs", response_model_exclude_unset=True)
    async def list_cdrs(key: AnyKey, query: Annotated[CdrQuery, Query()]) -> Page[CdrView]:
        """Records of calls that have ended, the newest first unless asked for otherwise."""
        return await _page(key, query)

    @routes.post("/v1/cdrs/search", response_model_exclude_unset=True, openapi_extra=ONLY_READS)
    async def search_cdrs(key: AnyKey, body: CdrSearch) -> Page[CdrView]:
        """The same by a real number, which must not stand in a URL."""
        return await _page(key, body, body.person)

    @routes.get("/v1/cdrs/{call_id}", response_model_exclude_unset=True)
    async def get_cdr(key: AnyKey, call_id: str) -> CdrView:
        """The record of one call."""
        return _cdr(await records.cdr(key.customer_id, call_id))

    async def _page(key: Principal, query: CdrQuery | CdrSearch, person: str | None = None) -> Page[CdrView]:
        wanted = filter_of(key, query, person)
        if person is not None:
            await records.note_search(key, person, wanted)
        if query.order is Order.OLDEST:
            cursors = Cursors(vault, f"cdrs oldest {key.customer_id}")
            after = int(cursors.position(query.after) or 0)
            cdrs, place = await records.follow_cdrs(key.customer_id, after, query.limit, wanted)
            return Page(items=[_cdr(cdr) for cdr in cdrs], next=cursors.at(place))
        cursors = Cursors(vault, f"cdrs {key.customer_id}")
        position = cursors.position(query.after)
        found = await records.page_cdrs(key.customer_id, _place(position), query.limit + 1, wanted)
        return cursors.page(found, query.limit, _cdr, lambda cdr: "{} {}".format(*cdr.place))

    return routes


def filter_of(key: Principal, query: CdrConditions, person: str | None) -> CdrFilter:
    """What is asked for, as far as whoever asks may ask for it."""
    return CdrFilter(
        since=query.since,
        until=query.until,
        number=query.number,
        person=person,
        binding_id=query.binding_id,
        reason=query.reason,
        sip_code=query.sip_code,
        q850_cause=query.q850_cause,
        trunk_id=None if key.customer_id else query.trunk_id,
        customer_id=None if key.customer_id else query.customer_id,
    )


def _place(position: str | None) -> Place | None:
    if position is None:
        return None
    arrived, seq = position.split()
    return int(arrived), int(seq)


def _live(call: Call, key: Principal) -> LiveCallView:
    document: dict[str, Any] = live_document(call, for_operator=key.is_operator)
    return LiveCallView(**document)


def _cdr(cdr: Cdr) -> CdrView:
    return CdrView(**cdr.document)
