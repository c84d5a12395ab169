"""What is heard in a call that is connected: before the callee is called, until the answer, and after it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from xiaohao.announcer.media import MediaError
from xiaohao.announcer.speech import CLOSING_S, Speech
from xiaohao.announcer.tones import Tones
from xiaohao.calls.model import Call, Party, Reason, State
from xiaohao.clock import SECOND, now_us
from xiaohao.edge.wire import Manner
from xiaohao.prompts.model import LONGEST_MS, Prompt

_log = structlog.get_logger(__name__)

#: what is said of a callee who is not reached
_UNREACHED: Final = (
    Reason.CALLEE_BUSY,
    Reason.CALLEE_NO_ANSWER,
    Reason.CALLEE_UNREACHABLE,
    Reason.CALLEE_NUMBER_INVALID,
)
#: the platform's ends that come at leisure; at the others nobody could hear anything
_WITH_GOODBYE: Final = (Reason.MAX_DURATION, Reason.PLATFORM_HUNG_UP)


class Talk:
    """The announcements of connected calls."""

    def __init__(self, speech: Speech, warn_s: int, tones: Tones) -> None:
        """`warn_s`: so long before the longest duration is over both sides are told."""
        self._speech, self._warn_s, self._tones = speech, warn_s, tones
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._leaving: set[str] = set()
        #: calls whose answer this process has seen
        self._seen: set[str] = set()
        #: calls that this process has connected; in others a dead one may have music going on
        self._ours: set[str] = set()

    def manner(self, call: Call) -> Manner:
        """What the edge must know before it connects this call."""
        self._ours.add(call.id)
        has = self._speech.prompt
        return Manner(
            announce_end=any(self._speech.prompt_of(call, reason) for reason in _UNREACHED),
            apart=bool(self._openings(call, Party.CALLEE) or self._openings(call, Party.CALLER)),
            music=has(call, "waiting") is not None,
        )

    def before(self, call: Call) -> list[Prompt]:
        """What the caller hears before the callee is called."""
        prompt = self._speech.prompt(call, "before_connect")
        return [prompt] if prompt else []

    async def wait(self, call: Call) -> None:
        """The callee is called now: music, where there is any. Raises MediaError."""
        if prompt := self._speech.prompt(call, "waiting"):
            await self._until_answered(call, prompt)

    async def ring(self, call: Call) -> None:
        """The callee's phone rings, and the caller, whom we have answered, hears it. Raises MediaError."""
        if not self._speech.plays_to(call, Party.CALLER):
            await self._until_answered(call, await self._tones.ringback())

    async def _until_answered(self, call: Call, prompt: Prompt) -> None:
        if call.state is not State.ANSWERED:
            await self._speech.start_music(call, prompt)
        if call.state is State.ANSWERED:
            # while rtpengine was asked
            await self._speech.stop_music(call)

    def answered(self, call: Call) -> None:
        """The callee has answered."""
        self._seen.add(call.id)
        self._do(call, self._open(call))
        self._warn_in_time(call)

    def goes_on(self, call: Call) -> None:
        """A call that may have been answered while another switch lived: let nobody be kept from talking."""
        if call.state is not State.ANSWERED or call.answered_at is None or call.id in self._seen:
            return
        self._seen.add(call.id)
        if now_us() - call.answered_at < 2 * LONGEST_MS * 1000:
            self._do(call, self._resume(call))
        self._warn_in_time(call)

    def ended(self, call: Call) -> None:
        """Nobody listens any more."""
        for task in self._tasks.pop(call.id, set()):
            task.cancel()
        self._speech.over(call)
        self._leaving.discard(call.id)
        self._seen.discard(call.id)
        self._ours.discard(call.id)

    def goodbye_s(self, call: Call) -> float:
        """How long the goodbye of this call takes."""
        prompt = self._speech.prompt(call, "goodbye")
        return prompt.duration_ms / 1000 + CLOSING_S if prompt else 0.0

    def says_goodbye(self, call: Call, reason: Reason, then: Callable[[], None]) -> bool:
        """Whether both are told first that the platform ends their talk; `then` ends it."""
        prompt = self._speech.prompt(call, "goodbye")
        if prompt is None or reason not in _WITH_GOODBYE or call.state is not State.ANSWERED:
            return False
        if call.id not in self._leaving:
            self._leaving.add(call.id)
            self._do(call, self._leave(call, prompt, then))
        return True

    async def _open(self, call: Call) -> None:
        """Right after the answer; until then the edge keeps the two apart."""
        to_callee, to_caller = (self._openings(call, party) for party in (Party.CALLEE, Party.CALLER))
        try:
            if to_caller:
                await self._speech.stop_music(call)
            await asyncio.gather(
                self._speech.say_all(call, Party.CALLEE, to_callee),
                self._speech.say_all(call, Party.CALLER, to_caller),
            )
        finally:
            await self._speech.stop_music(call)
            if call.id not in self._ours:
                await self._resume(call)
            elif to_callee or to_caller:
                await self._speech.player.together(call.id)

    async def _resume(self, call: Call) -> None:
        """Nothing plays, and both hear each other, whatever a switch that has died had begun."""
        await self._speech.player.stop(call.id, Party.CALLER)
        await self._speech.player.together(call.id)

    def _openings(self, call: Call, party: Party) -> list[Prompt]:
        wanted = ["whisper"] if party is Party.CALLEE else []
        if call.record:
            wanted.append("recorded")
        return [prompt for each in wanted if (prompt := self._speech.prompt(call, each))]

    def _warn_in_time(self, call: Call) -> None:
        prompt = self._speech.prompt(call, "max_duration_soon")
        if prompt is None or not call.max_duration_s or call.answered_at is None:
            return
        left = (call.answered_at - now_us()) / SECOND + call.max_duration_s - self._warn_s
        if left > 0:
            self._do(call, self._warn(call, prompt, left))

    async def _warn(self, call: Call, prompt: Prompt, left_s: float) -> None:
        await asyncio.sleep(left_s)
        if call.id not in self._leaving:
            await self._tell_both(call, prompt)
            await self._speech.player.together(call.id)

    async def _leave(self, call: Call, prompt: Prompt, then: Callable[[], None]) -> None:
        try:
            await self._tell_both(call, prompt)
            await asyncio.sleep(CLOSING_S)
        finally:
            then()

    async def _tell_both(self, call: Call, prompt: Prompt) -> None:
        await self._speech.player.apart(call.id)
        await asyncio.gather(*(self._speech.say(call, to, prompt) for to in (Party.CALLER, Party.CALLEE)))

    def _do(self, call: Call, work: Coroutine[Any, Any, None]) -> None:
        tasks = self._tasks.setdefault(call.id, set())
        task = asyncio.get_running_loop().create_task(_quietly(call.id, work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # a call that is over at once is cancelled before its work has begun
        task.add_done_callback(lambda _: work.close())


async def _quietly(call_id: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except MediaError as error:
        _log.warning("not_announced", call_id=call_id, error=str(error))
