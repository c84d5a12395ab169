"""How every route is entered: API key, size, JSON and `Idempotency-Key` first, then the room's function."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from xiaohao.api import idempotency
from xiaohao.api.auth import AUDIENCES, PRINCIPAL, Audience
from xiaohao.api.doubles import name_given_twice
from xiaohao.api.errors import HARMLESS_NAME, MEDIA_TYPE
from xiaohao.api.patience import patiently
from xiaohao.api.receiving import media_type_of, wrong_media_type
from xiaohao.errors import Refusal, not_found

BODY_MAX: Final = 1_000_000
BODY_PATIENCE_S: Final = 30.0

#: a high surrogate that no low one follows; the decoder's own words are about something else then
_HALF_A_PAIR: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F])"
)

_DESCRIPTIONS: Final = {
    400: "The request cannot be read",
    401: "There is no valid API key",
    403: "The API key is not for this",
    404: "There is no such thing, or it is another customer's",
    408: "The body came too slowly",
    409: "Something that exists stands in the way",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A field cannot be used",
    500: "The platform made a mistake",
    503: "The database is busy or away: send the same request again",
}
#: what OpenAPI says of every error's body
PROBLEM_CONTENT: Final[dict[str, Any]] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Any text of your own, such as a UUID. Within 24 hours the same request with the same"
    " key is carried out once and answered with the first answer.",
    "schema": {"type": "string", "pattern": '^("[!#-\\[\\]-~]{1,255}"|[!#-+\\--\\[\\]-~]{1,255})$'},
}


def api_router(tag: str) -> APIRouter:
    """A router whose routes are entered the API's way. Paths are given in full."""
    return APIRouter(route_class=Route, tags=[tag], generate_unique_id_function=lambda route: route.name)


#: `openapi_extra` of a POST that changes nothing: it needs no Idempotency-Key
ONLY_READS: Final[dict[str, Any]] = {"x-only-reads": True}
#: of a POST that is no error when it is sent again, and too large to be kept
NO_KEY: Final[dict[str, Any]] = {"x-no-key": True}


class _LimitedRequest(Request):
    """A request whose body is bounded and whose JSON is read once, strictly."""

    _document: Any = None

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            announced = self.headers.get("content-length", "")
            if announced.isdigit() and int(announced) > BODY_MAX:
                raise _too_large()
            body = bytearray()
            try:
                async with asyncio.timeout(BODY_PATIENCE_S):
                    async for chunk in self.stream():
                        body += chunk
                        if len(body) > BODY_MAX:
                            raise _too_large()
            except TimeoutError:
                detail = f"The body did not come within {BODY_PATIENCE_S:.0f} seconds."
                raise Refusal("body_too_slow", "The request took too long", detail, 408) from None
            self._body = bytes(body)
        return self._body

    async def json(self) -> Any:
        return self._document

    async def read_json(self) -> None:
        """Read and check the body. Raises Refusal."""
        body = await self.body()
        if not body:
            return
        if (kind := media_type_of(self)) != "application/json":
            raise wrong_media_type(kind, ("application/json",))
        try:
            self._document = msgspec.json.decode(body)
            twice = name_given_twice(body, self._document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # The text of a DecodeError tells what is wrong and where, and quotes nothing.
            reason = str(error)
            if _HALF_A_PAIR.search(body):
                reason = (
                    "The text has an escape of half a surrogate pair (as \\ud800 is), which is no character"
                )
            if isinstance(error, UnicodeDecodeError):
                reason = "The text is not UTF-8"
            elif isinstance(error, RecursionError):
                reason = "The text is nested too deeply"
            raise Refusal("json_malformed", "The body is not JSON", f"{reason}.", 400) from None
        if twice is not None:
            which = f"The name {twice!r}" if HARMLESS_NAME.fullmatch(twice) else "A name"
            detail = f"{which} is given twice in one object: nobody can say which of the two is meant."
            raise Refusal("json_name_twice", "A name is given twice", detail, 400)


class Route(APIRoute):
    """A route that knows whose key opens it and describes its problems in OpenAPI."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        audience = self._audience()
        if audience is None:
            return
        security: list[dict[str, list[str]]] = [{scheme: []} for scheme in audience.schemes]
        extra: dict[str, Any] = {**(self.openapi_extra or {}), "security": security}
        statuses = {401, 403, 500, 503}
        if "{" in path:
            statuses.add(404)
        if self.body_field is not None:
            statuses |= {400, 404, 408, 413, 415, 422}  # 404: what the body names
        if self.dependant.query_params or any(map(_is_checked, self.dependant.path_params)):
            statuses.add(422)
        if not (self.methods or set()) <= {"GET", "HEAD"} and not extra.get("x-only-reads"):
            statuses |= {400, 409}  # 400: of HTTP itself, as a length that is none
        if self._takes_key():
            statuses |= {400, 408, 413, 422}
            extra["parameters"] = [*extra.get("parameters", []), _KEY_PARAMETER]
        for ours in (*ONLY_READS, *NO_KEY):
            extra.pop(ours, None)
        self.openapi_extra = extra
        for status in sorted(statuses - self.responses.keys()):
            self.responses[status] = {"description": _DESCRIPTIONS[status], "content": PROBLEM_CONTENT}

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The function that serves a request of this route."""
        handle = super().get_route_handler()
        audience = self._audience()
        takes_key, takes_json = self._takes_key(), self.body_field is not None

        async def serve(plain: Request) -> Response:
            request = _LimitedRequest(plain.scope, plain.receive)
            return await patiently(request.app.state.database, enter(request))

        async def enter(request: _LimitedRequest) -> Response:
            if audience is not None:
                principal = await request.app.state.keys.principal(request.headers.get("authorization"))
                audience.admit(principal)
                request.scope[PRINCIPAL] = principal
            if any("\0" in str(value) for value in request.path_params.values()):
                raise not_found("thing")  # the database would not even take the question
            if takes_json:
                await request.read_json()
            header = request.headers.get(idempotency.HEADER) if takes_key else None
            if header is None:
                return await handle(request)
            identity = (
                request.method.encode(),
                request.scope["raw_path"],
                request.scope["query_string"],
                await request.body(),
            )
            keys: idempotency.Idempotency = request.app.state.idempotency
            owner = request.scope[PRINCIPAL].customer_id or ""
            key = idempotency.key_of(header)
            return await keys.once(owner, key, identity, partial(handle, request))

        return serve

    def _audience(self) -> Audience | None:
        return next((AUDIENCES[d.call] for d in self.dependant.dependencies if d.call in AUDIENCES), None)

    def _takes_key(self) -> bool:
        extra = self.openapi_extra or {}
        return "POST" in (self.methods or ()) and not extra.keys() & {*ONLY_READS, *NO_KEY}


def _is_checked(parameter: Any) -> bool:
    """Whether a part of the path is more than any text: a month, a day."""
    info = parameter.field_info
    return info.annotation is not str or bool(info.metadata)


def _too_large() -> Refusal:
    return Refusal("body_too_large", "The body is too large", f"At most {BODY_MAX} bytes.", 413)
