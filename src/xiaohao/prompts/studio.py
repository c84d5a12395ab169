"""A file or a text made a prompt, in a process of its own: what a customer sends takes nobody else down.

`python -m xiaohao.prompts.studio` reads a JSON `Task` from its standard input and writes a `Made` and then
the WAV file to its standard output; a refusal goes to standard error as JSON, with exit status 3.
"""

import asyncio
import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from xiaohao.errors import Refusal
from xiaohao.prompts.model import Language
from xiaohao.settings import KEY_VARIABLE

_REFUSED: Final = 3
_NICENESS: Final = 10
#: what the work may take; the longest prompt takes a second and 400 MB
_MEMORY: Final = 1 << 30
_CPU_S: Final = 20
_PATIENCE_S: Final = 40.0
_AT_ONCE: Final = 2
_WAITING: Final = 8
_TITLES: Final = {
    "audio_not_supported": "The file is not supported",
    "audio_malformed": "The file cannot be decoded",
    "audio_too_long": "The prompt is too long",
    "audio_too_short": "The prompt is too short",
    "audio_silent": "The prompt is silence",
    "text_not_speakable": "The text cannot be said",
}


class Task(msgspec.Struct, frozen=True):
    """What is to be made a prompt: the file at a path, or texts, one after the other."""

    path: str | None = None
    texts: list[tuple[Language, str]] = []


class Made(msgspec.Struct, frozen=True):
    """What was made; `bytes` of a WAV file follow. `loudness` in LUFS."""

    bytes: int
    duration_ms: int
    loudness: float


class _Refused(msgspec.Struct, frozen=True):
    code: str
    detail: str


class Studio:
    """Has prompts made, a few at once."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def make(self, task: Task) -> tuple[Made, bytes]:
        """Make a prompt. Raises Refusal: those of the sound, `prompts_busy`, `speech_unavailable`."""
        if self._waiting >= _WAITING:
            raise _busy()
        self._waiting += 1
        try:
            async with self._turn:
                return await self._make(task)
        finally:
            self._waiting -= 1

    async def _make(self, task: Task) -> tuple[Made, bytes]:
        environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xiaohao.prompts.studio"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # each thread of the mathematics' library takes memory for itself
            env=environment | {"OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_PATIENCE_S):
                out, said = await process.communicate(msgspec.json.encode(task))
        except TimeoutError:
            raise _refusal("audio_malformed", "It takes too long to decode.") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode == _REFUSED:
            refused = msgspec.json.decode(said.splitlines()[-1], type=_Refused)
            raise _refusal(refused.code, refused.detail)
        if process.returncode:
            raise _refusal("audio_malformed", "It cannot be decoded in the memory and time that it may take.")
        head, _, file = out.partition(b"\n")
        return msgspec.json.decode(head, type=Made), file


def _refusal(code: str, detail: str) -> Refusal:
    if code == "speech_unavailable":
        return Refusal(code, "Texts cannot be said here", detail, 503)
    return Refusal(code, _TITLES[code], detail, 422)


def _busy() -> Refusal:
    detail = "Others have prompts made: try again in a moment."
    return Refusal("prompts_busy", "Making prompts takes too long", detail, 503, {"retry_after_s": 5})


def _limit() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    # Where memory is short all the same, this process is the one to end.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    for what, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _said(texts: list[tuple[Language, str]]) -> Any:
    from xiaohao.prompts import sound, speech  # noqa: PLC0415 – its dictionaries take half a second to load

    samples = speech.said(texts)
    sound.check_length(samples)
    return samples


def main() -> int:
    """Make one prompt."""
    _limit()
    from xiaohao.prompts import sound  # noqa: PLC0415 – within the limits

    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        if task.path is not None:
            # what decodes a stranger's file writes none; the synthesiser's sound library must
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            samples = sound.levelled(sound.decoded(Path(task.path).read_bytes()))
        else:
            samples = _said(task.texts)
        file = sound.wav(samples)
        made = Made(len(file), sound.duration_ms(samples), round(sound.loudness(samples), 1))
    except sound.SoundError as error:
        sys.stderr.buffer.write(b"\n" + msgspec.json.encode(_Refused(error.code, error.detail)))
        return _REFUSED
    sys.stdout.buffer.write(msgspec.json.encode(made) + b"\n" + file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
