"""How much a customer may still spend, and what happens when that is nothing.

A customer whose money is used up gets the state `exhausted`, which every switch reads with each call: none of
them connects another one. Calls under way go on. The state ends when there is money again, or a new month.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar, facts, store, usage_store
from xiaohao.billing.estimate import running_bill
from xiaohao.billing.model import Tenure
from xiaohao.billing.money import text_of
from xiaohao.notifications.service import announce_spending
from xiaohao.notifications.wire import SpendingEventData
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import CustomerState

_log = structlog.get_logger(__name__)

#: rents change slowly; the numbers of a customer are looked up again after so long
_TENURES_US: Final = 30_000_000
_TENURES_KEPT: Final = 10_000


class Running(msgspec.Struct, frozen=True):
    """What the open months of a customer cost as far as they have come; this one among them."""

    this_month: int
    open_months: int


class Spending:
    """Watches the limits. One per process."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._tenures: dict[str, tuple[int, list[Tenure]]] = {}

    async def running(self, connection: AsyncConnection, customer_id: str, now: int) -> Running:
        """Reckon up the open months."""
        this = calendar.month_of(now)
        tenures = await self._tenures_of(connection, customer_id, now)
        total, of_this = 0, 0
        for month in await store.open_months(connection, customer_id, this):
            found = await facts.in_force(connection, customer_id, month)
            sums = await usage_store.sums_of_month(connection, customer_id, month)
            by_hand = await facts.entries(connection, customer_id, month)
            gross = running_bill(found.terms, month, tenures, sums, by_hand).gross
            total += gross
            of_this += gross if month == this else 0
        return Running(of_this, total)

    async def review(
        self, connection: AsyncConnection, customer_id: str, account: Mapping[Any, Any], now: int
    ) -> None:
        """Warn, stop or let go on. The account is locked by this transaction."""
        if account["spending_limit"] is None and not account["prepaid"]:
            if account["stopped_at"] is not None:
                await self._resume(connection, customer_id, {}, now)
            return
        running = await self.running(connection, customer_id, now)
        left = left_of(account, running)
        state = _state(account, left)
        values: dict[str, Any] = {
            "running_amount": running.open_months,
            "updated_at": now,
            "warned_at": None if state == "restored" else account["warned_at"] or now,
        }
        if state != _state_before(account):
            notice = account["notices"] + 1
            values["notices"] = notice
            _log.info("spending_changed", customer_id=customer_id, state=state)
            data = SpendingEventData(
                state, text_of(left), text_of(running.this_month), bool(account["prepaid"])
            )
            await announce_spending(connection, self._vault, customer_id, notice, data, now)
        if state == "used_up":
            await self._stop(connection, customer_id, account, values, now)
        elif account["stopped_at"] is not None:
            await self._resume(connection, customer_id, values, now)
        else:
            await store.change_account(connection, customer_id, values)

    async def _stop(
        self,
        connection: AsyncConnection,
        customer_id: str,
        account: Mapping[Any, Any],
        values: dict[str, Any],
        now: int,
    ) -> None:
        if account["stopped_at"] is None:
            values["stopped_at"] = now
        await store.change_account(connection, customer_id, values)
        # a customer whom the operator suspended stays suspended
        await store.switch_state(connection, customer_id, CustomerState.ACTIVE, CustomerState.EXHAUSTED, now)

    async def _resume(
        self, connection: AsyncConnection, customer_id: str, values: dict[str, Any], now: int
    ) -> None:
        await store.change_account(connection, customer_id, {**values, "stopped_at": None, "updated_at": now})
        await store.switch_state(connection, customer_id, CustomerState.EXHAUSTED, CustomerState.ACTIVE, now)

    async def _tenures_of(self, connection: AsyncConnection, customer_id: str, now: int) -> list[Tenure]:
        known = self._tenures.get(customer_id)
        if known is None or now - known[0] > _TENURES_US:
            if len(self._tenures) >= _TENURES_KEPT:
                self._tenures.clear()
            known = self._tenures[customer_id] = (now, await facts.tenures(connection, customer_id))
        return known[1]


_State = Literal["low", "used_up", "restored"]


def _state(account: Mapping[Any, Any], left: int) -> _State:
    if left <= 0:
        return "used_up"
    warned = account["warn_below"] is not None and left <= account["warn_below"]
    return "low" if warned else "restored"


def _state_before(account: Mapping[Any, Any]) -> _State:
    if account["stopped_at"] is not None:
        return "used_up"
    return "restored" if account["warned_at"] is None else "low"


def left_of(account: Mapping[Any, Any], running: Running) -> int:
    """What may still be spent: the least of the month's limit and the funds."""
    left: list[int] = []
    if account["spending_limit"] is not None:
        left.append(account["spending_limit"] - running.this_month)
    if account["prepaid"]:
        left.append(account["funds"] - account["settled_amount"] - running.open_months)
    return min(left)
