"""A caller who waits until their customer says whom to call: told so, and played music meanwhile."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from xiaohao.announcer.media import MediaError
from xiaohao.announcer.sip import Visit
from xiaohao.announcer.speech import Speech
from xiaohao.calls.model import Party
from xiaohao.clock import now_us
from xiaohao.prompts.model import NOTHING, Prompt, Situation
from xiaohao.routing.model import Queue
from xiaohao.switch.steps import Passage

_log = structlog.get_logger(__name__)

#: RFC 3261 section 13.3.1.1: every minute a sign of life, or a proxy on the way may end the call
_SIGN_S: Final = 50.0


class Hold:
    """One caller who waits. `ask` asks about them and says what the edge is to do then; None: nothing."""

    def __init__(
        self, speech: Speech, visit: Visit, passage: Passage, ask: Callable[[Passage], Awaitable[str | None]]
    ) -> None:
        self._speech, self._visit, self._passage, self._ask = speech, visit, passage, ask
        self._call = passage.call
        #: what was said last, what plays, and the task that does it
        self._said: str | None = None
        self._music: Prompt | None = None
        self._playing: asyncio.Task[None] | None = None

    async def run(self) -> str:
        """Wait; gives what the edge is to do then."""
        signs = asyncio.get_running_loop().create_task(self._give_signs())
        try:
            while True:
                assert self._passage.waiting is not None  # noqa: S101 – so they are here
                await self._entertain(self._passage.waiting.answer)
                draw = random.random()  # noqa: S311 – spreads questions, guards nothing
                await asyncio.sleep(self._passage.waiting.pause_s(now_us(), draw))
                line = await self._ask(self._passage)
                if line is not None:
                    await self._hush()
                    return line
        finally:
            signs.cancel()
            self._stop()

    async def _entertain(self, answer: Queue) -> None:
        """Say what the customer wants to be said, once, and play its music; what plays already goes on."""
        wanted = answer.prompt or Situation.QUEUED.value
        said, self._said = self._said, wanted
        prompt = self._speech.prompt(self._call, wanted) if wanted != said else None
        music = self._music_of(answer)
        if prompt is None and music == self._music:
            return
        self._music = music
        await self._hush()
        self._playing = asyncio.get_running_loop().create_task(self._play(prompt, music))

    def _music_of(self, answer: Queue) -> Prompt | None:
        if answer.music == NOTHING:
            return None
        named = self._speech.prompt(self._call, answer.music) if answer.music is not None else None
        return self._speech.music(self._call) if named is None else named

    async def _play(self, prompt: Prompt | None, music: Prompt | None) -> None:
        try:
            if prompt is not None:
                await self._speech.say(self._call, Party.CALLER, prompt)
            if music is not None:
                await self._speech.start_music(self._call, music)
        except MediaError as error:  # they wait in silence
            _log.warning("not_announced", call_id=self._call.id, error=str(error))

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None

    async def _hush(self) -> None:
        """Nothing plays any more."""
        if self._playing is None:
            return
        self._stop()
        await asyncio.sleep(0)  # what was said is noted
        self._speech.over(self._call)
        with contextlib.suppress(MediaError):
            await self._speech.player.stop(self._call.id, Party.CALLER)

    async def _give_signs(self) -> None:
        while True:
            await asyncio.sleep(_SIGN_S)
            if not self._visit.is_answered:
                self._visit.repeated()
