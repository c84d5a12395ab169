"""Brings the trunks of the database to the edge: who may call, where calls leave, which passwords count."""

import asyncio
import hashlib
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from xiaohao.edge.rpc import Rpc, RpcError
from xiaohao.switch import metrics
from xiaohao.switch.carriers import Carriers, group_of, target_uri
from xiaohao.trunks.model import Trunk
from xiaohao.trunks.service import Trunks

_REALM: Final = "xiaohao"
#: what has Kamailio read a list again, and its file
_LISTS: Final = {"permissions.addressReload": "sources.txt", "dispatcher.reload": "targets.txt"}
#: where Kamailio keeps, for the next switch, what it has read
_READ: Final = "lists"
_PAUSE_S: Final = 5.0


class ListsWait(RpcError):
    """Kamailio goes on with the lists that it has, until its clock is where it was when it read them."""


def sources_file(trunks: list[Trunk]) -> str:
    """Kamailio's address list (module permissions): group, address, mask, any port."""
    lines = []
    for trunk in trunks:
        for source in trunk.spec.sources:
            # in one spelling: a line that Kamailio does not understand (a mask, say) costs the whole list
            network = ip_network(source, strict=False)
            lines.append(f"{group_of(trunk.id)} {network.network_address} {network.prefixlen} 0")
    return "\n".join(lines) + "\n"


def targets_file(trunks: list[Trunk]) -> str:
    """Kamailio's list of targets to probe (module dispatcher)."""
    uris = sorted({target_uri(target) for t in trunks if t.spec.probe for target in t.spec.targets})
    return "".join(f"1 {uri}\n" for uri in uris)


def digests(trunks: list[Trunk]) -> list[tuple[str, str, str]]:
    """Hash table, key and value of every password, callers' ones as HA1 (RFC 2617 section 3.2.2.2)."""
    found = []
    for trunk in trunks:
        if given := trunk.spec.digest_in:
            text = f"{given.username}:{_REALM}:{given.password}"
            ha1 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            found.append(("digest", f"user^{given.username}", f"{group_of(trunk.id)}^{ha1}"))
        if ours := trunk.spec.digest_out:
            value = f"{ours.username.encode().hex()}^{ours.password.encode().hex()}"
            found.append(("digestout", str(group_of(trunk.id)), value))
    return found


class TrunkTable:
    """Keeps `Carriers` and the edge as the database has the trunks."""

    def __init__(self, trunks: Trunks, carriers: Carriers, rpc: Rpc, folder: Path) -> None:
        self._trunks, self._carriers, self._rpc, self._folder = trunks, carriers, rpc, folder
        self._version: int | None = None
        self._pushed_version: int | None = None

    @property
    def callers_with_password(self) -> int:
        """How many trunks let callers in by digest."""
        return sum(1 for trunk in self._carriers.all if trunk.spec.digest_in)

    @property
    def is_pushed(self) -> bool:
        """Whether the edge uses what was read last."""
        return self._pushed_version == self._version

    async def load(self) -> None:
        """Read the trunks if they have changed. Raises DatabaseUnavailable."""
        version = await self._trunks.version()
        if version == self._version:
            return
        active = await self._trunks.active()
        self._carriers.replace(active)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "sources.txt").write_text(sources_file(active))
        (self._folder / "targets.txt").write_text(targets_file(active))
        self._version = version

    async def push(self) -> None:
        """Make the edge use what `load` read. Raises RpcError; ListsWait where a list is not in use yet."""
        version, self._pushed_version = self._version, None
        for table in ("digest", "digestout"):
            await self._rpc.call("htable.flush", table)
        for table, key, value in digests(self._carriers.all):
            await self._rpc.call("htable.sets", table, key, value)
        for command, name in _LISTS.items():
            await self._renew(command, (self._folder / name).read_bytes())
        await self.read_health()
        self._pushed_version = version

    async def push_changes(self) -> None:
        """`push`, which fails slowly where lists wait: that may take an hour, and each try is logged."""
        try:
            await self.push()
        except ListsWait:
            await asyncio.sleep(_PAUSE_S)
            raise

    async def _renew(self, command: str, text: bytes) -> None:
        """Have a list read again, unless the edge has just this one.

        Kamailio reads none that it believes to have read later than now. Where the clock was set back, a
        switch that begins anew must not wait for that.
        """
        mark = hashlib.sha256(text).hexdigest()
        if await self._has_read(command) == mark:
            return
        try:
            await self._rpc.call(command)
        except RpcError as error:
            if error.said.lower() != "ongoing reload":
                raise
            raise ListsWait(str(error), error.said) from error
        await self._rpc.call("htable.sets", _READ, command, mark)

    async def _has_read(self, command: str) -> str | None:
        try:
            found = await self._rpc.call("htable.get", _READ, command)
        except RpcError:
            return None  # none, so far
        return str(found["item"]["value"]) if found else None

    async def read_health(self) -> None:
        """Which targets answer OPTIONS now, as the edge sees it. Raises RpcError."""
        if not targets_file(self._carriers.all):
            return  # Kamailio takes an empty list for an error
        for uri, flags in _destinations(await self._rpc.call("dispatcher.list")):
            self.set_health(uri, up="I" not in flags)

    def set_health(self, uri: str, up: bool) -> None:
        """A target stopped or began to answer."""
        self._carriers.set_health(uri, up)
        metrics.TARGET_UP.labels(uri.removeprefix("sip:")).set(up)


def _destinations(listing: Any) -> list[tuple[str, str]]:
    """URI and flags of each destination in the answer to `dispatcher.list`: flags `IP` = inactive, probed."""
    found = []
    for record in (listing or {}).get("RECORDS", []):
        for target in record["SET"]["TARGETS"]:
            found.append((target["DEST"]["URI"], target["DEST"]["FLAGS"]))
    return found
