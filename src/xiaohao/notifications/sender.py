"""One POST to a customer: signed, without following redirects, and what came of it in a few words.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, timestamp
and body, in the headers webhook-id, webhook-timestamp and webhook-signature. While a secret is being replaced
there are two signatures, either of which will do.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook as Signer
from yarl import URL

from xiaohao import __version__
from xiaohao.notifications.connection import Endpoint, NotHttp
from xiaohao.notifications.network import Network, PrivateAddress

_HEADERS: Final = {"user-agent": f"xiaohao/{__version__}", "content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try failed, in words of our own: a library's words may hold the URL and the secrets in it.

    `endpoint_at_fault` tells an endpoint that is down or overloaded from one that dislikes this event.
    """

    error: str
    endpoint_at_fault: bool


class SubscriptionError(Exception):
    """A webhook's URL or secret cannot be used. Never carries either."""


class Subscription:
    """Where and with which signature a customer's events go."""

    def __init__(self, url: str, secrets: Sequence[str], network: Network) -> None:
        """Each of `secrets` (`whsec_…`) signs. Raises SubscriptionError."""
        try:
            parsed = URL(url)
            self._signers = [Signer(secret) for secret in secrets]
        except Exception:  # noqa: BLE001 - the libraries raise many kinds, all of them quoting what is secret
            raise SubscriptionError("the webhook's URL or secret cannot be read") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise SubscriptionError("the webhook's URL is neither http nor https")
        self._endpoint = Endpoint(parsed, _HEADERS, network)

    async def post(self, event_id: str, body: str, timeout_s: float) -> Failure | None:
        """Deliver one event; None when the customer took it (any 2xx).

        `timeout_s` is for the whole exchange, connecting included.
        """
        now = datetime.now(UTC)
        signatures = " ".join(signer.sign(event_id, now, body) for signer in self._signers)
        headers = (
            f"webhook-id: {event_id}\r\n"
            f"webhook-timestamp: {int(now.timestamp())}\r\n"
            f"webhook-signature: {signatures}\r\n"
        )
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._endpoint.post(headers.encode(), body.encode())
        except (OSError, NotHttp) as error:
            return Failure(_in_words(error), endpoint_at_fault=True)
        return _judged(status)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._endpoint.close()


def _judged(status: int) -> Failure | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Failure(f"HTTP {status}, and redirects are not followed", endpoint_at_fault=False)
    return Failure(f"HTTP {status}", endpoint_at_fault=status >= 500 or status in (408, 429))


def _in_words(error: Exception) -> str:
    words: tuple[tuple[type[Exception], str], ...] = (
        (TimeoutError, "no answer in time"),
        (PrivateAddress, "the address is not public, and the operator does not allow that"),
        (ssl.SSLError, "TLS: the certificate is not valid or the handshake failed"),
        (socket.gaierror, "the host name is not known"),
        (ConnectionRefusedError, "no connection"),
        (ConnectionError, "the connection broke"),
        (NotHttp, "the answer is not HTTP"),
    )
    return next((text for kind, text in words if isinstance(error, kind)), "no connection")
