"""What the switch does again and again, beside calls."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from xiaohao.database.errors import DatabaseUnavailable
from xiaohao.edge.rpc import RpcError

_log = structlog.get_logger()


async def again_and_again(
    pause_s: float, action: Callable[[], Awaitable[None]], first_s: float = 0.0
) -> None:
    """Do something every `pause_s` seconds, the first time after `first_s`, whatever comes of it."""
    await asyncio.sleep(first_s)
    while True:
        try:
            await action()
        except (DatabaseUnavailable, RpcError) as error:
            _log.warning("switch_chore_put_off", chore=action.__name__, error=str(error))
        except Exception as error:  # noqa: BLE001 – one chore's fault must not end the others
            _log.error("switch_chore_failed", chore=action.__name__, error=type(error).__name__)
        await asyncio.sleep(pause_s)
