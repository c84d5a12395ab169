"""Who hears what: calls that are refused, or whose callee is not reached, are told why before they end.

The edge sends such a caller here as it would to a trunk. The announcer takes the call in early media, which
costs the caller nothing, has rtpengine play, and refuses: the edge ends the call as was decided before.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog

from xiaohao.announcer.media import MediaError, Player
from xiaohao.announcer.sip import Door, Visit
from xiaohao.calls.model import Announcement, Call, Party, Reason
from xiaohao.clock import now_us
from xiaohao.edge.wire import End, Leg
from xiaohao.prompts.model import Prompt, situation_of
from xiaohao.settings import Settings, host_port
from xiaohao.switch.causes import Refusal, not_answered

_log = structlog.get_logger(__name__)

#: from the sign that there is early media until a phone has opened its ears
_OPENING_S: Final = 0.2
#: and until the last sound is out of its jitter buffer
_CLOSING_S: Final = 0.2
#: the edge's word to rtpengine may be under way still
_TRIES: Final = 10
_PAUSE_S: Final = 0.05


class Chooser(Protocol):
    """`prompts.service.Prompts`."""

    def chosen(
        self, customer_id: str | None, pool_id: str | None, binding_id: str | None, wanted: str
    ) -> Prompt | None:
        """The prompt for a situation, or of this name."""


class Announcer:
    """Speaks to callers. `find` gives the live call of an id."""

    def __init__(
        self, settings: Settings, prompts: Chooser, player: Player, find: Callable[[str], Call | None]
    ) -> None:
        own = settings.announcements
        self._on, self._prompts, self._player, self._find = own.on, prompts, player, find
        self._address, self._edge = own.listen, own.edge
        self._door = Door(host_port(own.listen), host_port(own.edge), self._receive)
        #: callers who are refused; a call that went wrong is not among the live ones
        self._refused: dict[str, tuple[Call, Prompt]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen for the edge. Raises OSError."""
        await self._door.open()

    def close(self) -> None:
        """Stop listening; callers who listen are let go by the edge."""
        for task in self._tasks:
            task.cancel()
        self._door.close()

    # What the switch asks, before a call goes on

    def refusal(self, call: Call, reason: Reason, how: Refusal, prompt: str | None = None) -> Leg | None:
        """The way to a refused call's announcement; None where there is none. `prompt`: not the usual one."""
        chosen = self._prompt_of(call, reason, prompt)
        if chosen is None:
            return None
        self._refused[call.id] = call, chosen
        return self._leg("refused", End(how.sip_code, how.q850_cause, reason, Party.PLATFORM))

    def announces_ends(self, call: Call) -> bool:
        """Whether the caller is told where the callee is not reached."""
        reasons = (Reason.CALLEE_BUSY, Reason.CALLEE_NO_ANSWER, Reason.CALLEE_UNREACHABLE)
        return any(self._prompt_of(call, reason) is not None for reason in reasons)

    def forget(self, call_id: str) -> None:
        """The call has ended."""
        self._refused.pop(call_id, None)

    def _leg(self, role: str, end: End | None = None) -> Leg:
        uri = f"sip:{role}@{self._address}"
        return Leg(0, uri, f"sip:{self._address}", "inside", f"{role}@{self._edge}", "", str(end or ""))

    def _prompt_of(self, call: Call, reason: Reason, name: str | None = None) -> Prompt | None:
        wanted = name or situation_of(reason)
        return self._prompt(call, wanted) if wanted else None

    def _prompt(self, call: Call, wanted: str) -> Prompt | None:
        if not self._on:
            return None
        return self._prompts.chosen(call.customer_id, None, call.binding_id, wanted)

    # Callers who come

    def _receive(self, visit: Visit) -> None:
        call, prompt = self._wanted(visit)
        if call is None or prompt is None:
            visit.end()
            return
        task = asyncio.get_running_loop().create_task(self._serve(visit, call, prompt))
        visit.on_gone = lambda: _cancel(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, visit: Visit, call: Call, prompt: Prompt) -> None:
        try:
            if visit.listen():
                await asyncio.sleep(_OPENING_S)
                await self._say(call, Party.CALLER, prompt)
                await asyncio.sleep(_CLOSING_S)
        except MediaError as error:
            _log.warning("not_announced", call_id=call.id, error=str(error))
        except Exception as error:  # noqa: BLE001 – a fault of ours must not keep a caller waiting
            _log.error("not_announced", call_id=call.id, error=type(error).__name__)
        finally:
            visit.end()

    def _wanted(self, visit: Visit) -> tuple[Call | None, Prompt | None]:
        """What a refused caller is told, or one whose callee was not reached."""
        if visit.role == "refused":
            return self._refused.get(visit.call_id, (None, None))
        call = self._find(visit.call_id)
        code, _, cause = visit.ended.partition(" ")
        if call is None or not (code.isdigit() and cause.isdigit()):
            return None, None
        reason, _ = not_answered(int(code), int(cause))
        return call, self._prompt_of(call, reason)

    async def _say(self, call: Call, to: Party, prompt: Prompt) -> None:
        """Play a prompt to its end and write it into the call. Raises MediaError."""
        await self._persistently(self._player.play, call.id, to, prompt.path)
        began, place = now_us(), len(call.announcements)
        call.announcements.append(Announcement(began, prompt.id, to, prompt.duration_ms))
        try:
            await asyncio.sleep(prompt.duration_ms / 1000)
        except asyncio.CancelledError:
            heard_ms = (now_us() - began) // 1000
            call.announcements[place] = Announcement(began, prompt.id, to, heard_ms)
            raise

    async def _persistently(self, action: Callable[..., Any], *arguments: Any) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(MediaError):
                await action(*arguments)
                return
            await asyncio.sleep(_PAUSE_S)
        await action(*arguments)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
