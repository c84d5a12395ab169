"""Runs measurements: `python -m bench [part …]`; without parts, everything but `memory` and `overload`.

Each part starts the platform and the floor afresh in a folder of its own under BENCH_FOLDER (default: a
temporary folder on the disk of the working directory) and prints what it found.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import allocations, bindings, cost, events, latency, limits, lookups, memory, talking, tracing
from bench.machine import about
from bench.subject import Floor, Ours, Subject


async def _with_both(folder: Path, work: Callable[[list[Subject]], Awaitable[None]]) -> None:
    floor, ours = Floor(folder / "floor"), Ours(folder / "ours")
    subjects: list[Subject] = []
    try:
        for subject in (floor, ours):
            subjects.append(subject)
            await subject.start()
        await work(subjects)
        for subject in subjects:
            for line in subject.trouble():
                print(f"  {subject.name} complained: {line}")
    finally:
        for subject in reversed(subjects):
            await subject.stop()


async def _cost(folder: Path, options: argparse.Namespace) -> None:
    seconds = 12 * options.scale

    async def at_each_rate(both: list[Subject]) -> None:
        for rate in options.calls_per_second:
            await cost.report(both, folder, rate, seconds, options.rounds)

    await _with_both(folder, at_each_rate)


async def _latency(folder: Path, options: argparse.Namespace) -> None:
    seconds = 12 * options.scale
    await _with_both(folder, lambda both: latency.report(both, folder, 30, seconds, options.rounds))


async def _limits(folder: Path, options: argparse.Namespace) -> None:
    await _with_both(
        folder,
        lambda both: limits.report(both, folder, 10 * options.scale, 60 * options.scale, 60 * options.scale),
    )


async def _overload(folder: Path, options: argparse.Namespace) -> None:
    await _alone(
        folder,
        lambda ours: limits.overload(ours, folder, options.rate, 20 * options.scale, 60 * options.scale),
    )


async def _talking(folder: Path, options: argparse.Namespace) -> None:
    await _with_both(folder, lambda both: talking.report(both, options.calls, 30 * options.scale))


async def _alone(folder: Path, work: Callable[[Ours], Awaitable[None]]) -> None:
    ours = Ours(folder / "ours")
    try:
        await ours.start()
        await work(ours)
        for line in ours.trouble():
            print(f"  complained: {line}")
    finally:
        await ours.stop()


async def _events(folder: Path, options: argparse.Namespace) -> None:
    async def both(ours: Ours) -> None:
        await events.report(ours, folder, 10, 30 * options.scale)
        await talking.report_one(ours, 60 * options.scale, 5)

    await _alone(folder, both)


async def _memory(folder: Path, options: argparse.Namespace) -> None:
    await _alone(folder, lambda ours: memory.report(ours, folder, 60, round(10_000 * options.scale)))


async def _bindings(folder: Path, options: argparse.Namespace) -> None:
    await bindings.report(folder, 5 * options.scale, options.rounds)


async def _lookups(folder: Path, options: argparse.Namespace) -> None:
    await lookups.report(folder, options.bindings)


async def _tracing(folder: Path, options: argparse.Namespace) -> None:
    both = tracing.subjects(folder)
    try:
        for subject in both:
            await subject.start()
        for rate in options.calls_per_second:
            await tracing.report(both, folder, rate, 12 * options.scale, options.rounds)
    finally:
        for subject in both:
            await subject.stop()


async def _allocations(folder: Path, options: argparse.Namespace) -> None:
    await allocations.report(folder, options.scale)


PARTS = {
    "cost": _cost,
    "latency": _latency,
    "limits": _limits,
    "overload": _overload,
    "talking": _talking,
    "events": _events,
    "memory": _memory,
    "bindings": _bindings,
    "allocations": _allocations,
    "lookups": _lookups,
    "tracing": _tracing,
}
OF_ITS_OWN = {"memory", "overload", "lookups"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="turns of each subject")
    parser.add_argument("--scale", type=float, default=1.0, help="longer (2) or shorter (0.5) loads")
    parser.add_argument(
        "--calls-per-second", type=float, nargs="+", default=[30, 300], help="loads of `cost`, in turn"
    )
    parser.add_argument("--calls", type=int, default=200, help="calls that talk at once")
    parser.add_argument(
        "--rate", type=float, default=150, help="overload: the highest rate, where it is known"
    )
    parser.add_argument(
        "--bindings",
        type=int,
        nargs="+",
        default=[10_000, 1_000_000, 10_000_000],
        help="lookups: how many live bindings there are, in turn (10 million take 20 GB of disk)",
    )
    options = parser.parse_args()
    wanted = options.parts or [name for name in PARTS if name not in OF_ITS_OWN]
    if unknown := set(wanted) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    print(about())
    for name in wanted:
        with tempfile.TemporaryDirectory(
            prefix="bench-", dir=os.environ.get("BENCH_FOLDER", "."), ignore_cleanup_errors=True
        ) as folder:
            asyncio.run(PARTS[name](Path(folder).resolve(), options))


if __name__ == "__main__":
    main()
