"""One POST to a customer: signed, without following redirects, and what came of it in a few words.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, timestamp
and body, in the headers webhook-id, webhook-timestamp and webhook-signature.
"""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import aiohttp
from standardwebhooks import Webhook as Signer
from yarl import URL

from xiaohao import __version__

_USER_AGENT: Final = f"xiaohao/{__version__}"
#: what a customer answers is of no interest; a longer answer costs it the connection
_ANSWER_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try failed, in words of our own: a library's words may hold the URL and the secrets in it.

    `endpoint_at_fault` tells an endpoint that is down or overloaded from one that dislikes this event.
    """

    error: str
    endpoint_at_fault: bool


class EndpointError(Exception):
    """A webhook's URL or secret cannot be used. Never carries either."""


class Endpoint:
    """Where and with which signature a customer's events go."""

    def __init__(self, url: str, secret: str) -> None:
        """`secret` is `whsec_…`. Raises EndpointError."""
        try:
            self.url = URL(url)
            self.signer = Signer(secret)
        except Exception:  # noqa: BLE001 - the libraries raise many kinds, all of them quoting what is secret
            raise EndpointError("the webhook's URL or secret cannot be read") from None
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise EndpointError("the webhook's URL is neither http nor https")


class Sender:
    """Sends to all customers over connections that are kept open. Create it in a running event loop."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s` is for the whole exchange, connecting included."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding"),
            auto_decompress=False,
        )

    async def post(self, endpoint: Endpoint, event_id: str, body: str) -> Failure | None:
        """Deliver one event; None when the customer took it (any 2xx)."""
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": _USER_AGENT,
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": endpoint.signer.sign(event_id, now, body),
        }
        try:
            status = await self._exchange(endpoint.url, headers, body.encode())
        except (aiohttp.ServerDisconnectedError, ConnectionResetError):
            # An idle connection that the customer closed just then says nothing of the customer: once more.
            return await self._last_try(endpoint.url, headers, body.encode())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failure(_in_words(error), endpoint_at_fault=True)
        return _judged(status)

    async def _last_try(self, url: URL, headers: dict[str, str], body: bytes) -> Failure | None:
        try:
            return _judged(await self._exchange(url, headers, body))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failure(_in_words(error), endpoint_at_fault=True)

    async def _exchange(self, url: URL, headers: dict[str, str], body: bytes) -> int:
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            await response.content.read(_ANSWER_BYTES)
            return response.status

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def _judged(status: int) -> Failure | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Failure(f"HTTP {status}, and redirects are not followed", endpoint_at_fault=False)
    return Failure(f"HTTP {status}", endpoint_at_fault=status >= 500 or status in (408, 429))


def _in_words(error: Exception) -> str:
    words: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        ((TimeoutError, asyncio.TimeoutError), "no answer in time"),
        ((aiohttp.ClientSSLError, ssl.SSLError), "TLS: the certificate is not valid or the handshake failed"),
        (aiohttp.ClientConnectorDNSError, "the host name is not known"),
        (aiohttp.ClientConnectorError, "no connection"),
        ((aiohttp.ServerDisconnectedError, ConnectionError), "the connection broke"),
        (aiohttp.ClientResponseError, "the answer is not HTTP"),
    )
    return next((text for kinds, text in words if isinstance(error, kinds)), "the request could not be sent")
