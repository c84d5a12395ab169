"""SIPp as both carriers: one process that calls and one that is called."""

import asyncio
import csv
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.subject import CALLEE_HOST, CALLER_HOST, Subject, environment

_SCENARIOS = Path(__file__).parent / "scenarios"
#: what the system allows; SIPp's own default loses packets long before the edge does
_SOCKET_BYTES = 4_000_000


@dataclass(frozen=True)
class Outcome:
    """How a load went: calls that went through, were refused with 503 and Retry-After, did neither."""

    offered: int
    completed: int
    refused: int
    failed: int
    retransmissions: int
    seconds: float
    #: how long SIPp took to begin them all: longer than asked for means that it could not
    offering_s: float
    errors: str = ""

    @property
    def clean(self) -> bool:
        return self.completed == self.offered


@asynccontextmanager
async def callee(subject: Subject, folder: Path, trace: Path | None = None) -> AsyncIterator[int]:
    """SIPp that is called; gives its process id."""
    command = [
        *("sipp", "-sf", str(_SCENARIOS / "callee.xml"), "-i", CALLEE_HOST, "-p", str(subject.callee_port)),
        *("-nostdin", "-buff_size", str(_SOCKET_BYTES)),
        *_trace(trace),
    ]
    process = await _start(command, folder)
    await asyncio.sleep(0.5)
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def call(
    subject: Subject, folder: Path, rate: float, seconds: float, talk_ms: int = 500, trace: Path | None = None
) -> Outcome:
    """Offer `rate` calls a second for so many seconds and wait until each has ended one way or the other."""
    calls = max(round(rate * seconds), 1)
    people = folder / "people.csv"
    people.write_text("SEQUENTIAL\n" + "".join(f"{p.caller};{p.dialled}\n" for p in subject.pairs))
    statistics, errors = folder / "caller.csv", folder / "caller.err"
    for old in (statistics, errors):
        old.unlink(missing_ok=True)
    command = [
        *("sipp", "-sf", str(_SCENARIOS / "caller.xml"), "-i", CALLER_HOST, "-p", str(subject.caller_port)),
        *("-inf", str(people), "-r", str(rate), "-m", str(calls), "-l", str(calls + 1), "-d", str(talk_ms)),
        *("-nostdin", "-buff_size", str(_SOCKET_BYTES), "-recv_timeout", "12000"),
        *("-timeout", f"{round(seconds + 60)}s", "-timeout_error"),
        *("-trace_stat", "-stf", str(statistics), "-fd", "1", "-trace_err", "-error_file", str(errors)),
        *_trace(trace),
        "{}:{}".format(*subject.sip),
    ]
    began = time.monotonic()
    process = await _start(command, folder)
    await process.wait()
    took = time.monotonic() - began
    with statistics.open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    last = rows[-1]
    refused = next((int(v) for k, v in last.items() if k and "refused" in k and "(C)" in k), 0)
    offered = int(last["TotalCallCreated"])
    offering = next(
        (float(row["CurrentTime"].split()[-1]) for row in rows if int(row["TotalCallCreated"]) == offered),
        0.0,
    ) - float(last["StartTime"].split()[-1])
    return Outcome(
        calls, int(last["SuccessfulCall(C)"]) - refused, refused,
        calls - int(last["SuccessfulCall(C)"]), int(last["Retransmissions(C)"]), took, offering,
        _summary(errors),
    )  # fmt: skip


def _summary(errors: Path) -> str:
    """What SIPp complained about most."""
    if not errors.exists():
        return ""
    counts: dict[str, int] = {}
    for line in errors.read_text(errors="replace").splitlines():
        if re.match(r"^20\d\d-", line):
            text = re.sub(r"\d+-\d+@[\d.]+|'[^']*'|\d\d+", "…", line.split(":", 3)[-1])[:100]
            counts[text] = counts.get(text, 0) + 1
    return "; ".join(f"{n} × {text.strip()}" for text, n in sorted(counts.items(), key=lambda x: -x[1])[:3])


def _trace(path: Path | None) -> list[str]:
    return [] if path is None else ["-trace_msg", "-message_file", str(path)]


async def _start(command: list[str], folder: Path) -> asyncio.subprocess.Process:
    nowhere = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=environment(), cwd=folder
    )
