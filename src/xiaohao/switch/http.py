"""The switch's own HTTP listener: health, metrics, and rtpengine's word that a call's media died."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

#: rtpengine's XML-RPC call holds nothing but the call id that we gave it (`--xmlrpc-format=1`)
_CALL_ID: Final = re.compile(rb"<string>([0-9a-fA-F-]{36})</string>")
_XMLRPC_OK: Final = (
    '<?xml version="1.0"?><methodResponse><params><param><value><string>OK</string></value></param>'
    "</params></methodResponse>"
)


def application(
    is_ready: Callable[[], bool], is_idle: Callable[[], bool], media_died: Callable[[str], None]
) -> web.Application:
    """The listener's routes."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok" if is_ready() else "waiting for the edge"})

    async def readyz(_request: web.Request) -> web.Response:
        ready = is_ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def idle(_request: web.Request) -> web.Response:
        nobody_calls = is_idle()
        return web.json_response({"idle": nobody_calls}, status=200 if nobody_calls else 503)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def died(request: web.Request) -> web.Response:
        if not _is_from_this_machine(request):
            return web.json_response({"error": "only rtpengine on this machine may say so"}, status=403)
        for call_id in _CALL_ID.findall(await request.read()):
            media_died(call_id.decode())
        return web.Response(text=_XMLRPC_OK, content_type="text/xml")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/idle", idle)
    app.router.add_get("/metrics", metrics)
    app.router.add_post("/media-died", died)
    return app


def _is_from_this_machine(request: web.Request) -> bool:
    if request.transport is None:  # gone already
        return False
    theirs, ours = (request.transport.get_extra_info(name) for name in ("peername", "sockname"))
    return theirs[0] == ours[0] or ip_address(theirs[0]).is_loopback
