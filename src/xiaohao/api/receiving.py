"""A body that is a file: written to the disk as it comes, bounded in size and patience."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request

from xiaohao.errors import Refusal

_PATIENCE_S: Final = 30.0


def media_type_of(request: Request) -> str:
    """What the Content-Type says, without its parameters; "" where there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def wrong_media_type(kind: str, wanted: Sequence[str]) -> Refusal:
    """The refusal of a body of this kind; it says what to do where a client is known to mean well."""
    detail = f"Send {' or '.join(wanted)}, and say so in Content-Type."
    if kind.startswith("multipart/"):
        detail = f"Send the file itself as the body and not a form around it: {' or '.join(wanted)}."
    elif kind == "application/x-www-form-urlencoded":
        detail += " This one says that a form comes, as curl does unless it is told otherwise."
    return Refusal("media_type_not_supported", "Unsupported media type", detail, 415)


async def received(request: Request, file: Path, most: int) -> None:
    """Write the body into a file, at most so many bytes.

    Raises Refusal: `body_too_large`, `body_too_slow`.
    """
    size = 0
    chunks = request.stream()
    with file.open("wb") as out:
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                detail = f"Nothing came for {_PATIENCE_S:.0f} seconds."
                raise Refusal("body_too_slow", "The request took too long", detail, 408) from None
            if chunk is None:
                return
            size += len(chunk)
            if size > most:
                raise Refusal("body_too_large", "The body is too large", f"At most {most} bytes.", 413)
            out.write(chunk)
