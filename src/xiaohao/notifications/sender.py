"""One delivery to a customer: signed, without following redirects, and what came of it in a few words."""

from collections.abc import Sequence
from dataclasses import dataclass

from xiaohao.outgoing.connection import NotHttp
from xiaohao.outgoing.network import Network
from xiaohao.outgoing.signed import SignedEndpoint, in_words


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try failed, in words of our own: a library's words may hold the URL and the secrets in it.

    `endpoint_at_fault` tells an endpoint that is down or overloaded from one that dislikes this event.
    """

    error: str
    endpoint_at_fault: bool


class Subscription:
    """Where and with which signature a customer's events go."""

    def __init__(self, url: str, secrets: Sequence[str], network: Network) -> None:
        """Each of `secrets` (`whsec_…`) signs. Raises outgoing.signed.Unusable."""
        self._endpoint = SignedEndpoint(url, secrets, network)

    async def post(self, event_id: str, body: str, timeout_s: float) -> Failure | None:
        """Deliver one event; None when the customer took it (any 2xx).

        `timeout_s` is for the whole exchange, connecting included.
        """
        try:
            answer = await self._endpoint.post(event_id, body, timeout_s)
        except (OSError, NotHttp) as error:
            return Failure(in_words(error), endpoint_at_fault=True)
        return _judged(answer.status)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._endpoint.close()


def _judged(status: int) -> Failure | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Failure(f"HTTP {status}, and redirects are not followed", endpoint_at_fault=False)
    return Failure(f"HTTP {status}", endpoint_at_fault=is_at_fault(status))


def is_at_fault(status: int) -> bool:
    """Whether this status tells of an endpoint that is down or overloaded, whatever it is sent."""
    return status >= 500 or status in (408, 429)
