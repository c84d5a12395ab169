"""Audio over HTTP: the whole, or the one range that a player asks for (RFC 9110 section 14)."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from xiaohao.errors import Refusal
from xiaohao.recordings.model import StoreAway
from xiaohao.recordings.seal import SealBroken
from xiaohao.recordings.service import Audio

#: one range as players send it (RFC 9110 section 14.1.2); others are ignored, as its section 14.2 allows
_RANGE: Final = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.IGNORECASE | re.ASCII)


def said_of(request: Request) -> dict[str, str]:
    """What the audit log says about a request for audio."""
    asked = request.headers.get("range")
    return {"method": request.method} | ({} if asked is None else {"range": asked[:50]})


async def deliver(audio: Audio, request: Request) -> Response:
    """The answer to a GET or HEAD. Raises Refusal: `recording_file_missing`, …; HTTPException (416)."""
    first, last, is_part = _range(request, audio)
    length = last - first + 1
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{audio.name}"',
        "Content-Length": str(length),
        "ETag": f'"{audio.sha256}"',
    }
    if is_part:
        headers["Content-Range"] = f"bytes {first}-{last}/{audio.length}"
    status = 206 if is_part else 200
    with told():
        if request.method == "HEAD":
            await audio.check()
            return Response(status_code=status, headers=headers, media_type=audio.media_type)
        stream = audio.stream(first, length)
        # What goes wrong with the first bytes can still be told.
        begun = await anext(stream, b"")
    body = _joined(begun, stream)
    return StreamingResponse(body, status, headers, media_type=audio.media_type)


def _range(request: Request, audio: Audio) -> tuple[int, int, bool]:
    """First and last byte of what is to be sent, and whether that is a range that was asked for."""
    size, whole = audio.length, (0, audio.length - 1, False)
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    condition = request.headers.get("if-range")
    if match is None or (condition is not None and condition != f'"{audio.sha256}"'):
        return whole
    if match[2] and int(match[1]) > int(match[2]):
        return whole
    if int(match[1]) >= size if match[1] else int(match[3]) == 0:
        raise HTTPException(416, headers={"Content-Range": f"bytes */{size}"})
    if match[3]:
        return max(size - int(match[3]), 0), size - 1, True
    return int(match[1]), min(int(match[2] or size), size - 1), True


async def _joined(begun: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begun
    async for piece in rest:
        yield piece


@contextmanager
def told() -> Iterator[None]:
    """Say as a Refusal what is wrong where the store does not give a recording."""
    try:
        yield
    except FileNotFoundError:
        detail = "The operator has moved or deleted it."
        raise Refusal("recording_file_missing", "The recording's file is missing", detail, 404) from None
    except StoreAway:
        detail = "The recordings' store does not answer: ask again later."
        raise Refusal("recordings_store_away", "The store is away", detail, 503) from None
    except SealBroken as error:
        detail = f"It cannot be read: {error}."
        raise Refusal("recording_damaged", "The recording is damaged", detail, 500) from None
