"""The outermost layer of the HTTP interface: no answer without a status that was meant, none uncounted."""

import time
from pathlib import Path
from traceback import extract_tb
from typing import Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xiaohao.api import errors
from xiaohao.api.metrics import Metrics

_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: counted for a client that went away before its answer
_GONE: Final = 499
_HEADERS: Final = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
#: answers under /v1 hold people's numbers and belong in no cache
_PRIVATE_HEADERS: Final = [*_HEADERS, (b"cache-control", b"no-store")]

#: in the log's way to an error: our own code, and where it was raised
_OURS: Final = Path(__file__).parents[1]
_FRAMES: Final = 12

log = structlog.get_logger(__name__)


class AnswerBroken(Exception):
    """An answer broke off in the middle: raised so that the server closes the connection."""


class Guard:
    """ASGI middleware: counts, adds headers, turns what nobody expected into a problem document."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = _PRIVATE_HEADERS if scope["path"].startswith("/v1/") else _HEADERS
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            status = status or _GONE
        except Exception as error:  # noqa: BLE001 - the last place where an error can still become an answer
            instance = errors.new_instance()
            _record(error, instance)
            if status:
                raise AnswerBroken(instance) from None
            await errors.defect(instance)(scope, receive, sending)
        finally:
            method = scope["method"] if scope["method"] in _KNOWN_METHODS else "other"
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.request(method, route, status or _GONE, time.perf_counter() - began)


def _record(error: Exception, instance: str) -> None:
    # An exception's text may quote a number (a statement's parameters, a wrong value): only its kind and its
    # way through the code are written down.
    frames = extract_tb(error.__traceback__)
    ours = [frame for frame in frames[:-1] if _OURS in Path(frame.filename).parents]
    way = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in [*ours[-_FRAMES:], *frames[-1:]]]
    log.error("request failed", instance=instance, error=type(error).__name__, way=" ".join(way))
