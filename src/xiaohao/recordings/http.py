"""Routes: what is known of a call's recording, and its audio."""

import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Timestamp
from xiaohao.api.route import PROBLEM_CONTENT, api_router
from xiaohao.errors import Refusal
from xiaohao.recordings.model import MEDIA_TYPES, Recording, RecordingState
from xiaohao.recordings.service import Audio, Recordings
from xiaohao.recordings.wire import recording_document

#: one range as players send it (RFC 9110 section 14.1.2); others are ignored, as its section 14.2 allows
_RANGE: Final = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.IGNORECASE | re.ASCII)
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_AUDIO: Final = dict.fromkeys(MEDIA_TYPES.values(), _BYTES)
_AUDIO_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The whole file", "content": _AUDIO},
    206: {"description": "The range that was asked for", "content": _AUDIO},
    409: {"description": "There is no audio, yet or for good", "content": PROBLEM_CONTENT},
    416: {"description": "The range begins behind the end", "content": PROBLEM_CONTENT},
}
_RANGE_PARAMETER: Final = {
    "name": "Range",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "bytes=0-65535",
}


class RecordingView(BaseModel):
    """What is known of a call's recording; null where it cannot be known yet."""

    # The document is made in recordings/wire.py; what it adds shows up here by itself.
    model_config = ConfigDict(extra="allow")

    call_id: str
    state: RecordingState
    url: str | None = Field(description="Where its audio is found")
    format: str | None
    media_type: str | None
    bytes: int | None
    sha256: str | None
    duration_ms: int | None
    channels: dict[str, str] = Field(description="Whose voice is on which channel")
    begins_at: Timestamp
    begins_at_local: Timestamp
    ready_at: Timestamp | None
    error: str | None = Field(None, description="For the operator: why the last try failed")


def router(recordings: Recordings) -> APIRouter:
    """The routes of this room."""
    routes = api_router("recordings")

    @routes.get("/v1/recordings/{call_id}", response_model_exclude_unset=True)
    async def get_recording(key: AnyKey, call_id: str) -> RecordingView:
        """What is known of a call's recording."""
        return _view(await recordings.get(key.customer_id, call_id), for_operator=key.is_operator)

    @routes.get(
        "/v1/recordings/{call_id}/audio",
        response_class=FileResponse,
        responses=_AUDIO_RESPONSES,
        openapi_extra={"parameters": [_RANGE_PARAMETER]},
    )
    async def get_audio(key: AnyKey, call_id: str, request: Request) -> Response:
        """The file, or the one range of it that the header `Range` asks for."""
        return await _file(recordings.audio(key.customer_id, call_id), request)

    @routes.head("/v1/recordings/{call_id}/audio", include_in_schema=False)
    async def head_audio(key: AnyKey, call_id: str, request: Request) -> Response:
        """The headers of the same."""
        return await _file(recordings.audio(key.customer_id, call_id), request)

    @routes.post("/v1/recordings/{call_id}/retry", status_code=202)
    async def retry_recording(_: OperatorKey, call_id: str) -> RecordingView:
        """Try again to make the audio of a recording that failed."""
        await recordings.retry(call_id)
        return _view(await recordings.get(None, call_id), for_operator=True)

    return routes


async def _file(finding: Awaitable[Audio], request: Request) -> Response:
    try:
        audio = await finding
        facts = await run_in_threadpool(Path.stat, audio.file)
    except FileNotFoundError:
        raise _missing() from None
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or (match[2] and int(match[1]) > int(match[2])):
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    elif int(match[1]) >= facts.st_size if match[1] else int(match[3]) == 0:
        raise HTTPException(416, headers={"Content-Range": f"bytes */{facts.st_size}"})
    return FileResponse(audio.file, media_type=audio.media_type, filename=audio.name, stat_result=facts)


def _missing() -> Refusal:
    return Refusal(
        "recording_file_missing",
        "The recording's file is missing",
        "The operator has moved or deleted it.",
        404,
    )


def _view(recording: Recording, for_operator: bool) -> RecordingView:
    document = recording_document(recording)
    if for_operator:
        document["error"] = recording.error
    return RecordingView(**document)
