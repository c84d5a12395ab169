"""What rtpengine does for the announcer: it plays to a side of a call, keeps sides apart, watches for keys.

rtpengine reads a WAV file in pieces of 128 ms and sends them ahead of their time, so that a phone gets bursts
with gaps of up to 130 ms between them. A file whose packets are 20 ms long each it plays evenly: every prompt
is laid down once in such a file, in FFmpeg's own container (docs/decisions/0085).
"""

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Final

import av
import numpy as np
import structlog

from xiaohao.calls.model import Party
from xiaohao.edge.ng import Ng, NgError
from xiaohao.prompts.service import KEPT_S

_log = structlog.get_logger(__name__)

_RATE: Final = 8000
_FRAME: Final = 160
#: the sides of a call in rtpengine
TAGS: Final = {Party.CALLER: "a", Party.CALLEE: "b"}


class MediaError(Exception):
    """rtpengine does not do what it is asked for."""


class Reels:
    """Prompts in the form in which rtpengine plays them evenly, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Path, Path] = {}
        #: no file is taken up while old ones are being deleted
        self._lock = threading.Lock()

    async def of(self, path: Path) -> Path:
        """The file to play for a prompt's. Raises MediaError where that cannot be read."""
        made = self._made.get(path)
        if made is None:
            made = self._made[path] = await asyncio.to_thread(self._make, path)
        return made

    def _make(self, path: Path) -> Path:
        name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
        try:
            with self._lock:
                reel = self._folder / f"{name}-{path.stat().st_mtime_ns:x}.nut"
                if reel.exists():
                    os.utime(reel)
                else:
                    self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                    draft = reel.with_suffix(".draft")
                    lay_down(path, draft)
                    draft.replace(reel)
                    # they become more here only
                    self._sweep()
        except (OSError, av.FFmpegError, ValueError) as error:
            raise MediaError(f"a prompt cannot be read: {type(error).__name__}") from error
        return reel

    def _sweep(self) -> None:
        """Delete what no prompt has used for so long that nobody can be listening to it."""
        for path, reel in tuple(self._made.items()):
            if path.exists():
                with contextlib.suppress(OSError):
                    os.utime(reel)
            else:
                self._made.pop(path, None)
        for reel in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if reel.stat().st_mtime < time.time() - KEPT_S:
                    reel.unlink()


def lay_down(source: Path, target: Path) -> None:
    """Write `source`'s audio to `target`: PCM, 8 kHz, one channel, in packets of 20 ms."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE, frame_size=_FRAME)
    with av.open(str(source)) as read, av.open(str(target), "w", format="nut") as written:
        stream = written.add_stream("pcm_s16le", rate=_RATE, layout="mono")
        at = 0
        for decoded in [*read.decode(audio=0), None]:
            for frame in resampler.resample(decoded):
                sound = np.zeros((1, _FRAME), dtype=np.int16)
                sound[:, : frame.samples] = frame.to_ndarray()
                whole = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
                whole.sample_rate, whole.pts = _RATE, at
                at += _FRAME
                written.mux(stream.encode(whole))
        written.mux(stream.encode(None))


class Player:
    """rtpengine's part in announcements. Every method raises MediaError."""

    def __init__(self, ng: Ng, folder: Path) -> None:
        self._ng, self._reels = ng, Reels(folder)

    async def play(self, call_id: str, to: Party, path: Path, times: int = 1) -> None:
        """Play a prompt to one side, so many times."""
        reel = await self._reels.of(path)
        await self._command("play media", call_id, to, file=str(reel), repeat_times=times)

    async def stop(self, call_id: str, to: Party) -> None:
        """Be silent."""
        await self._command("stop media", call_id, to)

    async def apart(self, call_id: str) -> None:
        """From now on neither side hears the other, only what is played."""
        await self._command("block media", call_id)

    async def together(self, call_id: str) -> None:
        """They hear each other again."""
        await self._command("unblock media", call_id)

    async def watch_keys(self, call_id: str, *, on: bool) -> None:
        """Whether keys that the caller's phone sends as tones are told, too.

        rtpengine 10.5 changes that at this command only; the delay of nothing makes it look.
        """
        flags = ["detect-DTMF"] if on else []
        await self._command("unblock DTMF", call_id, Party.CALLER, flags=flags, delay_buffer=0)

    async def _command(
        self, name: str, call_id: str, party: Party | None = None, **parameters: object
    ) -> None:
        side = {"from_tag": TAGS[party]} if party else {}
        try:
            answer = await self._ng.command(name, call_id=call_id, **side, **parameters)
        except NgError as error:
            raise MediaError(str(error)) from error
        if answer.get("result") != "ok":
            raise MediaError(f"{name}: {answer.get('error-reason')}")
