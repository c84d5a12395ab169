"""Routes: events to fetch, to follow, and to have sent again."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from xiaohao.api.auth import AnyKey, Keys
from xiaohao.api.fields import Id, Moment, Request, Timestamp
from xiaohao.api.paging import Cursors, PageQuery
from xiaohao.api.route import api_router
from xiaohao.calls.records import CallRecords
from xiaohao.calls.wire import live_document
from xiaohao.errors import Refusal
from xiaohao.notifications.feed import Feed, Told, Wanted
from xiaohao.notifications.model import EventState, Kind
from xiaohao.notifications.streams import StreamResponse, Streams
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal

#: calls in progress at the beginning of a stream
_CALLS_SHOWN: Final = 500

Kinds = Annotated[list[Kind], Field(max_length=len(Kind))]
#: the id of what an event tells of, or a platform number
Thing = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\+?[A-Za-z0-9_-]*$")]


class DeliveryView(BaseModel):
    """What has become of an event's delivery at this moment."""

    state: EventState
    tries: int
    error: str | None = Field(description="Why the last try failed")
    delivered_at: Timestamp | None
    next_try_at: Timestamp | None
    customer_id: str | None = Field(None, description="Shown to the operator only")


class EventView(BaseModel):
    """An event: the very document that is POSTed, and `delivery` beside it."""

    id: str
    type: str
    timestamp: Timestamp
    timestamp_local: Timestamp
    sequence: int
    data: dict[str, Any] | None = Field(description="null: it cannot be read with the platform's master key")
    delivery: DeliveryView


class EventPage(BaseModel):
    """A page of events."""

    items: list[EventView]
    next: str = Field(description="Give it as `after` to go on, now or later: it is never null")


class EventQuery(PageQuery):
    """Which events."""

    kind: Kinds = Field([], description="Only these kinds; may be given several times")
    state: EventState | None = Field(None, description="Only those whose delivery stands so now")
    call_id: Thing | None = Field(
        None, description="Only what tells of this call, or of this number (`%2B86…`) or digest"
    )
    customer_id: Id | None = Field(None, description="For the operator")


class StreamQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    kind: Kinds = Field([], description="Only these kinds; may be given several times")
    after: Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_-]*$")] | None = Field(
        None, description="Begin behind this place; `Last-Event-ID` comes first"
    )
    calls: bool = Field(True, description="Begin with the calls in progress, where it begins now")
    customer_id: Id | None = Field(None, description="For the operator")


class ReplayRequest(Request):
    """Which events to send again. All that is given must hold; something must be given."""

    ids: list[Id] | None = Field(None, min_length=1, max_length=500)
    kinds: list[Annotated[Kind, Strict(False)]] | None = Field(None, min_length=1, max_length=len(Kind))
    state: EventState | None = Field(None, strict=False, description="e.g. `dead`; null: whatever is at rest")
    call_id: Thing | None = Field(None, description="What tells of this call, or of this number or digest")
    since: Moment | None = Field(None, description="What happened at this moment or later")
    until: Moment | None = Field(None, description="What happened before this moment")
    dry_run: bool = Field(False, description="Only count")
    customer_id: Id | None = Field(None, description="For the operator")


class Replayed(BaseModel):
    """How many events are sent again, or would be."""

    count: int
    dry_run: bool


def router(feed: Feed, streams: Streams, records: CallRecords, keys: Keys, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("events")

    @routes.get("/v1/events", response_model_exclude_unset=True)
    async def list_events(key: AnyKey, query: Annotated[EventQuery, Query()]) -> EventPage:
        """Events in the order of storing, the oldest first; all that are kept, POSTed or not.

        No event is ever skipped by who goes on with `next`. An empty page: there is nothing new yet.
        """
        cursors = _cursors(vault, key)
        wanted = Wanted(
            customer_id=key.customer_id or query.customer_id,
            kinds=query.kind or None,
            state=query.state,
            call_id=query.call_id,
        )
        place = int(cursors.position(query.after) or 0)
        told, place = await feed.after(place, query.limit, wanted, key.is_operator)
        return EventPage(items=[_view(one) for one in told], next=cursors.at(place))

    @routes.post("/v1/events:replay")
    async def replay_events(key: AnyKey, body: ReplayRequest) -> Replayed:
        """Send events again that were delivered, given up or never wanted; they keep id and sequence."""
        wanted = Wanted(
            customer_id=key.customer_id or body.customer_id,
            ids=body.ids,
            kinds=body.kinds,
            state=body.state,
            call_id=body.call_id,
            since=body.since,
            until=body.until,
        )
        count = await (feed.count_replayable(wanted) if body.dry_run else feed.replay(wanted))
        return Replayed(count=count, dry_run=body.dry_run)

    _add_stream(routes, feed, streams, records, keys, vault)
    return routes


def _add_stream(
    routes: APIRouter, feed: Feed, streams: Streams, records: CallRecords, keys: Keys, vault: Vault
) -> None:
    @routes.get("/v1/events:stream", status_code=200, response_class=StreamResponse, responses=_STREAM)
    async def stream_events(
        key: AnyKey,
        request: HttpRequest,
        query: Annotated[StreamQuery, Query()],
        last_event_id: Annotated[str | None, Header(max_length=500, pattern=r"^[A-Za-z0-9_-]*$")] = None,
    ) -> Response:
        """Events as they happen, as server-sent events; for the operator those of all customers."""
        customer_id = key.customer_id or query.customer_id
        cursors = _cursors(vault, key)
        position = cursors.position(last_event_id or query.after)
        authorization = request.headers.get("authorization")

        async def calls() -> dict[str, Any]:
            live = await records.page_live(customer_id, "", _CALLS_SHOWN)
            return {"calls": [live_document(call, for_operator=key.is_operator) for call in live]}

        async def key_is_good() -> bool:
            try:
                return (await keys.principal(authorization)).key_id == key.key_id
            except Refusal:
                return False

        place = await streams.now() if position is None else int(position)
        first = await calls() if position is None and query.calls else None
        streams.admit(key.customer_id)
        text = streams.read(
            key.customer_id,
            place,
            Wanted(customer_id=customer_id, kinds=query.kind or None),
            cursors.at,
            first,
            key_is_good,
        )
        return StreamResponse(text)


_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A stream without end",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def _cursors(vault: Vault, key: Principal) -> Cursors:
    return Cursors(vault, f"events {key.customer_id}")


def _view(told: Told) -> EventView:
    return EventView(**told.document)
