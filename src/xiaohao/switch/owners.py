"""Calls that ended before anybody knew whose they were: the edge refused them, or the database was away.

Their CDR belongs to whoever the dialled number belongs to. Finding that out waits for the database as long as
it takes; meanwhile the edge keeps the end of the call.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from xiaohao.calls.model import Call
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.edge.wire import Ended
from xiaohao.secrecy import masked
from xiaohao.switch import carriers as trunking
from xiaohao.switch.recognise import recognise
from xiaohao.switch.steps import Tools

_log = structlog.get_logger()
_PAUSE_S: Final = 0.5


class Owners:
    """Finds the customer of each such call, one after the other, and hands the call to `finish`."""

    def __init__(self, tools: Tools, finish: Callable[[Call, Ended], None]) -> None:
        self._tools, self._finish = tools, finish
        self._waiting: dict[str, Ended] = {}
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, call_id: str) -> bool:
        """Whether this call's customer is still being looked for."""
        return call_id in self._waiting

    def find(self, signal: Ended) -> None:
        """Take the end of a call that is nobody's yet."""
        self._waiting.setdefault(signal.call_id, signal)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            call_id, signal = next(iter(self._waiting.items()))
            received = signal.received_at or signal.at
            edge_id, dialled = self._tools.settings.edge.id, masked(signal.dialled[:32])
            call = Call(call_id, edge_id, received, dialled=dialled)
            try:
                await self._fill_in(call, signal)
            except DatabaseUnavailable:
                await asyncio.sleep(_PAUSE_S)
                continue
            except Exception as error:  # noqa: BLE001 – a CDR without a customer is better than none
                _log.error("owner_not_found", call_id=call_id, error=type(error).__name__)
            del self._waiting[call_id]
            self._finish(call, signal)

    async def _fill_in(self, call: Call, signal: Ended) -> None:
        tools = self._tools
        trunk = tools.carriers.trunk_of(signal.trunk_group)
        if trunk is None:
            return
        region = tools.settings.calls.region
        call.trunk_in = trunk.id
        call.caller = trunking.number_of_caller(signal.caller, trunk, region)
        await recognise(call, signal.dialled, trunk, region, tools.vault, tools.lookup)
