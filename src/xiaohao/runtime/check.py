"""Looks for mistakes in a configuration that the single values do not show."""

import ipaddress
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from xiaohao.settings import KEY_VARIABLE, Settings, SettingsError, host_port

_TRANSPORTS = ("udp", "tcp", "tls")
_EVERYWHERE = ("0.0.0.0", "::", "[::]")


def problems(settings: Settings) -> list[str]:
    """Every mistake found, one line each, naming the key."""
    return [
        *_database(settings.database.url),
        *_addresses(settings),
        *_tls(settings),
        *_media(settings),
        *_notifications(settings),
        *_trace(settings),
        *_master_key(settings),
    ]


def require(settings: Settings) -> Settings:
    """The same settings. Raises SettingsError with every mistake."""
    if found := problems(settings):
        raise SettingsError("\n".join(found))
    return settings


def _database(url: str) -> Iterator[str]:
    names_a_database = url.startswith("postgresql://") and urlsplit(url).path.strip("/")
    if not (url.startswith("sqlite:///") or names_a_database):
        yield "database.url: must be sqlite:///path or postgresql://user@host/name"


def _listeners(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Every address listened on: the key, udp or tcp, host:port."""
    for entry in settings.edge.listen:
        transport, _, address = entry.partition(":")
        yield "edge.listen", "udp" if transport == "udp" else "tcp", address
    yield "edge.evapi", "tcp", settings.edge.evapi
    yield "edge.rpc", "udp", settings.edge.rpc
    yield "media.ng", "udp", settings.media.ng
    yield "announcements.listen", "udp", settings.announcements.listen
    yield "announcements.edge", "udp", settings.announcements.edge
    yield "announcements.keys", "udp", settings.announcements.keys
    yield "web.listen", "tcp", settings.web.listen
    yield "worker.wake", "udp", settings.worker.wake
    yield "trace.listen", "udp", settings.trace.listen
    yield "worker.listen", "tcp", settings.worker.listen
    yield "switch.listen", "tcp", settings.switch.listen


def _addresses(settings: Settings) -> Iterator[str]:
    if not settings.edge.listen:
        yield "edge.listen: must name at least one address"
    for entry in settings.edge.listen:
        if entry.partition(":")[0] not in _TRANSPORTS:
            yield f"edge.listen: {entry!r} must begin with udp:, tcp: or tls:"
    taken: Counter[tuple[str, str]] = Counter()
    for key, transport, address in _listeners(settings):
        try:
            host, port = host_port(address)
        except SettingsError as error:
            yield f"{key}: {error}"
            continue
        if not 0 < port < 65_536:
            yield f"{key}: {port} is not a port"
        if key.startswith("edge.") and not _is_address(host):
            yield f"{key}: {host!r} must be an IP address"
        if key == "edge.listen" and host in _EVERYWHERE and not settings.edge.advertise:
            yield f"edge.advertise: needed, because {host} is no address that carriers could answer to"
        if transport == "udp" and _is_for_audio(settings, host, port):
            yield f"{key}: {port} is one of the ports for audio, media.port_min to media.port_max"
        taken[transport, f"{host}:{port}"] += 1
    for (transport, address), times in taken.items():
        if times > 1:
            yield f"{transport}:{address} is given to {times} listeners"


def _is_for_audio(settings: Settings, host: str, port: int) -> bool:
    # Both would bind it (SO_REUSEADDR), and one of them would hear nothing while a call has it.
    media = settings.media
    same_place = media.interface == host or media.interface in _EVERYWHERE or host in _EVERYWHERE
    return same_place and media.port_min <= port <= media.port_max


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _tls(settings: Settings) -> Iterator[str]:
    edge = settings.edge
    files = {"edge.tls_certificate": edge.tls_certificate, "edge.tls_private_key": edge.tls_private_key}
    if edge.tls_authorities and not Path(edge.tls_authorities).is_file():
        yield f"edge.tls_authorities: there is no file {edge.tls_authorities}"
    wanted = any(entry.startswith("tls:") for entry in edge.listen)
    for key, name in files.items():
        if name is None:
            if wanted or any(files.values()):
                yield f"{key}: needed to listen with TLS"
        elif not Path(name).is_file():
            yield f"{key}: there is no file {name}"


def _media(settings: Settings) -> Iterator[str]:
    media = settings.media
    # Four ports a call: RTP and RTCP on either side.
    if not (media.port_min >= 1024 and media.port_min + 4 <= media.port_max < 65_536):
        yield "media.port_min, media.port_max: must leave at least four ports between 1024 and 65535"
    if not _is_address(media.interface.rpartition("/")[2].rpartition("!")[2]):
        yield f"media.interface: {media.interface!r} must be an IP address"
    elif media.interface in _EVERYWHERE:
        yield f"media.interface: {media.interface} is no address that carriers could send to"
    if media.advertise is not None and not _is_address(media.advertise):
        yield f"media.advertise: {media.advertise!r} must be an IP address"


def _notifications(settings: Settings) -> Iterator[str]:
    wanted = settings.notifications
    if not wanted.retry_s or min(wanted.retry_s) < 0:
        yield "notifications.retry_s: must name at least one pause, in seconds"
    for key in ("give_up_after_h", "timeout_s", "at_once", "retention_days"):
        if getattr(wanted, key) <= 0:
            yield f"notifications.{key}: must be above 0"


def _trace(settings: Settings) -> Iterator[str]:
    trace = settings.trace
    if not 0 <= trace.sample <= 1:
        yield "trace.sample: must be between 0 and 1"
    if trace.retention_days <= 0:
        yield "trace.retention_days: must be above 0"
    if trace.homer is not None:
        try:
            host_port(trace.homer)
        except SettingsError as error:
            yield f"trace.homer: {error}"


def _master_key(settings: Settings) -> Iterator[str]:
    if KEY_VARIABLE not in os.environ and not Path(settings.secrets.master_key_file).exists():
        return  # it is made when it is first needed, not by looking
    try:
        settings.master_key()
    except SettingsError as error:
        yield f"secrets.master_key_file: {error}"
    except OSError as error:
        yield f"secrets.master_key_file: {error.strerror}"
