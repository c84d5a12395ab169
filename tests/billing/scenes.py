"""A customer with numbers and calls in a real database, under a clock that is moved by hand."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from tests.billing.worlds import MONTH, START
from tests.calls_store.lives import received
from tests.ids import new_call_id
from tests.world import Clock
from xiaohao.billing import calendar, terms
from xiaohao.billing.closing import Closing
from xiaohao.billing.invoices import Invoices
from xiaohao.billing.rater import Rater
from xiaohao.billing.rerating import Reratings
from xiaohao.billing.service import Billing
from xiaohao.calls.journal import CallEnded, CallJournal
from xiaohao.calls.model import Call, Party, Reason, State
from xiaohao.clock import SECOND
from xiaohao.database.engine import Database
from xiaohao.numbers.model import NumberSpec
from xiaohao.numbers.service import Numbers
from xiaohao.pools.model import Policy
from xiaohao.pools.service import Pools
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

LANDLINE, OTHER_LANDLINE, MOBILE = "+861062000101", "+861062000102", "+8617000000001"
DAY = 86_400 * SECOND


@dataclass
class Scene:
    """The services of billing on one database."""

    database: Database
    vault: Vault
    clock: Clock = field(default_factory=lambda: Clock(START + DAY))

    def __post_init__(self) -> None:
        self.tenants = Tenants(self.database, self.vault, self.clock)
        self.rater = Rater(self.database, self.vault, self.clock)
        self.billing = Billing(self.database, self.vault, self.clock)
        self.closing = Closing(self.database, self.rater, "Yunxun", self.clock)
        self.invoices = Invoices(self.database, self.clock)
        self.reratings = Reratings(self.database, self.rater, self.clock)
        self.journal = CallJournal(self.database, self.vault)

    async def customer(self, *numbers: str) -> str:
        """A customer with these numbers in a pool of its own, since the month began."""
        customer_id = (await self.tenants.create_customer("Sougu")).id
        if numbers:
            now, self.clock.now = self.clock.now, START
            pools = Pools(self.database, self.vault, self.clock)
            pool = await pools.create("drivers", Policy(recycle_s=1), customer_id)
            await Numbers(self.database, self.vault, self.clock).add_numbers(
                [NumberSpec(number, pool.id) for number in numbers]
            )
            self.clock.now = now
        return customer_id

    async def number(self, customer_id: str, number: str) -> None:
        """Another number for a customer, from now on."""
        pool = await Pools(self.database, self.vault, self.clock).create(
            number, Policy(recycle_s=1), customer_id
        )
        numbers = Numbers(self.database, self.vault, self.clock)
        await numbers.add_numbers([NumberSpec(number, pool.id)])

    async def call(
        self,
        customer_id: str | None,
        talk_s: float | None,
        number: str = LANDLINE,
        at: int | None = None,
        **facts: Any,
    ) -> Call:
        """A call that was answered at once, or not at all where `talk_s` is None, and has ended."""
        at = self.clock.now if at is None else at
        record = facts.pop("record", False)
        call = received(customer_id, id=new_call_id(), received_at=at)
        call.dialled, call.displayed = number, facts.get("displayed")
        call.trunk_in, call.trunk_out = facts.get("trunk_in"), facts.get("trunk_out")
        call.order_ref, call.acd_ms = facts.get("order_ref"), facts.get("acd_ms", 0)
        call.state, call.ended_by = State.ENDED, Party.CALLER
        call.answered_at = None if talk_s is None else facts.get("answered_at", at)
        call.ended_at = at + int((talk_s or 5) * SECOND)
        call.reason = Reason.CALLER_CANCELLED if talk_s is None else Reason.CALLER_HUNG_UP
        await self.journal.write([CallEnded(call, record)])
        return call

    async def sums(self, customer_id: str, month: int = MONTH) -> tuple[int, int]:
        """Calls and seconds of the running sums."""
        document = await self.billing.usage(customer_id, month)
        return (
            sum(one["calls"] for one in document["numbers"]),
            sum(one["seconds"] for one in document["numbers"]),
        )

    async def rows(self, table: Any) -> list[dict[str, Any]]:
        async with self.database.read() as connection:
            return [dict(row) for row in (await connection.execute(select(table))).mappings()]

    def month_is_over(self, month: int = MONTH) -> None:
        self.clock.now = calendar.end_of(month) + DAY


def flat(price: str, **more: Any) -> dict[str, Any]:
    """A contract with one price a minute for every usual kind."""
    rate = {"kinds": ["400", "landline", "mobile"], "tiers": [{"price": price}]}
    return {"rates": [rate], **more}


def yuan(amount: int) -> Decimal:
    return Decimal(amount) / 1_000_000


STANDARD = terms.document_of(terms.standard())
