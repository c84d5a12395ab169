"""Who may say that the media of a call have died: rtpengine on this machine, and nobody else."""

from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from xiaohao.switch import http

CALL = "17959327-6402-8669-a352-5881b782024f"
REPORT = f"<methodCall><params><param><value><string>{CALL}</string></value></param></params></methodCall>"


async def _told(peer: str, ours: str) -> tuple[int, list[str]]:
    died: list[str] = []
    app = http.application(lambda: True, lambda: True, died.append)
    names = {"peername": (peer, 40_000), "sockname": (ours, 8082)}
    request = make_mocked_request("POST", "/media-died", transport=Mock(get_extra_info=names.get), app=app)
    request._read_bytes = REPORT.encode()  # what `read` gives back
    (handler,) = [route.handler for route in app.router.routes() if route.method == "POST"]
    answer = await handler(request)
    assert isinstance(answer, web.Response)
    return answer.status, died


@pytest.mark.parametrize(
    ("peer", "ours"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("192.0.2.7", "192.0.2.7")]
)
async def test_this_machine_is_believed(peer: str, ours: str) -> None:
    assert await _told(peer, ours) == (200, [CALL])


async def test_another_machine_ends_no_call() -> None:
    assert await _told("192.0.2.8", "192.0.2.7") == (403, [])
