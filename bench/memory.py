"""Memory of each process at the start, after 10,000 calls and after 20,000."""

from pathlib import Path

from bench.sipp import call, callee
from bench.subject import Ours


async def report(ours: Ours, folder: Path, rate: float, calls: int) -> None:
    """`calls` is the number between two looks."""
    print(f"\nMemory (PSS, MiB), {rate:g} calls/s, {calls} calls between looks; target: last step ≤ 2 %")
    looks = [ours.memory()]
    failed = 0
    async with callee(ours, folder):
        for _ in range(2):
            outcome = await call(ours, folder, rate, calls / rate)
            failed += outcome.failed + outcome.refused
            await ours.quiet()
            ours.sink.take()
            looks.append(ours.memory())
    for name in looks[0]:
        sizes = [look[name] for look in looks]
        growth = (sizes[2] - sizes[1]) / sizes[1] * 100
        told = " → ".join(f"{size / 1024:.1f}" for size in sizes)
        print(f"  {name:>10}: {told}   last step {growth:+.1f} %")
    print(f"  calls that did not go through: {failed}")
