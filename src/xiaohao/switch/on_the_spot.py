"""A caller who dials an X without having a Y yet is given one while the call waits."""

import asyncio
from typing import Final, Protocol

import structlog

from xiaohao.database.engine import DatabaseUnavailable

_log = structlog.get_logger()
#: a call that has waited so long in vain is refused; the Y may still come, and serve the next try
_LONGEST_S: Final = 1.0


class Giver(Protocol):
    """`bindings.service.Bindings`."""

    async def give_y(self, parent_id: str, caller: str) -> str | None:
        """The X by which the two are bound from now on."""


class OnTheSpot:
    """Asks for a Y, but not for ever."""

    def __init__(self, giver: Giver, decision_ms: int) -> None:
        """`decision_ms`: within how much time a call must be decided."""
        self._giver = giver
        self._patience_s = min(_LONGEST_S, decision_ms / 2000)
        self._abandoned: set[asyncio.Task[str | None]] = set()

    async def give_y(self, parent_id: str, caller: str) -> str | None:
        """The X by which the caller is bound to A from now on; None where that was not to be, or too late."""
        giving = asyncio.ensure_future(self._give(parent_id, caller))
        try:
            await asyncio.wait({giving}, timeout=self._patience_s)
        finally:
            if not giving.done():
                self._abandoned.add(giving)
                giving.add_done_callback(self._abandoned.discard)
        if giving.done():
            return giving.result()
        _log.warning("y_came_too_late", binding_id=parent_id)
        return None

    async def _give(self, parent_id: str, caller: str) -> str | None:
        try:
            return await self._giver.give_y(parent_id, caller)
        except DatabaseUnavailable as error:
            _log.warning("y_not_given", binding_id=parent_id, error=str(error))
        except Exception as error:  # noqa: BLE001 – a fault of ours must end as a refusal of this call only
            _log.error("y_not_given", binding_id=parent_id, error=type(error).__name__)
        return None
