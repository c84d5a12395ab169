"""How long an INVITE takes from the caller's carrier to the callee's, by SIPp's own clock.

Both processes of SIPp write every message with the moment it passed; the two INVITEs of a call are found by
the session id in their SDP, which passes the platform unchanged.
"""

import re
import statistics
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from bench.machine import percentile
from bench.sipp import call, callee
from bench.subject import Subject

_ENTRY = re.compile(r"^-{20,} (\S+ \S+)$", re.MULTILINE)
_ORIGIN = re.compile(r"^o=\S+ (\d+) ", re.MULTILINE)


def _invites(trace: Path) -> Iterator[tuple[str, float]]:
    text = trace.read_text(errors="replace")
    marks = list(_ENTRY.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.end() : following.start() if following else len(text)]
        origin = _ORIGIN.search(body)
        if "\nINVITE sip:" in body and origin:
            yield origin[1], datetime.fromisoformat(mark[1]).timestamp()


def _first(trace: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for session, at in _invites(trace):
        found.setdefault(session, at)
    return found


async def added_ms(subject: Subject, folder: Path, rate: float, seconds: float) -> list[float]:
    """Milliseconds from INVITE to INVITE, a call each. Raises RuntimeError where calls failed."""
    sent, received = folder / "caller.msg", folder / "callee.msg"
    for old in (sent, received):
        old.unlink(missing_ok=True)
    async with callee(subject, folder, received):
        outcome = await call(subject, folder, rate, seconds, trace=sent)
    out, into = _first(sent), _first(received)
    if not outcome.clean or out.keys() != into.keys():
        raise RuntimeError(f"{subject.name}: {outcome}; {len(out)} INVITEs sent, {len(into)} received")
    return [(into[session] - at) * 1000 for session, at in out.items()]


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
