"""Saying something in a call: chosen, played by rtpengine, and written into the call with its moment."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from xiaohao.announcer.media import MediaError, Player
from xiaohao.bindings.model import PromptMoment
from xiaohao.calls.model import Announcement, Call, Party, Reason
from xiaohao.clock import now_us
from xiaohao.prompts.model import DEFAULT, NOTHING, Prompt, Situation, situation_of

#: the edge's word to rtpengine may be under way still
_TRIES: Final = 10
_PAUSE_S: Final = 0.05
#: until the last sound is out of a phone's jitter buffer
CLOSING_S: Final = 0.2
#: music goes round so often
_ROUNDS: Final = 1000
#: as a binding says it
_DEFAULT_MUSIC: Final = json.dumps({PromptMoment.RINGING.value: DEFAULT})


class Chooser(Protocol):
    """`prompts.service.Prompts`."""

    def chosen(
        self, customer_id: str | None, pool_id: str | None, binding_prompts: str | None, wanted: str
    ) -> Prompt | None:
        """The prompt for a situation, or of this name."""


class Speech:
    """Plays prompts. `on`: whether anything is said at all."""

    def __init__(self, prompts: Chooser, player: Player, *, on: bool) -> None:
        self.player, self.on = player, on
        self._prompts = prompts
        #: by call and side: what plays, since when, and how long it can be heard
        self._playing: dict[str, dict[Party, tuple[Prompt, int, int]]] = {}

    def prompt(self, call: Call, wanted: str) -> Prompt | None:
        """What is said in this call in a situation (or the prompt of this name); None: nothing."""
        if not self.on:
            return None
        return self._prompts.chosen(call.customer_id, call.pool_id, call.prompts, wanted)

    def prompt_of(self, call: Call, reason: Reason, name: str | None = None) -> Prompt | None:
        """What is said of a call that ends for this reason, or the prompt of this name."""
        situation = situation_of(reason)
        named = self.prompt(call, name) if name else None
        if named is not None or name == NOTHING:
            return named
        # a name that is not there any more does not leave the caller in silence
        return self.prompt(call, situation) if situation else None

    def music(self, call: Call) -> Prompt | None:
        """What is played to a caller who waits to be connected, also where nobody has chosen anything."""
        return self.prompt(call, Situation.WAITING.value) or self._prompts.chosen(
            None, None, _DEFAULT_MUSIC, Situation.WAITING.value
        )

    async def say(self, call: Call, to: Party, prompt: Prompt) -> None:
        """Play a prompt to its end, or until this is cancelled. Raises MediaError."""
        await self._play(call, to, prompt)
        try:
            await asyncio.sleep(prompt.duration_ms / 1000)
        finally:
            self._note(call, to)

    async def say_all(self, call: Call, to: Party, prompts: Sequence[Prompt]) -> None:
        """One after the other. Raises MediaError."""
        for prompt in prompts:
            await self.say(call, to, prompt)

    async def start_music(self, call: Call, prompt: Prompt) -> None:
        """Play it to the caller again and again. Raises MediaError."""
        await self._play(call, Party.CALLER, prompt, _ROUNDS)

    async def stop_music(self, call: Call) -> None:
        """Nothing where none plays. Raises MediaError."""
        if self._note(call, Party.CALLER):
            await self.player.stop(call.id, Party.CALLER)

    def plays_to(self, call: Call, to: Party) -> bool:
        """Whether something plays to this side now."""
        return to in self._playing.get(call.id, {})

    def over(self, call: Call) -> None:
        """Nobody listens any more: write what plays into the call."""
        for party in Party:
            self._note(call, party)

    async def _play(self, call: Call, to: Party, prompt: Prompt, times: int = 1) -> None:
        await persistently(lambda: self.player.play(call.id, to, prompt.path, times))
        self._note(call, to)  # rtpengine plays one thing at a time to a side
        self._playing.setdefault(call.id, {})[to] = prompt, now_us(), prompt.duration_ms * times

    def _note(self, call: Call, to: Party) -> bool:
        """Write into the call what has been played to a side until now; False where nothing has."""
        sides = self._playing.get(call.id, {})
        playing = sides.pop(to, None)
        if not sides:
            self._playing.pop(call.id, None)
        if playing is None:
            return False
        prompt, began, longest_ms = playing
        heard_ms = min((now_us() - began) // 1000, longest_ms)
        call.announcements.append(Announcement(began, prompt.id, to, heard_ms, str(prompt.path)))
        return True


async def persistently(action: Callable[[], Awaitable[None]]) -> None:
    """Try again for a moment: what rtpengine must know may be on its way. Raises MediaError."""
    for _ in range(_TRIES):
        with contextlib.suppress(MediaError):
            await action()
            return
        await asyncio.sleep(_PAUSE_S)
    await action()
