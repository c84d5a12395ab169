"""The API's own page: Swagger UI from a Python package, so that it works without the internet."""

from importlib import resources
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from xiaohao import __version__
from xiaohao.api.errors import Problem
from xiaohao.api.naming import rename_schemas
from xiaohao.notifications.wire import POSTED

DESCRIPTION: Final = """\
Two phones call each other through the platform and never learn each other's number.

* **Keys.** Every request under `/v1` carries `Authorization: Bearer <API key>`. A customer's key reaches that
  customer's things only; another customer's look exactly like things that do not exist. The operator's key
  reaches customers, trunks, numbers, pools, and everybody's calls, records and recordings.
* **Errors** are problem documents (RFC 9457). Programs look at `code`; it never changes its meaning.
* **Real numbers** travel in bodies only, never in a URL, because URLs end up in logs. So what is searched by
  a real number is a `POST …/search`.
* **Sending twice.** A POST with an `Idempotency-Key` is carried out once; sent again within 24 hours it gets
  the first answer, with `Idempotency-Replayed: true`.
* **Lists** come in pages: give `next` of one page as `after` to get the next.
* **Moments** are RFC 3339; answers show UTC with milliseconds.
"""

_TAGS: Final = [
    {"name": "bindings", "description": "Who may be connected to whom, through which numbers"},
    {"name": "calls", "description": "Calls in progress, and the records of those that ended"},
    {"name": "recordings", "description": "What was said"},
    {"name": "events", "description": "What happened: to fetch, to follow, to have sent again"},
    {"name": "webhook", "description": "Where the platform reports what happens"},
    {"name": "numbers", "description": "The platform's own numbers and their pools"},
    {"name": "prompts", "description": "What callers hear, and in which situations"},
    {
        "name": "graphs",
        "description": "Dialogues with callers: what is asked, and what follows from the keys",
    },
    {
        "name": "routing",
        "description": "Calls that you decide one by one",
    },
    {"name": "policies", "description": "Lists, limits, hours, destinations: which calls are let through"},
    {"name": "billing", "description": "Contracts, usage, limits and payments; carriers' files"},
    {"name": "invoices", "description": "Months on paper"},
    {"name": "lookups", "description": "Who is behind a number, now and at any moment of the past"},
    {"name": "audit", "description": "Who asked what that is only answered for a reason"},
    {
        "name": "planning",
        "description": "How many numbers are needed, and for how long those there are will do",
    },
    {"name": "customers", "description": "For the operator: customers and their keys"},
    {"name": "trunks", "description": "For the operator: the ways to the carriers"},
]
_SCHEMES: Final = {
    "operatorKey": {"type": "http", "scheme": "bearer", "description": "A key of the operator"},
    "customerKey": {"type": "http", "scheme": "bearer", "description": "A key of a customer"},
}

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>xiaohao API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript; see <a href="openapi.json">openapi.json</a> itself.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START: Final = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "none",
  filter: true,
  validatorUrl: null,
});
"""
#: nothing from anywhere else; Swagger UI sets styles of its own and carries its pictures in itself
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 description of `app`, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title="xiaohao",
            version=__version__,
            description=DESCRIPTION,
            routes=app.routes,
            tags=_TAGS,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        _remove_the_frameworks_errors(document, schemas)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        document["components"]["securitySchemes"] = _SCHEMES
        document["webhooks"] = _webhooks(schemas)
        app.openapi_schema = rename_schemas(document)
    return app.openapi_schema


def _remove_the_frameworks_errors(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    # FastAPI describes its own 422 wherever a route has parameters, even where nothing can be wrong.
    for path in document["paths"].values():
        for operation in path.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _webhooks(schemas: dict[str, Any]) -> dict[str, Any]:
    """What the platform sends, one operation for each `type`; adds its schemas to `schemas`."""
    events, parts = msgspec.json.schema_components(
        list(POSTED.values()), ref_template="#/components/schemas/Webhook{name}"
    )
    schemas.update({f"Webhook{name}": part for name, part in parts.items()})
    answers = {"2XX": {"description": "Taken. Anything else, or silence, and it is sent again."}}
    return {
        kind: {
            "post": {
                "tags": ["webhook"],
                "operationId": kind.replace(".", "_"),
                "description": "Signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`,"
                " `webhook-signature`.",
                "requestBody": {"required": True, "content": {"application/json": {"schema": event}}},
                "responses": answers,
            }
        }
        for kind, event in zip(POSTED, events, strict=True)
    }


async def page(_request: Request) -> Response:
    """`GET /docs`."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


async def file(request: Request) -> Response:
    """`GET /docs/{name}`: what the page consists of."""
    name = request.path_params["name"]
    if name == "start.js":
        return Response(_START, media_type="text/javascript")
    if name not in _FILES:
        raise HTTPException(404)
    content = (resources.files("fastapi_swagger.resources") / name).read_bytes()
    return Response(content, media_type=_FILES[name], headers={"Cache-Control": "public, max-age=86400"})
