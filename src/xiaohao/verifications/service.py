"""What can be done with verifications."""

import json
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.ids import new_id
from xiaohao.numbers.model import Verification
from xiaohao.verifications import store

#: number, its customer, references to documents, until when they are good (µs since the epoch; None: always)
Proof = tuple[str, str | None, tuple[str, ...], int | None]


async def add_verified(connection: AsyncConnection, proofs: Sequence[Proof], now: int) -> None:
    """Keep what proves the real names of numbers that come into the inventory as verified ones."""
    rows = [
        {
            "id": new_id("ver"),
            "customer_id": customer_id,
            "number": number,
            "state": Verification.VERIFIED.value,
            "documents": json.dumps(documents),
            "valid_until": valid_until,
            "created_at": now,
            "updated_at": now,
        }
        for number, customer_id, documents, valid_until in proofs
    ]
    if rows:
        await store.add(connection, rows)
