"""A carrier trunk as data: who may send us calls, where calls leave, and how the carrier spells numbers."""

from collections.abc import Collection
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

from xiaohao.numbers.model import NumberForm


class CliHeader(StrEnum):
    """The SIP header in which a carrier gives and expects the caller's number (CLI)."""

    FROM = "from"
    #: P-Asserted-Identity, RFC 3325
    PAI = "pai"
    #: Remote-Party-ID, draft-ietf-sip-privacy-04, still common
    RPID = "rpid"


class Transport(StrEnum):
    """How SIP reaches the carrier."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


#: behind a transport: with IPv6
SIX: Final = "6"
#: the shortest prefix by IP version: no carrier was given more, and 10.0.0.0/8 is the widest private network
_WIDEST: Final = {4: 8, 6: 16}
#: private, too (RFC 4193)
_UNIQUE_LOCAL: Final = IPv6Network("fc00::/7")

#: every way that an edge may have to its carriers: `udp`, or `udp6` with IPv6
WAYS: Final = frozenset(f"{transport}{family}" for transport in Transport for family in ("", SIX))


class Answers(StrEnum):
    """Who of a trunk's callers is answered before there is a callee: the call costs them from then on.

    Some carriers let neither sound nor key presses through before an answer.
    """

    #: nobody
    CONNECTED = "connected"
    #: who is asked something, or waits until their customer says whom to call
    ASKED = "asked"
    #: also who is told why they are not connected
    TOLD = "told"


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One address of the carrier that takes our calls."""

    #: a name, or an address; one of IPv6 with or without its brackets
    host: str
    port: int = 5060
    transport: Transport = Transport.UDP

    @property
    def place(self) -> str:
        """Host and port as a SIP URI has them (RFC 3261 section 25.1): IPv6 stands in brackets."""
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{self.port}"

    def way(self, ways: Collection[str]) -> str:
        """Which of WAYS leads there, for an edge that has these.

        A name stands for an IPv4 address, unless the edge has IPv6 only.
        """
        over_ipv6 = ":" in self.host or (family_of(self.host) != 4 and all(way.endswith(SIX) for way in ways))
        return self.transport.value + (SIX if over_ipv6 else "")


def family_of(host: str) -> int | None:
    """4 or 6; None for what is no address."""
    try:
        return ip_address(host.strip("[]")).version
    except ValueError:
        return None


class Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user name and password (RFC 3261 section 22, MD5)."""

    username: str
    password: str


class TrunkSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about a trunk that an operator sets. Holds a password: seal it before it is stored."""

    #: the company behind the trunk; trunks of one carrier stand in for each other
    carrier: str
    #: where calls leave, in this order
    targets: list[Target]
    #: addresses or networks (CIDR) whose calls we take as this trunk's
    sources: list[str] = msgspec.field(default_factory=list)
    #: lets callers in from any address that knows this user name and password
    digest_in: Digest | None = None
    #: answers the carrier's 401 or 407
    digest_out: Digest | None = None
    cli_header_in: CliHeader = CliHeader.FROM
    cli_header_out: CliHeader = CliHeader.FROM
    #: how the callee is spelled in requests that we send
    callee_form: NumberForm = NumberForm.E164
    #: how the number displayed is spelled in requests that we send
    cli_form: NumberForm = NumberForm.E164
    #: which calls that we get are answered by the platform itself
    answers: Answers = Answers.CONNECTED
    #: digits put before the callee in requests that we send
    prefix_out: str = ""
    #: digits taken off the dialled number in requests that we get
    prefix_in: str = ""
    #: calls at once, both directions together; 0 = no limit
    channels: int = 0
    #: whether OPTIONS ask every `edge.probe_s` seconds if the targets are there; else they always count so
    probe: bool = True
    #: the lower number is tried first
    priority: int = 10
    #: share of the calls among trunks of one priority
    weight: int = 1


def faults(spec: TrunkSpec) -> list[str]:
    """What is wrong with a specification, in words; empty where nothing is."""
    found: list[str] = []
    for source in spec.sources:
        network = _network(source)
        if network is None:
            found.append(f"sources: {source!r} is neither an address nor a network")
        elif isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
            # the edge sees an IPv4 sender as such, and would never find it here
            found.append(f"sources: {source!r} must be written as the IPv4 address that it is")
    if not spec.sources and not spec.targets and not spec.digest_in:
        found.append("a trunk needs sources, targets or digest_in")
    for target in spec.targets:
        found += _faults_of_target(target)
    for name, digits in (("prefix_in", spec.prefix_in), ("prefix_out", spec.prefix_out)):
        if digits and not digits.isdigit():
            found.append(f"{name}: digits only")
    for name, value in (("channels", spec.channels), ("priority", spec.priority)):
        if value < 0:
            found.append(f"{name}: not below 0")
    if spec.weight < 1:
        found.append("weight: at least 1")
    return found


def open_doors(spec: TrunkSpec) -> list[str]:
    """Which sources would let in whoever likes, in words.

    A password does not help: nobody who comes from a source is asked for it.
    """
    return [
        f"sources: {source!r} is too much of the Internet: whoever sends from there is this carrier. "
        f"The widest network is /{_WIDEST[network.version]}; callers from anywhere need digest_in"
        for source in spec.sources
        if (network := _network(source))
        and network.prefixlen < _WIDEST[network.version]
        and not (isinstance(network, IPv6Network) and network.subnet_of(_UNIQUE_LOCAL))
    ]


def _network(source: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(source, strict=False)
    except ValueError:
        return None


def _faults_of_target(target: Target) -> list[str]:
    found: list[str] = []
    if not 0 < target.port < 65536:
        found.append(f"targets: port {target.port} is not between 1 and 65535")
    if not target.host or any(c in target.host for c in " <>;,|\"'\r\n"):
        found.append(f"targets: {target.host!r} is not a host name or address")
    elif any(c in target.host for c in ":[]"):
        host = target.place.rpartition(":")[0]
        try:
            IPv6Address(host[1:-1] if host.endswith("]") else "")
        except ValueError:
            found.append(f"targets: {target.host!r} is not an address; a port has a field of its own")
    return found


def shared_entrance(spec: TrunkSpec, other: TrunkSpec) -> str | None:
    """What lets callers in by both trunks, so that nobody could say whose they are; None where nothing does.

    An address within another trunk's network is no clash: the address counts.
    """
    if spec.digest_in and other.digest_in and spec.digest_in.username == other.digest_in.username:
        return f"the user name {spec.digest_in.username!r}"
    theirs = [ip_network(source, strict=False) for source in other.sources]
    for network in (ip_network(source, strict=False) for source in spec.sources):
        for their in theirs:
            if network.version != their.version or not network.overlaps(their):
                continue
            single = network.max_prefixlen
            if network == their or (network.prefixlen < single and their.prefixlen < single):
                return f"the address {network}" if network.prefixlen == single else f"the network {network}"
    return None


class Trunk(msgspec.Struct, frozen=True):
    """A trunk of the platform."""

    id: str
    name: str
    state: str
    spec: TrunkSpec
