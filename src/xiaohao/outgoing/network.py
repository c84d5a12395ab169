"""Where the platform may connect to on a customer's word.

A URL that a customer names must not make the platform speak to machines of the operator's own network, be it
by an address or by a host name that leads to one. Names are looked up once a connection, the addresses found
are checked, and the connection goes to exactly those: a name that answers differently the next moment (DNS
rebinding) gains nothing.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

#: a resolver that says nothing holds one thread for each host; the event loop's own few would soon be gone
_LOOKUPS_AT_ONCE: Final = 64
#: prefixes that carry an IPv4 address: who takes 10.0.0.1 must not get it as 64:ff9b::a00:1
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
#: names that no public name server answers for (RFC 6761, RFC 6762, RFC 8375; `internal` by ICANN)
_PRIVATE_NAMES: Final = ("localhost", "local", "internal", "home.arpa")
_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)$")

Lookup = Callable[[str, int], list[str]]


class PrivateAddress(OSError):
    """The host has none but addresses that customers may not make the platform speak to."""


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach this IP address. Raises ValueError where it is none."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def is_host(host: str) -> bool:
    """Whether it can be the host of a URL: whose last part is a number is an IPv4 address, or nothing."""
    name = host.rstrip(".")
    if not name or ".." in name:
        return False
    return ":" in name or not _ENDS_IN_A_NUMBER.search(name) or _ipv4(name) is not None


def names_a_private_place(host: str) -> bool:
    """Whether a URL's host, without asking any name server, is one that customers may not name."""
    name = host.lower().rstrip(".")
    if any(name == private or name.endswith(f".{private}") for private in _PRIVATE_NAMES):
        return True
    try:
        return not is_public(_ipv4(name) or name)
    except ValueError:
        return False


def _ipv4(name: str) -> str | None:
    """An IPv4 address in its usual spelling, of any that systems understand: `127.1`, `0x7f000001`."""
    try:
        return socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        return None


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system resolves it. Raises socket.gaierror."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Network:
    """Looks hosts up and says which addresses may be connected to; `tls` is for https."""

    def __init__(
        self,
        allow_private: bool,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup = look_up,
        is_allowed: Callable[[str], bool] = is_public,
        lookups_at_once: int = _LOOKUPS_AT_ONCE,
    ) -> None:
        """`tls` verifies certificates; by default against the system's authorities."""
        self.tls = tls or ssl.create_default_context()
        self._is_allowed: Callable[[str], bool] = (lambda _: True) if allow_private else is_allowed
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(lookups_at_once, thread_name_prefix="lookup")
        self._under_way: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where to connect to, best first. Raises socket.gaierror, PrivateAddress."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            found = await self._looked_up(host, port)
        else:
            found = [host]
        allowed = [address for address in found if self._is_allowed(address)]
        if not allowed:
            raise PrivateAddress
        return allowed

    async def _looked_up(self, host: str, port: int) -> list[str]:
        asked = self._under_way.get((host, port))
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = loop.run_in_executor(self._threads, self._lookup, host, port)
            self._under_way[host, port] = asked
            asked.add_done_callback(lambda done: self._answered(host, port, done))
        # Who gives up waiting must not take the answer from others, nor ask a second time meanwhile.
        return await asyncio.shield(asked)

    def _answered(self, host: str, port: int, done: "asyncio.Future[list[str]]") -> None:
        del self._under_way[host, port]
        if not done.cancelled():
            done.exception()  # nobody may be waiting any more

    def close(self) -> None:
        """Look nothing up any more; lookups under way are left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)
