"""Routes: what is known of calls' recordings, their audio, links to it, and what a player draws."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Id, Moment, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import PROBLEM_CONTENT, api_router
from xiaohao.clock import rfc3339
from xiaohao.recordings.delivery import deliver, said_of, told
from xiaohao.recordings.links import LONGEST_S
from xiaohao.recordings.model import MEDIA_TYPES, Failure, Recording, RecordingState
from xiaohao.recordings.service import Recordings
from xiaohao.recordings.wire import recording_document
from xiaohao.secrecy import Vault

_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_AUDIO: Final = dict.fromkeys(MEDIA_TYPES.values(), _BYTES)
_AUDIO_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The whole file", "content": _AUDIO},
    206: {"description": "The range that was asked for", "content": _AUDIO},
    409: {
        "description": "There is no audio: not yet, not for good, or not any more",
        "content": PROBLEM_CONTENT,
    },
    416: {"description": "The range begins behind the end", "content": PROBLEM_CONTENT},
}
_NO_AUDIO: Final[dict[int | str, dict[str, Any]]] = {409: _AUDIO_RESPONSES[409]}
_RANGE_PARAMETER: Final = {
    "name": "Range",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "bytes=0-65535",
}
#: where links lead
LINK_PATH: Final = "/v1/audio/{token}"


class SoundView(BaseModel):
    """One side's audio."""

    codecs: list[str] = Field(description="In the order of their first packet")
    voice_ms: int = Field(description="How long they spoke")
    level_dbfs: float | None = Field(description="How loud, ITU-T P.56; null: silent all the time")


class RecordingView(BaseModel):
    """What is known of a call's recording; null where it cannot be known, yet or any more."""

    # The document is made in recordings/wire.py; what it adds shows up here by itself.
    model_config = ConfigDict(extra="allow")

    call_id: str
    state: RecordingState
    failure: Failure | None = Field(description="Why it failed")
    url: str | None = Field(description="Where its audio is found")
    waveform_url: str | None = Field(description="Where that is found which a player draws")
    format: str | None
    media_type: str | None
    bytes: int | None
    sha256: str | None = Field(description="Of the audio as it is delivered")
    duration_ms: int | None
    cut_off: bool | None = Field(description="Not all that was said is in it: its capture was cut off")
    sample_rate: int | None
    channels: dict[str, str] = Field(description="Whose voice is on which channel")
    caller: SoundView | None
    callee: SoundView | None
    begins_at: Timestamp
    begins_at_local: Timestamp
    ready_at: Timestamp | None
    kept_until: Timestamp | None = Field(description="When it will be deleted; null: not by itself")
    held: bool = Field(description="Under a legal hold: it cannot be deleted")
    error: str | None = Field(None, description="For the operator: why the last try failed")
    path: str | None = Field(None, description="For the operator: the object in the store")
    stored_bytes: int | None = Field(None, description="For the operator: of that object, encrypted")
    stored_sha256: str | None = Field(None, description="For the operator: of that object, encrypted")


class RecordingQuery(PageQuery):
    """Which recordings."""

    state: RecordingState | None = None
    since: Moment | None = Field(None, description="Of calls that came at this moment or later")
    until: Moment | None = Field(None, description="Of calls that came before this moment")
    customer_id: Id | None = Field(None, description="For the operator: of one customer")


class NewLink(Request):
    """A link to make."""

    expires_in_s: int = Field(300, ge=1, le=LONGEST_S, description="Seconds for which it can be used")


class LinkView(BaseModel):
    """A link to a recording's audio. Whoever has it can hear that recording without a key."""

    url: str = Field(description="On the same host as this API; fit for a browser's `<audio>`")
    expires_at: Timestamp


class WaveformQuery(BaseModel):
    """How much to draw."""

    model_config = ConfigDict(extra="forbid")

    pixels: int = Field(1000, ge=1, le=20_000, description="At most so many; there are 20 a second")


class VoiceView(BaseModel):
    """When somebody spoke: spans of [from, to] in ms."""

    caller: list[tuple[int, int]]
    callee: list[tuple[int, int]]


class WaveformView(BaseModel):
    """What a player draws, as version 2 of the JSON of BBC's audiowaveform, and when somebody spoke."""

    version: int
    channels: int
    sample_rate: int
    samples_per_pixel: int
    bits: int
    length: int
    data: list[int] = Field(description="A pixel: least and greatest of left, least and greatest of right")
    voice: VoiceView


def router(recordings: Recordings, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("recordings")

    @routes.get("/v1/recordings", response_model_exclude_unset=True)
    async def list_recordings(key: AnyKey, query: Annotated[RecordingQuery, Query()]) -> Page[RecordingView]:
        """Recordings, those of the newest calls first."""
        owner = key.customer_id
        cursors = Cursors(vault, f"recordings {owner}")
        found = await recordings.page(
            owner or query.customer_id,
            cursors.position(query.after),
            query.limit + 1,
            state=query.state,
            since=query.since,
            until=query.until,
        )
        return cursors.page(
            found, query.limit, lambda one: _view(one, key.is_operator), lambda one: one.call_id
        )

    @routes.get("/v1/recordings/{call_id}", response_model_exclude_unset=True)
    async def get_recording(key: AnyKey, call_id: str) -> RecordingView:
        """What is known of a call's recording."""
        return _view(await recordings.get(key.customer_id, call_id), key.is_operator)

    @routes.post("/v1/recordings/{call_id}/retry", status_code=202, response_model_exclude_unset=True)
    async def retry_recording(_: OperatorKey, call_id: str) -> RecordingView:
        """Try again to make the audio of a recording that failed."""
        await recordings.retry(call_id)
        return _view(await recordings.get(None, call_id), for_operator=True)

    def _view(recording: Recording, for_operator: bool) -> RecordingView:
        document = recording_document(recording, recordings.keep_days)
        if for_operator:
            stored = recording.stored
            document["error"] = recording.error
            document["path"] = recording.path
            document["stored_bytes"] = None if stored is None else stored.bytes
            document["stored_sha256"] = None if stored is None else stored.sha256
        return RecordingView(**document)

    _add_audio(routes, recordings)
    return routes


def _add_audio(routes: APIRouter, recordings: Recordings) -> None:
    @routes.get(
        "/v1/recordings/{call_id}/audio",
        response_class=StreamingResponse,
        responses=_AUDIO_RESPONSES,
        openapi_extra={"parameters": [_RANGE_PARAMETER]},
    )
    async def get_audio(key: AnyKey, call_id: str, request: HttpRequest) -> Response:
        """The file, or the one range of it that the header `Range` asks for."""
        return await deliver(await recordings.audio(key, call_id, said=said_of(request)), request)

    @routes.head("/v1/recordings/{call_id}/audio", include_in_schema=False)
    async def head_audio(key: AnyKey, call_id: str, request: HttpRequest) -> Response:
        """The headers of the same."""
        return await deliver(await recordings.audio(key, call_id, said=said_of(request)), request)

    @routes.get("/v1/recordings/{call_id}/waveform", responses=_NO_AUDIO)
    async def get_waveform(
        key: AnyKey, call_id: str, query: Annotated[WaveformQuery, Query()]
    ) -> WaveformView:
        """What a player draws of the recording, and when who of the two spoke."""
        with told():
            return WaveformView(**await recordings.waveform(key, call_id, query.pixels))

    @routes.post("/v1/recordings/{call_id}/links", status_code=201)
    async def create_link(key: AnyKey, call_id: str, body: NewLink) -> LinkView:
        """Make a link to the audio that needs no key, for a browser's player or a download."""
        token, until = await recordings.link(key, call_id, body.expires_in_s)
        return LinkView(url=LINK_PATH.format(token=token), expires_at=rfc3339(until))


async def follow_link(request: HttpRequest) -> Response:
    """GET and HEAD of a link: like `/v1/recordings/{call_id}/audio`, without a key."""
    recordings: Recordings = request.app.state.recordings
    audio = await recordings.audio_by_link(request.path_params["token"], said_of(request))
    return await deliver(audio, request)
