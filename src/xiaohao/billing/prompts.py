"""A prompt that a customer makes costs what the contract says a prompt costs, once."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.billing import calendar, facts, store
from xiaohao.billing.spending import Spending
from xiaohao.billing.terms import ServiceItem
from xiaohao.ids import new_id
from xiaohao.secrecy import Vault

_TRIES: Final = 3


async def charge_prompt(
    connection: AsyncConnection, vault: Vault, customer_id: str, name: str, by: str | None, now: int
) -> None:
    """Enter one prompt for the month of `now` (µs), in the transaction that makes it.

    Nothing is entered where the contract has no price for prompts. A closed month's goes to the next one. It
    may be what uses up the customer's money.
    """
    accounts = await store.lock_accounts(connection, [customer_id], now)
    closed = (await store.closed_of(connection, [customer_id])).get(customer_id, set())
    month = calendar.month_of(now)
    for _ in range(_TRIES):
        if month not in closed:
            break
        month = calendar.after(month)
    price = (await facts.in_force(connection, customer_id, month)).terms.services.get(ServiceItem.PROMPT)
    if price is None:
        return
    row = {
        "id": new_id("ent"),
        "customer_id": customer_id,
        "month": month,
        "item": ServiceItem.PROMPT.value,
        "quantity": "1",
        "price": str(price),
        "note": name,
        "created_by": by,
        "created_at": now,
    }
    await store.add_entry(connection, row)
    await Spending(vault).review(connection, customer_id, accounts[customer_id], now)
