"""Where carriers reach the edge, and what they see of it, for IPv4 and for IPv6."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from xiaohao.settings import Edge, Media, host_port
from xiaohao.trunks.model import SIX, family_of

#: where on this machine whoever listens everywhere is reached
_ONESELF: Final = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}


class Listener(NamedTuple):
    """One socket for SIP. Hosts are as a URI has them: IPv6 stands in brackets."""

    transport: str
    host: str
    port: int
    #: the host that carriers see
    shown: str

    @property
    def bound(self) -> str:
        """`udp:127.0.0.1:5060`"""
        return f"{self.transport}:{self.place(self.host)}"

    @property
    def seen(self) -> str:
        """Host and port that carriers see."""
        return self.place(self.shown)

    @property
    def here(self) -> tuple[str, int]:
        """Where this machine reaches it, as Python's sockets have it."""
        return _ONESELF.get(self.host, self.host.strip("[]")), self.port

    def place(self, host: str) -> str:
        """A host with this socket's port."""
        return f"{host}:{self.port}"


def in_uri(host: str) -> str:
    """A host as a URI or Via has it: an IPv6 address stands in brackets (RFC 3261 section 25.1)."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def listed(value: str | Sequence[str] | None) -> list[str]:
    """What one key names: nothing, one thing or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def shown_for(host: str, advertised: str | Sequence[str] | None) -> str | None:
    """Which of the advertised stands for an address: that of its family, else a name."""
    names = listed(advertised)
    family = family_of(host)
    return next((name for name in names if family_of(name) == family), None) or next(
        (name for name in names if family_of(name) is None), None
    )


def every_listener(edge: Edge) -> list[Listener]:
    """All sockets for SIP in the order of the configuration. Raises SettingsError."""
    found = []
    for entry in edge.listen:
        transport, _, address = entry.partition(":")
        host, port = host_port(address)
        shown = shown_for(host, edge.advertise) or host
        found.append(Listener(transport, in_uri(host), port, in_uri(shown)))
    return found


def listeners(edge: Edge) -> dict[str, Listener]:
    """The first socket of each way to carriers (trunks/model.py): `udp`, or `udp6` with IPv6, and so on.

    Raises SettingsError.
    """
    found: dict[str, Listener] = {}
    for each in every_listener(edge):
        found.setdefault(each.transport + (SIX if family_of(each.host) == 6 else ""), each)
    return found


def media_interfaces(media: Media) -> list[str]:
    """rtpengine's `--interface`: each address with the one that carriers see behind an exclamation mark."""
    found = []
    for interface in listed(media.interface):
        host = interface.rpartition("/")[2].partition("!")[0]
        shown = shown_for(host, media.advertise)
        found.append(f"{interface}!{shown.strip('[]')}" if shown else interface)
    return found
