"""A customer's back end: an HTTP server that receives the platform's notifications, well or badly."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from xiaohao.simulator.wire import now_us


@dataclass(frozen=True)
class Manner:
    """How the endpoint treats a POST: waits, then answers with `status`.

    `hang` never answers. `fail_every` = n answers only each n-th POST with `status` and the others with 204.
    """

    delay_s: float = 0.0
    status: int = 204
    hang: bool = False
    fail_every: int = 1


def fast() -> Manner:
    """204 at once."""
    return Manner()


def slow(seconds: float) -> Manner:
    """204 after so many seconds."""
    return Manner(delay_s=seconds)


def failing(status: int = 500) -> Manner:
    """An error at once."""
    return Manner(status=status)


def hanging() -> Manner:
    """No answer at all until the sender gives up or the endpoint stops."""
    return Manner(hang=True)


def flapping(every: int = 2, status: int = 503) -> Manner:
    """Every `every`-th POST gets an error."""
    return Manner(status=status, fail_every=every)


@dataclass(frozen=True)
class Delivery:
    """One POST as it arrived. `arrived_us` is microseconds since the epoch, taken before the body was read.

    `verdict` is "" where the signature is right, else what is wrong with it; `status` is what was answered
    (0: nothing).
    """

    arrived_us: int
    path: str
    headers: dict[str, str]
    body: bytes
    verdict: str
    status: int

    @property
    def verified(self) -> bool:
        """Whether the Standard Webhooks signature is right."""
        return not self.verdict

    @property
    def accepted(self) -> bool:
        """Whether the endpoint took it: signed rightly and answered with a 2xx."""
        return self.verified and 200 <= self.status < 300

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON. Raises ValueError where it is none."""
        document = json.loads(self.body)
        if not isinstance(document, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY004 - as for any other bad body
        return document

    @property
    def message_id(self) -> str:
        """The `webhook-id` header: the same for each try of one event."""
        return self.headers.get("webhook-id", "")

    @property
    def kind(self) -> str:
        """The event's `type`; "" where there is none."""
        try:
            return str(self.document.get("type", ""))
        except ValueError:
            return ""

    @property
    def call_id(self) -> str | None:
        """The event's `data.call_id`."""
        try:
            data = self.document.get("data")
        except ValueError:
            return None
        return data.get("call_id") if isinstance(data, dict) else None


class CustomerEndpoint:
    """Receives notifications at `url`, checks their signatures with `secret` (whsec_…) and keeps every POST.

    A wrong signature gets 401. `manner` says how the rest is treated and may be changed at any time; `answer`
    may be set to a function that makes the response (customers who route calls): delivery → (status, JSON).
    """

    def __init__(self, host: str, port: int = 0, *, secret: str, manner: Manner | None = None) -> None:
        self._host, self._port = host, port
        self._webhook = Webhook(secret)
        self.manner = manner or fast()
        self.answer: Callable[[Delivery], tuple[int, Any]] | None = None
        #: every POST, the first one first
        self.events: list[Delivery] = []
        self._arrived = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._posts = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where notifications go."""
        return f"http://{self._host}:{self._port}/notifications"

    @property
    def accepted(self) -> list[Delivery]:
        """The POSTs that the endpoint took, with repeats."""
        return [delivery for delivery in self.events if delivery.accepted]

    async def start(self) -> None:
        """Listen. Raises OSError where the address is taken."""
        self._stopping.clear()
        app = web.Application(client_max_size=2**22)
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the listener and drop what hangs. `start()` listens on the same port again."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> "CustomerEndpoint":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        arrived = now_us()
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        verdict = self._verify(body, headers)
        manner = self.manner
        self._posts += 1
        status = manner.status if self._posts % manner.fail_every == 0 else 204
        status = 401 if verdict else 0 if manner.hang else status
        document: Any = None
        delivery = Delivery(arrived, request.path, headers, body, verdict, status)
        if self.answer is not None and not verdict and not manner.hang:
            status, document = self.answer(delivery)
            delivery = Delivery(arrived, request.path, headers, body, verdict, status)
        await self._keep(delivery)
        if not verdict:
            await self._wait(manner)
        return (
            web.Response(status=status or 503)
            if document is None
            else web.json_response(document, status=status)
        )

    async def _wait(self, manner: Manner) -> None:
        """Wait as the manner wants, but no longer than the endpoint lives."""
        if manner.hang or manner.delay_s:
            try:
                await asyncio.wait_for(self._stopping.wait(), None if manner.hang else manner.delay_s)
            except TimeoutError:
                return

    def _verify(self, body: bytes, headers: dict[str, str]) -> str:
        try:
            self._webhook.verify(body, headers)
        except (WebhookVerificationError, ValueError) as error:
            return str(error) or "wrong signature"
        return ""

    async def _keep(self, delivery: Delivery) -> None:
        async with self._arrived:
            self.events.append(delivery)
            self._arrived.notify_all()

    def find(self, kind: str, call_id: str | None = None, *, accepted_only: bool = True) -> Delivery | None:
        """The first POST of this kind (and call) that came, or None."""
        for delivery in self.events:
            fits = delivery.kind == kind and call_id in (None, delivery.call_id)
            if fits and (delivery.accepted or not accepted_only):
                return delivery
        return None

    async def wait_for(
        self,
        kind: str,
        call_id: str | None = None,
        timeout: float = 15.0,  # noqa: ASYNC109 - the waiting is all it does
        *,
        accepted_only: bool = True,
    ) -> Delivery:
        """Wait for the first POST of this kind (and call) that the endpoint accepts. Raises TimeoutError."""

        async def found() -> Delivery:
            async with self._arrived:
                while True:
                    delivery = self.find(kind, call_id, accepted_only=accepted_only)
                    if delivery is not None:
                        return delivery
                    await self._arrived.wait()

        try:
            return await asyncio.wait_for(found(), timeout)
        except TimeoutError:
            kinds = [delivery.kind for delivery in self.events]
            raise TimeoutError(f"no {kind} within {timeout} s; came so far: {kinds}") from None
