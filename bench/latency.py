"""How long an INVITE takes from the caller's carrier to the callee's, by SIPp's own clock.

Both processes of SIPp write every message with the moment it passed. Nothing of the first INVITE is left in
the second: they are told by the pair of people, whose calls come one after the other.
"""

import re
import statistics
from datetime import datetime
from pathlib import Path

from bench.machine import percentile
from bench.sipp import call, callee
from bench.subject import Subject

_ENTRY = re.compile(r"^-{20,} (\S+ \S+)$", re.MULTILINE)
OF_CALLER = re.compile(r"^From: .*?<sip:(\d+)@", re.MULTILINE)
OF_CALLEE = re.compile(r"^To: <sip:\+86(\d+)@", re.MULTILINE)
_BRANCH = re.compile(r"^Via: .*branch=(\S+)", re.MULTILINE)


def invites(trace: Path, person: re.Pattern[str]) -> dict[str, list[float]]:
    """When each person's INVITEs passed, each counted once however often it was sent."""
    text = trace.read_text(errors="replace")
    marks = list(_ENTRY.finditer(text))
    found: dict[str, list[float]] = {}
    seen: set[str] = set()
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.end() : following.start() if following else len(text)]
        who, branch = person.search(body), _BRANCH.search(body)
        if "\nINVITE sip:" in body and who and branch and branch[1] not in seen:
            seen.add(branch[1])
            found.setdefault(who[1], []).append(datetime.fromisoformat(mark[1]).timestamp())
    return found


async def added_ms(subject: Subject, folder: Path, rate: float, seconds: float) -> list[float]:
    """Milliseconds from INVITE to INVITE, a call each. Raises RuntimeError where calls failed."""
    sent, received = folder / "caller.msg", folder / "callee.msg"
    for old in (sent, received):
        old.unlink(missing_ok=True)
    async with callee(subject, folder, received):
        outcome = await call(subject, folder, rate, seconds, trace=sent)
    out, into = invites(sent, OF_CALLER), invites(received, OF_CALLEE)
    times = []
    for pair in subject.pairs:
        left, arrived = out.get(pair.caller, []), into.get(pair.callee, [])
        if not outcome.clean or len(left) != len(arrived):
            raise RuntimeError(
                f"{subject.name}: {outcome}; {len(left)} INVITEs sent, {len(arrived)} received"
            )
        times += [(after - before) * 1000 for before, after in zip(left, arrived, strict=True)]
    return times


async def report(subjects: list[Subject], folder: Path, rate: float, seconds: float, rounds: int) -> None:
    print(f"\nINVITE in to INVITE out: {rate:g} calls/s for {seconds:g} s, {rounds} rounds by turns, ms")
    found: dict[str, list[list[float]]] = {subject.name: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            times = await added_ms(subject, folder, rate, seconds)
            found[subject.name].append(times)
            print(
                f"  {subject.name:>8}: median {statistics.median(times):.2f}, "
                f"p99 {percentile(times, 0.99):.2f}, longest {max(times):.1f}"
            )
    everything = {name: [one for times in rounds_ for one in times] for name, rounds_ in found.items()}
    middle = {name: statistics.median(times) for name, times in everything.items()}
    tail = {name: percentile(times, 0.99) for name, times in everything.items()}
    print(
        f"  ours over floor: median {middle['ours'] - middle['floor']:+.2f} ms (target ≤ 3), "
        f"p99 {tail['ours'] - tail['floor']:+.2f} ms (target ≤ 15)"
    )
