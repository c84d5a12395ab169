"""Files that come as a request's body: written down as they come, within bounds."""

import asyncio
from pathlib import Path
from typing import Final

from starlette.requests import Request

from xiaohao.errors import Refusal

_PATIENCE_S: Final = 30.0


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
