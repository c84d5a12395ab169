"""rtpengine as a child process: its command line. It is told everything there and reads no file."""

import os
import shutil
import socket
from pathlib import Path

from xiaohao.edge.addresses import listed, media_interfaces
from xiaohao.edge.kamailio import EngineMissing
from xiaohao.settings import Settings, SettingsError


def pid_file(settings: Settings) -> Path:
    """Where a running rtpengine says its process id; written anew at each start."""
    return Path(settings.runtime_folder) / "edge" / "rtpengine.pid"


def _check_interface(interface: str) -> None:
    """rtpengine starts with any address, and has no port for any call then. Raises SettingsError."""
    host = interface.rpartition("/")[2].partition("!")[0].strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise SettingsError(
            f"media.interface: {host} is no address of this machine ({error.strerror}); "
            "behind NAT the public address belongs into media.advertise"
        ) from None


def _make_private(folder: Path) -> None:
    """Let nobody else look into a folder: what is captured lies there in the clear, in files for all to read.

    It may have been there before, a disk of its own for example. Raises SettingsError where it is not ours.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        try:
            folder.chmod(0o700)
        except OSError as error:
            raise SettingsError(
                f"{folder}: calls are recorded there and others can read it ({error.strerror}); chmod 700"
            ) from None


def command(settings: Settings) -> list[str]:
    """How to start rtpengine in the foreground.

    Raises EngineMissing; SettingsError for a foreign address, or a folder that others can read.
    """
    binary = shutil.which("rtpengine", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not binary:
        raise EngineMissing("rtpengine is missing: apt-get install rtpengine-daemon")
    media, captures = settings.media, settings.captures_folder
    for interface in listed(media.interface):
        _check_interface(interface)
    _make_private(captures)
    return [
        *(binary, "--foreground", "--log-stderr", "--no-fallback", "--table=-1", "--config-file=none"),
        *(f"--interface={interface}" for interface in media_interfaces(media)),
        f"--listen-ng={media.ng}",
        *(f"--port-min={media.port_min}", f"--port-max={media.port_max}"),
        f"--num-threads={media.threads}",
        # A phone whose call was lost goes on sending to a port that may be another call's by now: whose audio
        # is not where the SDP said it would come from is a stranger's, and is dropped (`strict-source`).
        f"--endpoint-learning={'heuristic' if media.learn_addresses else 'off'}",
        f"--log-level={7 if settings.log_level == 'debug' else 4}",
        *("--delete-delay=0", f"--offer-timeout={settings.calls.ring_s + 30}"),
        *(f"--timeout={media.dead_after_s}", f"--silent-timeout={media.dead_on_hold_after_s}"),
        *(f"--b2b-url=http://{settings.switch.listen}/media-died", "--xmlrpc-format=1"),
        f"--dtmf-log-dest={settings.announcements.keys}",
        *("--recording-method=pcap", "--recording-format=eth", f"--recording-dir={captures}"),
        # without a round-trip time, which a carrier may not let us know, it would keep no averages at all
        "--mos=LQ",
        f"--pidfile={pid_file(settings)}",
    ]
