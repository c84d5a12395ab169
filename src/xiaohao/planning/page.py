"""The page `/plan`: a form, and the plan as a table and a picture, all from this server."""

from importlib import resources
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_FILES: Final = {"page.js": "text/javascript", "page.css": "text/css"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


async def page(_request: Request) -> Response:
    """`GET /plan`."""
    return HTMLResponse(_content("page.html"), headers={"Content-Security-Policy": _POLICY})


async def file(request: Request) -> Response:
    """`GET /plan/{name}`: what the page consists of."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404)
    return Response(_content(name), media_type=_FILES[name])


def _content(name: str) -> bytes:
    return (resources.files("xiaohao.planning") / "site" / name).read_bytes()
