"""What `xiaohao routing` does."""

import asyncio
from typing import Any

from xiaohao.errors import validation_failed
from xiaohao.numbers.model import canonical
from xiaohao.routing.http import again_of, trial_view
from xiaohao.routing.service import Again, Routing, Trial
from xiaohao.runtime.commands import opened, plainly
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings


def test(
    settings: Settings, customer_id: str, caller: str | None, dialled: str, again: tuple[int, str, int]
) -> dict[str, Any]:
    """Play a call against a customer's URL; gives what the API gives. Raises ChoreFailed.

    `again`: which question it is, in which queue the caller waits then, and for how many ms.
    """
    with plainly():
        number = None if caller is None else canonical(caller, settings.calls.region)
        if caller is not None and number is None:
            raise validation_failed("caller", "the caller's is no telephone number")
        trial = asyncio.run(_test(settings, customer_id, number, dialled, again_of(*again)))
    return trial_view(trial).model_dump(mode="json")


async def _test(
    settings: Settings, customer_id: str, caller: str | None, dialled: str, again: Again | None
) -> Trial:
    async with opened(settings) as database:
        await database.agree()
        return await Routing(database, vault_of(settings), settings).test(customer_id, caller, dialled, again)
