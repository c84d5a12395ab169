"""Work that nobody waits for any more is not done."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request

from xiaohao.errors import Refusal

_T = TypeVar("_T")


async def while_there(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, which is cancelled when the client goes away. The body must have been read."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Refusal("client_gone", "The client has gone", "Nobody waits for this answer.", 503)
    finally:
        for one in (task, leaving):
            one.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await one


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
