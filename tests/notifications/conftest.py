"""A customer with an endpoint that really listens, and a deliverer that runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from tests.calls_store.lives import life
from xiaohao.calls.journal import CallJournal, Change
from xiaohao.database.engine import Database
from xiaohao.database.schema import events
from xiaohao.notifications import delivery
from xiaohao.notifications.delivery import Deliverer
from xiaohao.notifications.metrics import DeliveryMetrics
from xiaohao.secrecy import Vault
from xiaohao.settings import Notifications
from xiaohao.simulator.customer import CustomerEndpoint, Manner
from xiaohao.tenants.service import Tenants

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBjdXN0b21lciBpbiB0ZXN0cw=="
ALL_KINDS = ["call.received", "call.ringing", "call.answered", "call.ended", "cdr.created"]


async def until(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 60.0) -> None:
    """Wait for something to become true. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.01)


def of_customer(changes: list[Change], customer_id: str) -> list[Change]:
    """The same life for a call of this customer."""
    return [
        msgspec.structs.replace(change, call=msgspec.structs.replace(change.call, customer_id=customer_id))
        for change in changes
    ]


@dataclass
class Subscriber:
    """A customer and its endpoint."""

    id: str
    endpoint: CustomerEndpoint

    def kinds(self, call_id: str) -> list[str]:
        """What the endpoint took of a call, in the order of coming."""
        return [one.kind for one in self.endpoint.accepted if one.call_id == call_id]

    def tried(self, call_id: str) -> list[str]:
        """What came of a call, taken or not."""
        return [one.kind for one in self.endpoint.events if one.call_id == call_id]


@dataclass
class Post:
    """Everything a test of deliveries needs."""

    database: Database
    vault: Vault
    stack: AsyncExitStack
    settings: Notifications = field(
        default_factory=lambda: Notifications(retry_s=[0], timeout_s=2.0, allow_private_urls=True)
    )

    def __post_init__(self) -> None:
        self.journal = CallJournal(self.database, self.vault)
        self.tenants = Tenants(self.database, self.vault)

    async def subscriber(self, manner: Manner | None = None) -> Subscriber:
        """A new customer whose endpoint behaves like this."""
        endpoint = CustomerEndpoint("127.0.0.1", secret=SECRET, manner=manner)
        await self.stack.enter_async_context(endpoint)
        customer = await self.tenants.create_customer("Ride", endpoint.url)
        await self.tenants.set_webhook_secret(customer.id, SECRET)
        return Subscriber(customer.id, endpoint)

    async def call(self, customer_id: str, **facts: object) -> str:
        """A call from its first to its last change, in one group; gives its id."""
        changes = of_customer(life(**facts), customer_id)  # type: ignore[arg-type]
        await self.journal.write(changes)
        return changes[0].call.id

    @asynccontextmanager
    async def delivering(self, owner: str = "worker 1") -> AsyncIterator[Deliverer]:
        """A deliverer at work; stopped in order at the end."""
        metrics = DeliveryMetrics(CollectorRegistry())
        deliverer = Deliverer(self.database, self.vault, self.settings, owner, metrics)
        task = asyncio.create_task(deliverer.run())
        try:
            yield deliverer
        finally:
            deliverer.stop()
            await task

    async def states(self, call_id: str) -> list[str]:
        """The states of a call's events, in their order."""
        async with self.database.read() as connection:
            query = select(events.c.state).where(events.c.call_id == call_id).order_by(events.c.sequence)
            return list((await connection.execute(query)).scalars())

    async def was_tried(self, call_id: str) -> bool:
        """Whether any event of a call has failed at least once, as the database knows."""
        async with self.database.read() as connection:
            query = select(events.c.seq).where((events.c.call_id == call_id) & (events.c.tries > 0))
            return (await connection.execute(query)).first() is not None

    async def settled(self, call_id: str, expected: list[str], within_s: float = 60.0) -> None:
        """Wait until a call's events are in these states."""

        async def reached() -> bool:
            return await self.states(call_id) == expected

        await until(reached, within_s)


@pytest.fixture
async def post(database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Post]:
    monkeypatch.setattr(delivery, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(delivery, "_ENDPOINT_S", 0.3)
    async with AsyncExitStack() as stack:
        post = Post(database, vault, stack)
        yield post
        post.journal.close()
