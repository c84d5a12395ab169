"""What the measurements read from /proc: CPU time and memory of process trees, and what machine this is."""

import os
import platform
import subprocess
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def _stat(pid: int) -> list[str]:
    # the name, in parentheses, may hold blanks
    return (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()


def tree(root: int) -> list[int]:
    """A process and all that came of it."""
    parents: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def own_cpu(pid: int) -> float:
    """Seconds, user and system, of the process itself with all its threads."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def tree_cpu(root: int) -> float:
    """Seconds of a process and its children, those that ended, too."""
    total = 0
    for pid in tree(root):
        try:
            total += sum(map(int, _stat(pid)[11:15]))
        except OSError:
            continue
    return total * _TICK_S


def pss_kib(root: int) -> int:
    """Memory of a process tree; what several share is counted once."""
    total = 0
    for pid in tree(root):
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def busy() -> tuple[float, float]:
    """Seconds that all cores together have worked, and have existed, since the machine started."""
    fields = [int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * _TICK_S, sum(fields) * _TICK_S


def udp_drops(port: int) -> int:
    """Datagrams that did not fit into the receive buffers of a port."""
    total = 0
    for line in (_PROC / "net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == port:
            total += int(fields[-1])
    return total


def about() -> str:
    """The machine and what runs on it, in lines."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    lines = [
        f"machine: {cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}",
        f"Python {platform.python_version()}, {_version('kamailio', '-v')}, {_version('rtpengine', '-v')}",
        f"load average before: {', '.join(f'{one:.1f}' for one in os.getloadavg())}",
    ]
    return "\n".join(lines)


def _version(program: str, flag: str) -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    said = subprocess.run(
        [program, flag], capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
    )
    line = (said.stdout + said.stderr).splitlines()[0]
    return line if program in line else f"{program} {line}"


def percentile(values: list[float], part: float) -> float:
    """The value that this part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else float("nan")
