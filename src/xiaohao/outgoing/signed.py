"""Signed POSTs to one URL of a customer's, and what went wrong with one in a few words.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, timestamp
and body, in the headers webhook-id, webhook-timestamp and webhook-signature. While a secret is being replaced
there are two signatures, either of which will do.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook as Signer
from yarl import URL

from xiaohao import __version__
from xiaohao.outgoing.connection import Answer, Endpoint, NotHttp, TooLong
from xiaohao.outgoing.network import Network, PrivateAddress

_HEADERS: Final = {"user-agent": f"xiaohao/{__version__}", "content-type": "application/json"}


class Unusable(Exception):
    """A URL or secret cannot be used. Never carries either."""


class SignedEndpoint:
    """A URL, and the secrets that sign what is POSTed there."""

    def __init__(self, url: str, secrets: Sequence[str], network: Network) -> None:
        """Each of `secrets` (`whsec_…`) signs. Raises Unusable."""
        try:
            parsed = URL(url)
            self._signers = [Signer(secret) for secret in secrets]
        except Exception:  # noqa: BLE001 - the libraries raise many kinds, all of them quoting what is secret
            raise Unusable("the URL or secret cannot be read") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise Unusable("the URL is neither http nor https")
        self._endpoint = Endpoint(parsed, _HEADERS, network)

    async def post(self, message_id: str, body: str, timeout_s: float, longest: int = 0) -> Answer:
        """POST a body; the answer's status, whatever it is, and its body where `longest` bytes are wanted.

        `timeout_s` is for the whole exchange, connecting included. Raises OSError and its kinds
        (TimeoutError, ssl.SSLError, …), NotHttp, TooLong; `in_words` says each.
        """
        now = datetime.now(UTC)
        signatures = " ".join(signer.sign(message_id, now, body) for signer in self._signers)
        headers = (
            f"webhook-id: {message_id}\r\n"
            f"webhook-timestamp: {int(now.timestamp())}\r\n"
            f"webhook-signature: {signatures}\r\n"
        )
        async with asyncio.timeout(timeout_s):
            return await self._endpoint.post(headers.encode(), body.encode(), longest)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._endpoint.close()


def in_words(error: Exception) -> str:
    """What went wrong, in words of our own: a library's words may hold the URL and the secrets in it."""
    words: tuple[tuple[type[Exception], str], ...] = (
        (TimeoutError, "no answer in time"),
        (PrivateAddress, "the address is not public, and the operator does not allow that"),
        (ssl.SSLError, "TLS: the certificate is not valid or the handshake failed"),
        (socket.gaierror, "the host name is not known"),
        (ConnectionRefusedError, "no connection"),
        (ConnectionError, "the connection broke"),
        (NotHttp, "the answer is not HTTP"),
        (TooLong, "the answer is too long"),
    )
    return next((text for kind, text in words if isinstance(error, kind)), "no connection")
