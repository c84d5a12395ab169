"""Looks for mistakes in a configuration that the single values do not show."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from xiaohao.edge.addresses import every_listener, listed, shown_for
from xiaohao.settings import KEY_VARIABLE, Calls, Edge, Settings, SettingsError, host_port
from xiaohao.trunks.model import family_of

_TRANSPORTS = ("udp", "tcp", "tls")
_EVERYWHERE = ("0.0.0.0", "::", "[::]")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
#: for nobody outside; engines compare some of these as they are written
_OF_IPV4: Final = (
    *("edge.evapi", "edge.rpc", "media.ng", "worker.wake"),
    *("announcements.listen", "announcements.edge", "announcements.keys"),
)
_HUNDRED_YEARS: Final = 36_500
_A_DAY_S: Final = 86_400

#: the least and the most that a number may be. Where 0 has a meaning the guide says so; elsewhere it, and
#: whatever is below it, would end calls at once, delete what is to be kept, or stop a process
RANGES: Final[dict[str, tuple[float, float]]] = {
    "edge.workers": (1, 64),
    "edge.shared_memory_mb": (16, 1_048_576),
    "edge.calls_per_second": (0, 100_000),
    "edge.undecided_calls": (1, 100_000),
    "edge.probe_s": (1, 3600),
    "edge.ban_s": (1, 30 * _A_DAY_S),
    "media.port_min": (1024, 65_535),
    "media.port_max": (1024, 65_535),
    "media.threads": (1, 256),
    "media.dead_after_s": (1, _A_DAY_S),
    "media.dead_on_hold_after_s": (1, _A_DAY_S),
    "calls.decision_ms": (100, 30_000),
    "calls.ring_s": (1, 600),
    "calls.progress_s": (1, 600),
    "calls.trunk_silence_ms": (100, 60_000),
    "calls.max_duration_s": (1, _A_DAY_S),
    "calls.cdr_days": (0, _HUNDRED_YEARS),
    "announcements.warn_s": (0, _A_DAY_S),
    "routing.waiting_calls": (0, 100_000),
    "routing.longest_wait_s": (1, 600),
    "bindings.most_x": (0, 1_000_000),
    "recording.keep_days": (0, _HUNDRED_YEARS),
    "recording.least_free_mb": (0, 1_000_000_000),
    "worker.pool_warning_days": (0, _HUNDRED_YEARS),
    "notifications.give_up_after_h": (0.01, 8760),
    "notifications.timeout_s": (0.1, 300),
    "notifications.at_once": (1, 1000),
    "notifications.retention_days": (1, _HUNDRED_YEARS),
    "notifications.digest_after_s": (0, _HUNDRED_YEARS * _A_DAY_S),
    "billing.close_after_h": (0, 720),
    "trace.sample": (0, 1),
    "trace.retention_days": (1, _HUNDRED_YEARS),
}


def problems(settings: Settings) -> list[str]:
    """Every mistake found, one line each, naming the key."""
    return [
        *_database(settings.database.url),
        *_quantities(settings),
        *_region(settings.calls.region),
        *_edge(settings.edge),
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


def _quantities(settings: Settings) -> Iterator[str]:
    for key, (least, most) in RANGES.items():
        table, _, name = key.partition(".")
        if not least <= getattr(getattr(settings, table), name) <= most:
            yield f"{key}: must be between {least} and {most}"


def _region(region: str) -> Iterator[str]:
    if region == Calls().region:
        return
    # Whoever only supervises needs no numbering plans in memory.
    from phonenumbers import SUPPORTED_REGIONS  # noqa: PLC0415

    if region not in SUPPORTED_REGIONS:
        yield f"calls.region: {region!r} is no ISO 3166 region, as CN"


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


def _edge(edge: Edge) -> Iterator[str]:
    if not edge.listen:
        yield "edge.listen: must name at least one address"
    for shown in listed(edge.advertise):
        if not (_HOST.fullmatch(shown) or _is_address(shown)):
            yield f"edge.advertise: {shown!r} is neither an IP address nor the name of a host"
    for entry in edge.listen:
        if entry.partition(":")[0] not in _TRANSPORTS:
            yield f"edge.listen: {entry!r} must begin with udp:, tcp: or tls:"


def _addresses(settings: Settings) -> Iterator[str]:
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
        if key in _OF_IPV4 and family_of(host) == 6:
            yield f"{key}: {host!r} must be an IPv4 address"
        if key == "edge.listen" and host in _EVERYWHERE and not shown_for(host, settings.edge.advertise):
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
    same_place = any(place == host or place in _EVERYWHERE for place in listed(media.interface))
    return (same_place or host in _EVERYWHERE) and media.port_min <= port <= media.port_max


def _is_address(host: str) -> bool:
    return family_of(host) is not None


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
    if media.port_min + 4 > media.port_max:
        yield "media.port_min, media.port_max: must leave at least four ports"
    families: list[int | None] = []
    for interface in listed(media.interface):
        families.append(family_of(interface.rpartition("/")[2].partition("!")[0]))
        if not _is_address(interface.rpartition("/")[2].rpartition("!")[2]):
            yield f"media.interface: {interface!r} must be an IP address"
        elif interface in _EVERYWHERE:
            yield f"media.interface: {interface} is no address that carriers could send to"
    for advertised in listed(media.advertise):
        if not _is_address(advertised):
            yield f"media.advertise: {advertised!r} must be an IP address"
        elif families and family_of(advertised) not in families and None not in families:
            yield f"media.advertise: {advertised!r} is of a kind that media.interface has not"
    for family in (4, 6):
        if families.count(family) > 1:
            yield f"media.interface: more than one address of IPv{family}"
        if family not in families and None not in families and family in _families_of_sip(settings):
            yield f"media.interface: needs an address of IPv{family}, because edge.listen has one"


def _families_of_sip(settings: Settings) -> set[int | None]:
    try:
        return {family_of(listener.host) for listener in every_listener(settings.edge)}
    except SettingsError:
        return set()  # said where the addresses are looked at


def _notifications(settings: Settings) -> Iterator[str]:
    wanted = settings.notifications
    if not wanted.retry_s or min(wanted.retry_s) < 0:
        yield "notifications.retry_s: must name at least one pause, in seconds"


def _trace(settings: Settings) -> Iterator[str]:
    trace = settings.trace
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
