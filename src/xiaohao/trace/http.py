"""Routes: the path of a call, and its SIP messages as a picture, as text and as a capture file."""

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import Response

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Request, Timestamp
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.clock import rfc3339, rfc3339_local
from xiaohao.trace.legs import Step
from xiaohao.trace.media import SideMedia
from xiaohao.trace.service import CallMessages, CallPath, CallTraces, Kept

_SVG: Final = "image/svg+xml"
_PCAP: Final = "application/vnd.tcpdump.pcap"
#: a picture that is looked at by itself may load nothing and run nothing
_STILL: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class EntryView(BaseModel):
    """Something that happened to a call."""

    at: Timestamp
    at_local: Timestamp
    kind: str = Field(description="`decision`, `try`, `signal`, `announcement` or `notification`")
    what: str
    took_us: int | None = Field(description="How long it took, in microseconds")
    details: dict[str, Any]


class SideView(BaseModel):
    """One side's media; counts are of the RTP that came from this side."""

    side: str = Field(description="`caller` or `callee`")
    codec: str | None = Field(examples=["PCMA/8000"])
    packets: int
    bytes: int
    errors: int
    heard_loss_percent: float | None = Field(
        description="Of what it heard, as it said by RTCP; null: it said nothing"
    )
    heard_jitter_ms: float | None
    round_trip_ms: float | None
    reports: int
    heard_mos: float | None = Field(description="Estimate by the E-model of ITU-T G.107, simplified")


class SipView(BaseModel):
    """What there is of a call's SIP messages."""

    state: Kept
    messages: int
    cut: int = Field(description="Further messages, which were not kept")
    ladder: str | None = Field(description="Where the picture of them is")


class PathView(BaseModel):
    """The path of a call."""

    call_id: str
    live: bool = Field(description="It is in progress; more will come")
    entries: list[EntryView]
    media: list[SideView] = Field(description="Known after the end of a call that had media")
    sip: SipView


class Numbers(StrEnum):
    """How real numbers are shown."""

    MASKED = "masked"
    FULL = "full"


class LadderQuery(BaseModel):
    """How the picture is wanted."""

    numbers: Numbers = Field(
        Numbers.MASKED,
        description="`full` for the customer whose call it is only; it is written into the audit log",
    )


class Why(Request):
    """What real numbers are needed for."""

    reason: Annotated[
        str, StringConstraints(min_length=3, max_length=500, strip_whitespace=True, pattern=r"^[^\x00]*$")
    ] = Field(description="Goes into the audit log")


class MessageView(BaseModel):
    """One SIP message as the edge received or sent it."""

    at: Timestamp
    at_local: Timestamp
    offset_us: int = Field(description="Since the first message")
    side: str = Field(description="`caller` or `callee`")
    received: bool = Field(description="By the platform; else sent by it")
    carrier: str | None = Field(description="Name of the trunk")
    address: str
    port: int
    transport: str
    method: str | None
    code: int | None
    cseq: str
    repeated: bool = Field(description="The same message came, or went, before")
    cut_bytes: int = Field(description="So much of its end was not kept")
    text: str


class MessagesView(BaseModel):
    """The SIP messages of a call."""

    call_id: str
    masked: bool
    cut: int = Field(description="Further messages, which were not kept")
    items: list[MessageView]


def _binary(kind: str, what: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": what, "content": {kind: {"schema": {"type": "string"}}}}}


def router(traces: CallTraces) -> APIRouter:
    """The routes of this room."""
    routes = api_router("calls")

    @routes.get("/v1/calls/{call_id}/path")
    async def get_path(key: AnyKey, call_id: str) -> PathView:
        """What was decided about a call and why, each trunk tried, each signal, its media, what was told."""
        return _path(await traces.path(key, call_id))

    @routes.get(
        "/v1/calls/{call_id}/ladder.svg", response_class=Response, responses=_binary(_SVG, "The picture")
    )
    async def get_ladder(key: AnyKey, call_id: str, query: Annotated[LadderQuery, Query()]) -> Response:
        """The SIP messages of all legs of a call as a ladder picture."""
        picture = await traces.ladder(key, call_id, full=query.numbers is Numbers.FULL)
        return Response(picture, media_type=_SVG, headers=_STILL)

    @routes.get("/v1/calls/{call_id}/messages")
    async def get_messages(key: OperatorKey, call_id: str) -> MessagesView:
        """The SIP messages of a call as text, numbers masked, what need not be read hidden."""
        return _messages(await traces.messages(key, call_id))

    @routes.post("/v1/calls/{call_id}/messages", openapi_extra=ONLY_READS)
    async def read_messages(key: OperatorKey, call_id: str, body: Why) -> MessagesView:
        """The same as they were, real numbers and all, for a reason that goes into the audit log."""
        return _messages(await traces.messages(key, call_id, body.reason))

    @routes.post(
        "/v1/calls/{call_id}/messages.pcap",
        response_class=Response,
        responses=_binary(_PCAP, "The capture file"),
        openapi_extra=ONLY_READS,
    )
    async def read_capture(key: OperatorKey, call_id: str, body: Why) -> Response:
        """The same as a capture file, as Wireshark reads it."""
        file = await traces.capture(key, call_id, body.reason)
        name = {"Content-Disposition": f'attachment; filename="{call_id}.pcap"', "Cache-Control": "no-store"}
        return Response(file, media_type=_PCAP, headers=name)

    return routes


def _path(path: CallPath) -> PathView:
    has_ladder = path.sip.state is Kept.KEPT
    return PathView(
        call_id=path.call.id,
        live=path.live,
        entries=[EntryView(**entry.document()) for entry in path.entries],
        media=[_side(side) for side in path.media],
        sip=SipView(
            state=path.sip.state,
            messages=path.sip.messages,
            cut=path.sip.cut,
            ladder=f"/v1/calls/{path.call.id}/ladder.svg" if has_ladder else None,
        ),
    )


def _side(side: SideMedia) -> SideView:
    return SideView(**{name: getattr(side, name) for name in side.__struct_fields__})


def _messages(found: CallMessages) -> MessagesView:
    steps = found.legs.steps
    begin = steps[0].message.at
    return MessagesView(
        call_id=found.call.id,
        masked=found.mask is not None,
        cut=found.legs.cut,
        items=[_message(step, found, begin) for step in steps],
    )


def _message(step: Step, found: CallMessages, begin: int) -> MessageView:
    message, party = step.message, found.legs.parties[step.party]
    text = message.text.decode("utf-8", "replace") if found.mask is None else found.mask.message(step.sip)
    return MessageView(
        at=rfc3339(message.at),
        at_local=rfc3339_local(message.at),
        offset_us=message.at - begin,
        side="caller" if message.caller_side else "callee",
        received=step.received,
        carrier=party.trunk,
        address=message.source if step.received else message.destination,
        port=message.source_port if step.received else message.destination_port,
        transport=message.transport,
        method=step.sip.method,
        code=step.sip.code,
        cseq=step.sip.cseq,
        repeated=step.repeated,
        cut_bytes=message.cut,
        text=text,
    )
