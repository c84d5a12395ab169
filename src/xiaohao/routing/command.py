"""What `xiaohao routing` does."""

import asyncio
from typing import Any

from xiaohao.errors import validation_failed
from xiaohao.numbers.model import canonical
from xiaohao.routing.http import trial_view
from xiaohao.routing.service import Routing, Trial
from xiaohao.runtime.commands import opened, plainly
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings


def test(settings: Settings, customer_id: str, caller: str | None, dialled: str) -> dict[str, Any]:
    """Play a call against a customer's URL; gives what the API gives. Raises ChoreFailed."""
    with plainly():
        number = None if caller is None else canonical(caller, settings.calls.region)
        if caller is not None and number is None:
            raise validation_failed("caller", "the caller's is no telephone number")
        trial = asyncio.run(_test(settings, customer_id, number, dialled))
    return trial_view(trial).model_dump(mode="json")


async def _test(settings: Settings, customer_id: str, caller: str | None, dialled: str) -> Trial:
    async with opened(settings) as database:
        await database.agree()
        return await Routing(database, vault_of(settings), settings).test(customer_id, caller, dialled)
