"""How the platform ends a call: a BYE to each side of an answered call, a cancellation of another.

The edge gives both sides' dialogs (RFC 3261 section 12) when it lets a call go; the BYEs are built here and
sent by Kamailio's transaction layer, which repeats them until they are answered.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from xiaohao.calls.model import Reason
from xiaohao.edge.rpc import Rpc, RpcError
from xiaohao.edge.wire import BYE_HEARD_AFTER_S, LAST_CSEQ, Dialogs
from xiaohao.switch.causes import PLATFORM_ENDS
from xiaohao.switch.switchboard import Switchboard

_log = structlog.get_logger()


def _said(hexadecimal: str) -> str:
    return bytes.fromhex(hexadecimal).decode("utf-8", "replace") if hexadecimal != "<null>" else ""


def _bye(
    to: str, sender: str, recipient: str, call_id: str, route: str, socket: str, cause: int
) -> list[str]:
    headers = [
        f"From: {sender}",
        f"To: {recipient}",
        f"Call-ID: {call_id}",
        f"CSeq: {LAST_CSEQ} BYE",
        f"Reason: Q.850;cause={cause}",
    ]
    if route:
        headers.append(f"Route: {route}")
    next_hop = route.partition(">")[0].partition("<")[2] if route else "."
    return ["BYE", to, next_hop, socket, "\r\n".join(headers) + "\r\n"]


def byes(dialogs: Dialogs, cause: int) -> list[list[str]]:
    """Parameters of Kamailio's `tm.t_uac_start` for the BYE to the caller and the BYE to the callee."""
    a, b = dialogs.caller_side, dialogs.callee_side
    to_caller = _bye(
        to=_said(a[4]),
        sender=f"<{_said(a[3])}>;tag={b[6]}",
        recipient=f"<{_said(a[2])}>;tag={_said(a[1])}",
        call_id=_said(a[0]),
        route=_said(a[5]),
        socket=a[7],
        cause=cause,
    )
    to_callee = _bye(
        to=_said(b[3]),
        sender=b[0],
        recipient=f"{b[1]};tag={_said(b[2])}",
        call_id=dialogs.call_id,
        route=_said(b[4]),
        socket=b[7],
        cause=cause,
    )
    return [to_caller, to_callee]


async def hang_up(rpc: Rpc, dialogs: Dialogs, cause: int) -> None:
    """Tell both sides. Never raises: a side that cannot be told finds out by itself."""
    try:
        if dialogs.answered:
            commands = [("tm.t_uac_start", *parameters) for parameters in byes(dialogs, cause)]
        else:
            commands = [("tm.cancel", _said(dialogs.caller_side[0]), dialogs.caller_side[8])]
    except (IndexError, ValueError) as error:
        _log.error("hang_up_failed", call_id=dialogs.call_id, error=type(error).__name__)
        return
    for command in commands:
        try:
            await rpc.call(*command)
        except RpcError as error:
            _log.error("hang_up_failed", call_id=dialogs.call_id, error=str(error))


class HangingUp:
    """The calls of one switch that the platform ends: one by one, and all of them before it is stopped."""

    def __init__(
        self,
        board: Switchboard,
        rpc: Rpc,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._board, self._rpc, self._start = board, rpc, start
        self._telling: set[asyncio.Task[None]] = set()
        self._told_at = 0.0
        board.on_dialogs = self._tell

    def _tell(self, dialogs: Dialogs, reason: Reason) -> None:
        task = self._start(hang_up(self._rpc, dialogs, PLATFORM_ENDS[reason]))
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        self._told_at = time.monotonic()

    def everything(self) -> None:
        """End every call. Said again and again: the edge does not know yet what was decided a moment ago."""
        for call_id in list(self._board.calls):
            self._board.end_call(call_id, Reason.PLATFORM_STOPPED)

    def is_done(self) -> bool:
        """Whether no call is left, and everybody has been told, twice where it was necessary."""
        is_heard = time.monotonic() - self._told_at > BYE_HEARD_AFTER_S
        return is_heard and not self._board.calls and not self._telling
