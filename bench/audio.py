"""CPU seconds to turn one recorded minute into a file, for each codec in and format out.

Method: a capture of a call in which both sides talk without a pause for one minute, 50 packets a second and
side, is written as rtpengine writes it; then `convert` runs on it in this process, once to warm up and then
five times: decode, draw, measure the voices, encode, encrypt. Printed is the median of the CPU time (user and
system, all threads) with the least and the greatest, and the median as a part of
real time. The floor is reading the capture and writing as many bytes as the WAV has, without looking at
anything in it.

Run: `python -m bench.audio [codec …]`
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.recordings.audio import CODECS, HZ_A, HZ_B
from tests.recordings.synthetic import PORT_A, PORT_B, START_US, CaptureFolder, simple, talk

from xiaohao.recordings import capture
from xiaohao.recordings.convert import convert

SECONDS = 60
ROUNDS = 5


def main() -> None:
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"one recorded minute, both sides talking; {ROUNDS} rounds; CPU milliseconds: median (least–greatest)"
    )
    for name in sys.argv[1:] or CODECS:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder))


def measure(name: str, folder: Path) -> None:
    captures = CaptureFolder(folder / "captures")
    packets = talk(name, HZ_A, PORT_A, 0, SECONDS, ssrc=1) + talk(name, HZ_B, PORT_B, 0, SECONDS, ssrc=2)
    captures.write(sorted(packets, key=lambda packet: packet.at), simple([name]))
    [found] = capture.find(captures.path, captures.call_id)
    for format_ in ("wav", "mp3", "opus"):
        target = folder / f"call.{format_}"
        moments = START_US, START_US + SECONDS * 1_000_000
        times = cpu(partial(convert, [found], *moments, format_, target, bytes(32)))
        middle = statistics.median(times)
        print(
            f"{name:>10} -> {format_:<5} {middle * 1e3:7.1f} ({min(times) * 1e3:.1f}–{max(times) * 1e3:.1f})"
            f"   1/{SECONDS / middle:.0f} of real time"
        )
    size = (folder / "call.wav").stat().st_size
    floor = statistics.median(cpu(partial(copy, found.pcap, folder / "floor", size)))
    print(f"{name:>10} floor    {floor * 1e3:7.1f}")


def cpu(work: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(ROUNDS + 1):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return times[1:]


def copy(source: str | None, target: Path, size: int) -> None:
    assert source is not None
    Path(source).read_bytes()
    target.write_bytes(bytes(size))


if __name__ == "__main__":
    main()
