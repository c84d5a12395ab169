"""Who hears what: calls that are refused, that are being connected, or whose callee is not reached.

The edge sends such a caller here as it would to a trunk. The announcer takes the call in early media, which
costs the caller nothing, has rtpengine play, and refuses: the edge ends the call as was decided, or goes on.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from xiaohao.announcer.media import MediaError, Player
from xiaohao.announcer.sip import Door, Visit
from xiaohao.announcer.speech import CLOSING_S, Chooser, Speech
from xiaohao.announcer.talk import Talk
from xiaohao.calls.model import Call, Party, Reason
from xiaohao.edge.wire import End, Leg
from xiaohao.prompts.model import Prompt
from xiaohao.settings import Settings, host_port
from xiaohao.switch.causes import Refusal, not_answered

_log = structlog.get_logger(__name__)

#: from the sign that there is early media until a phone has opened its ears
_OPENING_S: Final = 0.2
#: so long the edge takes to call the callee
_GOING_ON_S: Final = 0.05


class Announcer:
    """Speaks to callers. `find` gives the live call of an id."""

    def __init__(
        self, settings: Settings, prompts: Chooser, player: Player, find: Callable[[str], Call | None]
    ) -> None:
        own = settings.announcements
        self._speech = Speech(prompts, player, on=own.on)
        self.talk = Talk(self._speech, own.warn_s)
        self._find = find
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
        chosen = self._speech.prompt_of(call, reason, prompt)
        if chosen is None:
            return None
        self._refused[call.id] = call, chosen
        return self._leg("refused", End(how.sip_code, how.q850_cause, reason, Party.PLATFORM))

    def before(self, call: Call) -> list[Leg]:
        """The way by which a caller goes first who is to hear something before the callee answers."""
        return [self._leg("before")] if self.talk.before(call) or self.talk.manner(call).music else []

    def forget(self, call: Call) -> None:
        """The call has ended."""
        self._refused.pop(call.id, None)
        self.talk.ended(call)

    def _leg(self, role: str, end: End | None = None) -> Leg:
        uri = f"sip:{role}@{self._address}"
        return Leg(0, uri, f"sip:{self._address}", "inside", f"{role}@{self._edge}", "", str(end or ""))

    # Callers who come

    def _receive(self, visit: Visit) -> None:
        if work := self._work(visit):
            task = asyncio.get_running_loop().create_task(self._serve(visit, work))
            visit.on_gone = lambda: _cancel(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            visit.end()

    def _work(self, visit: Visit) -> Coroutine[Any, Any, None] | None:
        """What is to be done with a caller."""
        if visit.role == "refused" and (known := self._refused.get(visit.call_id)):
            return self._tell(visit, known[0], [known[1]])
        call = self._find(visit.call_id)
        if call is None:
            return None
        if visit.role == "before":
            return self._go_before(visit, call)
        code, _, cause = visit.ended.partition(" ")
        if code.isdigit() and cause.isdigit():
            reason, _ = not_answered(int(code), int(cause))
            prompt = self._speech.prompt_of(call, reason)
            return self._tell(visit, call, [prompt]) if prompt else None
        return None

    async def _serve(self, visit: Visit, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except MediaError as error:
            _log.warning("not_announced", call_id=visit.call_id, error=str(error))
        except Exception as error:  # noqa: BLE001 – a fault of ours must not keep a caller waiting
            _log.error("not_announced", call_id=visit.call_id, error=type(error).__name__)
        finally:
            visit.end()

    async def _tell(self, visit: Visit, call: Call, prompts: list[Prompt]) -> None:
        self._speech.note_music(call)
        if visit.listen():
            await asyncio.sleep(_OPENING_S)
            await self._speech.say_all(call, Party.CALLER, prompts)
            await asyncio.sleep(CLOSING_S)

    async def _go_before(self, visit: Visit, call: Call) -> None:
        """What the caller hears first; then the callee is called."""
        if prompts := self.talk.before(call):
            await self._tell(visit, call, prompts)
        else:
            visit.listen()
        visit.end()
        await asyncio.sleep(_GOING_ON_S)
        await self.talk.wait(call)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
