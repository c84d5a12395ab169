"""Which processes make up the platform, and how each is started and asked whether it works."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from xiaohao.edge import kamailio, rtpengine
from xiaohao.edge.farewell import Farewell
from xiaohao.edge.rpc import Rpc
from xiaohao.runtime.errors import SupervisorError
from xiaohao.runtime.probes import (
    KAMAILIO_QUESTION,
    RTPENGINE_QUESTION,
    Probe,
    ask_http,
    http_probe,
    life_probe,
    udp_probe,
)
from xiaohao.runtime.processes import Program
from xiaohao.settings import Settings


def probes(settings: Settings) -> dict[str, Probe]:
    """How each process is asked whether it works, by its name."""
    return {
        "kamailio": udp_probe(settings.edge.rpc, KAMAILIO_QUESTION),
        "switch": http_probe(settings.switch.listen, "/readyz"),
        "rtpengine": udp_probe(settings.media.ng, RTPENGINE_QUESTION),
        "worker": http_probe(settings.worker.listen, "/healthz"),
        "web": http_probe(settings.web.listen, "/readyz"),
    }


def edge(settings: Settings) -> list[Program]:
    """The engines by themselves: before they stop the switch, wherever it is, ends what calls there are.

    Raises kamailio.EngineMissing.
    """
    return _engines(settings, Farewell(Rpc(settings.edge.rpc)))


def _engines(settings: Settings, parts: Probe | None = None) -> list[Program]:
    ask = probes(settings)
    kamailio.write_configuration(settings)
    return [
        Program("kamailio", kamailio.command(settings), ask["kamailio"], quotes_phones=True, parts=parts),
        Program("rtpengine", rtpengine.command(settings), ask["rtpengine"], quotes_phones=True),
    ]


def platform(settings: Settings, config: Path) -> list[Program]:
    """Everything, in the order in which it stops.

    Before that the switch ends what calls there are: nobody's phone shall go on with a platform that is gone.
    Then Kamailio, so that no new call comes; the switch, which still writes what the end of the edge means to
    calls; rtpengine, which closes its captures; last those who work on what the calls left.
    Raises kamailio.EngineMissing.
    """
    ask = probes(settings)
    sip, media = _engines(settings)
    listen = {
        "switch": settings.switch.listen,
        "worker": settings.worker.listen,
        "web": settings.web.listen,
    }
    # The engines are not killed for being silent: talking calls would go with them.
    parts = {"switch": _parting(settings)}
    switch, worker, web = (
        Program(kind, command(kind, config), ask[kind], lives=life_probe(address), parts=parts.get(kind))
        for kind, address in listen.items()
    )
    return [sip, switch, media, worker, web]


def _parting(settings: Settings) -> Probe:
    """Has the switch end every call; content when none is left, or when there is no switch that answers."""
    pid_file = Path(settings.runtime_folder) / "pids" / "switch.pid"

    async def probe() -> bool:
        if await ask_http(settings.switch.listen, "/idle") != 503:
            return True
        with suppress(OSError, ValueError):
            os.kill(int(pid_file.read_text()), signal.SIGUSR1)
        return False

    return probe


def command(kind: str, config: Path) -> list[str]:
    """The command line of one of our own processes: switch, web, worker or migrate."""
    return [sys.executable, "-m", "xiaohao.cli", kind, "--config", str(config.resolve())]


def migrate(config: Path) -> None:
    """Bring the database's schema up to date, in a process of its own: the supervisor stays small.

    Raises SupervisorError with what that process said.
    """
    done = subprocess.run(command("migrate", config), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SupervisorError(done.stderr.strip() or "the database cannot be migrated")
