"""What can be done with trunks. The switches and the edge read them here, too, and watch `version`."""

from collections.abc import Collection
from enum import StrEnum

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict, not_found
from xiaohao.ids import new_id
from xiaohao.secrecy import Vault
from xiaohao.trunks import store
from xiaohao.trunks.model import SIX, WAYS, Digest, Trunk, TrunkSpec, faults, open_doors, shared_entrance


class TrunkState(StrEnum):
    """Whether a trunk takes part in calls."""

    ACTIVE = "active"
    DISABLED = "disabled"


class Trunks:
    """The trunks of the platform; only the operator has to do with them."""

    def __init__(self, database: Database, vault: Vault, ways: Collection[str] = WAYS) -> None:
        """`ways`: those of the edge, which reaches nobody without one."""
        self._database = database
        self._vault = vault
        self._ways = ways

    async def create(self, name: str, spec: TrunkSpec, state: TrunkState = TrunkState.ACTIVE) -> Trunk:
        """Add a trunk. Raises Refusal: `validation_failed`, `trunk_name_taken`, `trunk_entrance_taken`."""
        self._check(spec, state)
        now = now_us()
        trunk = Trunk(id=new_id("trk"), name=name, state=state.value, spec=spec)
        row = {"id": trunk.id, "created_at": now, **self._columns(trunk, now)}
        try:
            async with self._database.begin() as connection:
                await store.begin_change(connection)
                await self._check_entrances(connection, trunk)
                await store.add(connection, row)
        except IntegrityError:
            raise _name_taken(name) from None
        return trunk

    async def get(self, trunk_id: str) -> Trunk:
        """One trunk. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.find(connection, trunk_id)
        if row is None:
            raise not_found("trunk")
        return self._trunk(row)

    async def page(self, after: str, limit: int) -> list[Trunk]:
        """At most `limit` trunks whose names come after `after`, in the order of their names."""
        async with self._database.read() as connection:
            return [self._trunk(row) for row in await store.page(connection, after, limit)]

    async def active(self) -> list[Trunk]:
        """The trunks that take part in calls."""
        async with self._database.read() as connection:
            rows = await store.everything(connection)
        return [self._trunk(row) for row in rows if row["state"] == TrunkState.ACTIVE]

    async def version(self) -> int:
        """A number that grows with every change of any trunk."""
        async with self._database.read() as connection:
            return await store.mark(connection)

    async def replace(self, trunk_id: str, name: str, spec: TrunkSpec, state: TrunkState) -> Trunk:
        """Put a new description in the place of the old one.

        A digest whose password is empty keeps the password of the same user name, because passwords are
        never shown. Raises Refusal: `not_found`, `validation_failed`, `trunk_name_taken`,
        `trunk_entrance_taken`.
        """
        try:
            async with self._database.begin() as connection:
                await store.begin_change(connection)
                row = await store.find(connection, trunk_id)
                if row is None:
                    raise not_found("trunk")
                spec = _with_passwords_of(self._trunk(row).spec, spec)
                self._check(spec, state)
                trunk = Trunk(id=trunk_id, name=name, state=state.value, spec=spec)
                await self._check_entrances(connection, trunk)
                await store.change(connection, trunk_id, self._columns(trunk, now_us()))
        except IntegrityError:
            raise _name_taken(name) from None
        return trunk

    async def delete(self, trunk_id: str) -> None:
        """Remove a trunk that no number belongs to. Raises Refusal: `not_found`, `trunk_in_use`."""
        async with self._database.begin() as connection:
            await store.begin_change(connection)
            if await store.remove(connection, trunk_id):
                return
            known = await store.find(connection, trunk_id)
        if known is None:
            raise not_found("trunk")
        raise conflict(
            "trunk_in_use",
            "The trunk is in use",
            "Numbers belong to this trunk: give them to another one first, or disable the trunk.",
        )

    async def _check_entrances(self, connection: AsyncConnection, trunk: Trunk) -> None:
        """A caller must come in by one trunk only, among those that take part in calls."""
        if trunk.state != TrunkState.ACTIVE:
            return
        for row in await store.everything(connection):
            other = self._trunk(row)
            if other.id == trunk.id or other.state != TrunkState.ACTIVE:
                continue
            if shared := shared_entrance(trunk.spec, other.spec):
                raise conflict(
                    "trunk_entrance_taken",
                    "Another trunk lets the same callers in",
                    f"Callers come in by {shared} over the trunk {other.name!r} already.",
                    trunk_id=other.id,
                )

    def _check(self, spec: TrunkSpec, state: TrunkState) -> None:
        found = faults(spec)
        if state == TrunkState.ACTIVE:  # else it could not be disabled any more
            found += open_doors(spec)
            wanted = {target.way(self._ways) for target in spec.targets}
            found += [
                f"targets: the edge does not listen on {_in_words(way)}, see edge.listen in the configuration"
                for way in sorted(wanted.difference(self._ways))
            ]
        for name in ("digest_in", "digest_out"):
            digest: Digest | None = getattr(spec, name)
            if digest and not (digest.username and digest.password):
                found.append(f"{name}: a digest needs a user name and a password")
        if not found:
            return
        # A fault reads "field: what is wrong", or is about the whole.
        split = [(head, tail) if tail else ("", head) for head, _, tail in (f.partition(": ") for f in found)]
        raise Refusal(
            "validation_failed",
            "The request is not valid",
            "The trunk's description cannot be used.",
            422,
            {"errors": [{"field": f"spec.{field}".rstrip("."), "detail": detail} for field, detail in split]},
        )

    def _columns(self, trunk: Trunk, now: int) -> dict[str, object]:
        sealed = self._vault.seal(msgspec.json.encode(trunk.spec).decode())
        return {"name": trunk.name, "state": trunk.state, "spec_sealed": sealed, "updated_at": now}

    def _trunk(self, row: RowMapping) -> Trunk:
        spec = msgspec.json.decode(self._vault.open(row["spec_sealed"]), type=TrunkSpec)
        return Trunk(id=row["id"], name=row["name"], state=row["state"], spec=spec)


def _in_words(way: str) -> str:
    return f"{way[:-1]} over IPv6" if way.endswith(SIX) else way


def _with_passwords_of(old: TrunkSpec, new: TrunkSpec) -> TrunkSpec:
    kept = {}
    for name in ("digest_in", "digest_out"):
        before: Digest | None = getattr(old, name)
        after: Digest | None = getattr(new, name)
        if before and after and not after.password and after.username == before.username:
            kept[name] = before
    return msgspec.structs.replace(new, **kept)


def _name_taken(name: str) -> Refusal:
    return conflict("trunk_name_taken", "The name is taken", f"There is a trunk named {name!r} already.")


async def names_of_trunks(connection: AsyncConnection) -> dict[str, str]:
    """The names of all trunks, by their ids, for other rooms."""
    return await store.names(connection)
