"""What runs on this machine and whether it works: `xiaohao status`."""

import asyncio
from pathlib import Path

import msgspec

from xiaohao.runtime.processes import ProcessStatus
from xiaohao.runtime.programs import probes
from xiaohao.settings import Settings


class Line(msgspec.Struct, frozen=True):
    """One process: whether it does its work, and what its supervisor knows (None where there is none)."""

    name: str
    ready: bool
    known: ProcessStatus | None


async def look(settings: Settings) -> list[Line]:
    """Ask every process that the supervisor of this runtime folder knows; without one, every kind."""
    known = _known(Path(settings.runtime_folder) / "status.json")
    ask = {name: probe for name, probe in probes(settings).items() if not known or name in known}
    answers = await asyncio.gather(*(probe() for probe in ask.values()))
    return [Line(name, ready, known.get(name)) for name, ready in zip(ask, answers, strict=True)]


def _known(path: Path) -> dict[str, ProcessStatus]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, ProcessStatus])
    except (OSError, msgspec.DecodeError):
        return {}


def table(lines: list[Line]) -> str:
    """The lines as a person reads them."""
    rows = [["process", "state", "pid", "starts", "since", "last end"]]
    for line in lines:
        known = line.known or ProcessStatus()
        facts = (known.pid, known.starts or None, known.since, known.last_exit)
        state = "ready" if line.ready else "not ready"
        rows.append([line.name, state, *("-" if fact is None else str(fact) for fact in facts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
