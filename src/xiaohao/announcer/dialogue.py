"""A dialogue with a caller: carries out what the graph's machine says, and tells it what happens."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, assert_never

from xiaohao.announcer.keys import Keys
from xiaohao.announcer.media import MediaError
from xiaohao.announcer.speech import Speech, persistently
from xiaohao.calls.model import Call, Party
from xiaohao.ivr.machine import Machine
from xiaohao.ivr.model import (
    Action,
    ConnectTo,
    Digit,
    Event,
    Found,
    Graph,
    Kind,
    Looked,
    LookUp,
    Played,
    PlayPrompt,
    Refuse,
    Started,
    StopPlaying,
    Timeout,
    WaitForDigits,
)

Look = Callable[[Kind, str], Awaitable[Found]]


class Dialogue:
    """One caller, one graph. `look` finds whom digits mean."""

    def __init__(self, speech: Speech, keys: Keys, call: Call, graph: Graph, look: Look) -> None:
        self._speech, self._keys, self._call, self._look = speech, keys, call, look
        self._machine = Machine(graph)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        #: what the machine waits for; the next action takes its place
        self._doing: asyncio.Task[None] | None = None
        #: what silences rtpengine, before anything else is played
        self._hushing: asyncio.Task[None] | None = None
        # keys that come before the question was asked answer it
        self._events.put_nowait(Started())
        keys.expect(call.id, lambda key: self._events.put_nowait(Digit(key)))

    async def run(self) -> ConnectTo | Refuse:
        """Talk until the graph's end."""
        try:
            await persistently(lambda: self._speech.player.watch_keys(self._call.id, on=True))
            while True:
                for action in self._machine.feed(await self._events.get()):
                    if isinstance(action, ConnectTo | Refuse):
                        return action
                    self._do(action)
        finally:
            self._keys.forget(self._call.id)
            self._stop()

    async def leave(self) -> None:
        """The call goes on to its callee: rtpengine need not look for tones any more. Raises MediaError."""
        await self._speech.player.watch_keys(self._call.id, on=False)

    def _do(self, action: Action) -> None:
        match action:
            case PlayPrompt(prompt, step):
                self._begin(self._play(prompt, step))
            case StopPlaying():
                self._stop()
                self._hushing = asyncio.get_running_loop().create_task(self._hush())
            case WaitForDigits(timeout_ms=timeout_ms, step=step):
                self._begin(self._wait(timeout_ms, step))
            case LookUp(kind, digits, step):
                self._begin(self._find(kind, digits, step))
            case ConnectTo() | Refuse():
                pass  # the end, which `run` sees
            case _ as never:
                assert_never(never)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._stop()
        self._doing = asyncio.get_running_loop().create_task(work)

    def _stop(self) -> None:
        if self._doing is not None:
            self._doing.cancel()
            self._doing = None

    async def _play(self, wanted: str, step: int) -> None:
        prompt = self._speech.prompt(self._call, wanted)
        if self._hushing is not None:
            await self._hushing
        try:
            if prompt is not None:
                await self._speech.say(self._call, Party.CALLER, prompt)
        except MediaError:
            await asyncio.sleep(prompt.duration_ms / 1000 if prompt else 0)
        self._events.put_nowait(Played(step))

    async def _hush(self) -> None:
        with contextlib.suppress(MediaError):  # what plays goes on, and the caller goes on dialling
            await self._speech.player.stop(self._call.id, Party.CALLER)

    async def _wait(self, timeout_ms: int, step: int) -> None:
        await asyncio.sleep(timeout_ms / 1000)
        self._events.put_nowait(Timeout(step))

    async def _find(self, kind: Kind, digits: str, step: int) -> None:
        self._events.put_nowait(Looked(await self._look(kind, digits), step))
