"""What the switch does again and again, beside calls."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from xiaohao.database.errors import DatabaseUnavailable, WrongMasterKey
from xiaohao.edge.rpc import RpcError

_log = structlog.get_logger()
_T = TypeVar("_T")


async def again_and_again(
    pause_s: float, action: Callable[[], Awaitable[None]], first_s: float = 0.0
) -> None:
    """Do something every `pause_s` seconds, the first time after `first_s`, whatever comes of it."""
    await asyncio.sleep(first_s)
    while True:
        await put_up_with(action)
        await asyncio.sleep(pause_s)


async def put_up_with(action: Callable[[], Awaitable[None]]) -> bool:
    """Do something once; whether it went well. What went wrong is logged: it must not end the others."""
    try:
        await action()
    except (DatabaseUnavailable, RpcError) as error:
        _log.warning("switch_chore_put_off", chore=action.__name__, error=str(error))
    except Exception as error:  # noqa: BLE001 – one chore's fault must not end the others
        _log.error("switch_chore_failed", chore=action.__name__, error=type(error).__name__)
    else:
        return True
    return False


async def patiently(action: Callable[[], Awaitable[_T]]) -> _T:
    """Do what the switch cannot begin without, as often as it takes. Raises WrongMasterKey."""
    while True:
        try:
            return await action()
        except WrongMasterKey:
            raise  # waiting does not help
        except DatabaseUnavailable as error:
            _log.warning("database_away", error=str(error))
            await asyncio.sleep(0.5)
