"""CPU per call: the platform and the floor by turns under the same load.

Edge and switch are measured with recording on. What web and worker cost a call is measured right after with
calls that leave no recording, since making audio and its book-keeping are another figure. What each process
takes when nothing happens is measured first and subtracted.
"""

import asyncio
import statistics
from pathlib import Path

from bench.sipp import call, callee
from bench.subject import Ours, Subject

EDGE_AND_SWITCH = ("kamailio", "rtpengine", "switch")
ALL_BUT_AUDIO = (*EDGE_AND_SWITCH, "web", "worker")
Cost = dict[str, float]


async def idle(subject: Subject, seconds: float) -> Cost:
    """CPU seconds a second by process while no call is there."""
    before = subject.cpu()
    await asyncio.sleep(seconds)
    after = subject.cpu()
    return {name: (after[name] - before[name]) / seconds for name in after}


async def per_call(subject: Subject, folder: Path, rate: float, seconds: float, at_rest: Cost) -> Cost:
    """CPU milliseconds a call by process. Raises RuntimeError where calls failed."""
    before, began = subject.cpu(), asyncio.get_running_loop().time()
    async with callee(subject, folder):
        outcome = await call(subject, folder, rate, seconds)
    await asyncio.sleep(1.5)  # the last events are delivered
    after, took = subject.cpu(), asyncio.get_running_loop().time() - began
    if not outcome.clean:
        raise RuntimeError(f"{subject.name}: {outcome}")
    return {
        name: max(after[name] - before[name] - at_rest[name] * took, 0.0) / outcome.completed * 1000
        for name in after
    }


async def _without_recordings(ours: Ours, folder: Path, rate: float, seconds: float, at_rest: Cost) -> Cost:
    recorded, ours.pairs = ours.pairs, ours.unrecorded
    try:
        await ours.quiet()
        cost = await per_call(ours, folder, rate, seconds, at_rest)
    finally:
        ours.pairs = recorded
    ours.sink.take()
    return cost


def total(cost: Cost, names: tuple[str, ...]) -> float:
    return sum(cost.get(name, 0.0) for name in names)


async def measure(
    subjects: list[Subject], folder: Path, rate: float, seconds: float, rounds: int
) -> dict[str, list[Cost]]:
    """Each subject's cost in each round, the subjects by turns."""
    at_rest = {subject.name: await idle(subject, 5) for subject in subjects}
    for subject in subjects:
        print(f"  idle, {subject.name}: " + _told(at_rest[subject.name], 1000, "ms/s"))
        await per_call(subject, folder, rate, 3, at_rest[subject.name])  # warm up
    found: dict[str, list[Cost]] = {subject.name: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            cost = await per_call(subject, folder, rate, seconds, at_rest[subject.name])
            print(f"  {subject.name:>8}: " + _told(cost, 1, "ms"))
            if isinstance(subject, Ours):
                told = await _without_recordings(subject, folder, rate, seconds, at_rest[subject.name])
                print("            without recordings: " + _told(told, 1, "ms"))
                cost |= {name: told[name] for name in ("web", "worker")}
            found[subject.name].append(cost)
    return found


def _told(cost: Cost, factor: float, unit: str) -> str:
    return ", ".join(f"{name} {value * factor:.2f}" for name, value in cost.items()) + f" {unit}"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


async def report(subjects: list[Subject], folder: Path, rate: float, seconds: float, rounds: int) -> None:
    print(f"\nCPU per call: {rate:g} calls/s for {seconds:g} s, {rounds} rounds by turns, recording on")
    found = await measure(subjects, folder, rate, seconds, rounds)
    floor, ours = found["floor"], found["ours"]
    base = [total(cost, EDGE_AND_SWITCH) for cost in floor]
    for title, names, target in (
        ("edge and switch", EDGE_AND_SWITCH, 1.5),
        ("with web and worker", ALL_BUT_AUDIO, 2.2),
    ):
        costs = [total(cost, names) for cost in ours]
        ratios = [cost / low for cost, low in zip(costs, base, strict=True)]
        print(
            f"  {title}: {_spread(costs)} ms, floor {_spread(base)} ms: {_spread(ratios)} ×, "
            f"target ≤ {target} ×"
        )
