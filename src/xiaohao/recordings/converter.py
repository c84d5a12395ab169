"""Conversions in a process of their own, a line of JSON for each: `python -m xiaohao.recordings.converter`.

A capture holds whatever a stranger's phone sent. Should it bring a decoder down, the worker goes on; what a
long call needed in memory is given back; and a lower priority leaves the machine to the calls. The process
ends when its standard input does, so that none is left behind by a worker that was killed.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from xiaohao.calls.model import Announcement
from xiaohao.recordings.capture import Capture
from xiaohao.recordings.model import AudioFile, CaptureError, Format
from xiaohao.settings import KEY_VARIABLE

_NICENESS: Final = 5
#: after so many conversions a fresh process takes over, whatever the codecs' libraries have kept
_JOBS_OF_A_PROCESS: Final = 1000
_LONGEST_LINE: Final = 1 << 20
_DYING_S: Final = 1.0


class Job(msgspec.Struct, frozen=True):
    """What is to be converted; moments in µs since the epoch."""

    captures: list[Capture]
    received_at: int
    ended_at: int
    format: Format
    target: str
    #: seals the target; this process knows no other key
    key: bytes
    #: what was played meanwhile
    announcements: list[Announcement] = msgspec.field(default_factory=list)


#: reads the column of that name. Raises msgspec.DecodeError
announcements_of = msgspec.json.Decoder(list[Announcement]).decode


class Outcome(msgspec.Struct, frozen=True):
    """What came of it: audio, or why not. `lasting` says that trying again is hardly worth it."""

    audio: AudioFile | None = None
    error: str = ""
    lasting: bool = False


class ConversionFailed(Exception):
    """A capture did not become audio. The text carries neither numbers nor addresses."""

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


class Converter:
    """The worker's end: one process, started when it is first needed and again when it has died."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._jobs = 0

    async def convert(self, job: Job, patience_s: float) -> AudioFile:
        """Convert a call; one at a time. Raises ConversionFailed."""
        try:
            async with asyncio.timeout(patience_s):
                line = await self._ask(msgspec.json.encode(job) + b"\n")
        except TimeoutError:
            self._end()
            raise ConversionFailed("the conversion took too long", lasting=True) from None
        except OSError:
            line = b""
        except BaseException:
            self._end()  # cancelled in the middle: its answer must not be taken for the next one's
            raise
        if not line.endswith(b"\n"):
            raise await self._died()
        outcome = msgspec.json.decode(line, type=Outcome)
        if outcome.audio is None:
            raise ConversionFailed(outcome.error, lasting=outcome.lasting)
        return outcome.audio

    async def _died(self) -> ConversionFailed:
        """What the process died of. One that writes to a mapped file hears of a full disk in no other way."""
        code, process = None, self._process
        if process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DYING_S):
                    code = await process.wait()
        self._end()
        if code == -signal.SIGBUS:
            return ConversionFailed("there is no room on the disk of the runtime folder", lasting=False)
        return ConversionFailed("the converter died of the capture", lasting=True)

    async def close(self) -> None:
        """End the process."""
        process = self._process
        self._end()
        if process is not None:
            await process.wait()

    async def _ask(self, line: bytes) -> bytes:
        if self._jobs >= _JOBS_OF_A_PROCESS or (self._process and self._process.returncode is not None):
            self._end()
        if self._process is None:
            environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "xiaohao.recordings.converter"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
                limit=_LONGEST_LINE,
            )
        self._jobs += 1
        reader, writer = self._process.stdout, self._process.stdin
        if reader is None or writer is None:  # both were asked for
            return b""
        writer.write(line)
        await writer.drain()
        return await reader.readline()

    def _end(self) -> None:
        process, self._process, self._jobs = self._process, None, 0
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()


def work(job: Job) -> Outcome:
    """Do one job in this process."""
    from xiaohao.recordings.convert import convert  # noqa: PLC0415 - only this process needs the codecs

    try:
        moments, target = (job.received_at, job.ended_at), Path(job.target)
        audio = convert(job.captures, *moments, job.format, target, job.key, job.announcements)
    except CaptureError as error:
        return Outcome(error=str(error), lasting=True)
    except OSError as error:
        return Outcome(error=f"a file cannot be read or written: {error.strerror or type(error).__name__}")
    except MemoryError:
        return Outcome(error="there is not enough memory")
    except Exception as error:  # noqa: BLE001 - whatever a stranger sent, the next job is another's
        return Outcome(error=f"the capture cannot be converted: {type(error).__name__}", lasting=True)
    return Outcome(audio)


def main() -> None:
    """Answer each line with a line, until there are no more."""
    os.nice(_NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a key pressed at the terminal is the worker's business
    decode = msgspec.json.Decoder(Job).decode
    for line in sys.stdin.buffer:
        job = decode(line)
        outcome = msgspec.json.encode(work(job)) + b"\n"
        try:
            sys.stdout.buffer.write(outcome)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # the worker was killed: the next one begins this anew
            Path(job.target).unlink(missing_ok=True)
            os._exit(1)  # an ordinary end would try to flush once more


if __name__ == "__main__":
    main()
