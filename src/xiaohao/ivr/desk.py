"""What can be done with graphs: make, change, delete, try and choose them; see `prompts/desk.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict, not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.ivr import store, wire
from xiaohao.ivr.builtin import BUILT_IN
from xiaohao.ivr.model import Graph, Occasion
from xiaohao.ivr.rules import Fault, check
from xiaohao.pools.service import Pools
from xiaohao.prompts.desk import PromptDesk
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal
from xiaohao.tenants.service import Tenants


@dataclass(frozen=True, slots=True)
class KeptGraph:
    """A graph as it is kept; a built-in one has its name for an id, and no times."""

    id: str
    customer_id: str | None
    name: str
    graph: Graph
    created_by: str | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class ChosenGraph:
    """What somebody chose. `pool_id` and `number` None: wherever nothing else is said."""

    occasion: Occasion
    pool_id: str | None
    number: str | None
    graph_id: str
    updated_at: int


class GraphDesk:
    """The graphs of the platform. `clock` gives microseconds since the epoch."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        audit: Audit,
        prompts: PromptDesk,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._database, self._vault, self._audit, self._prompts = database, vault, audit, prompts
        self._pools, self._tenants = Pools(database, vault, clock), Tenants(database, vault, clock)
        self._clock = clock

    async def faults(self, who: Principal, document: Any) -> list[Fault]:
        """What is wrong with a document, if anything."""
        found = wire.read(document)
        if isinstance(found, Fault):
            return [found]
        return check(found, await self._prompts.names(who.customer_id))

    async def create(self, who: Principal, customer_id: str | None, name: str, document: Any) -> KeptGraph:
        """A new graph of a customer, or (None) of the operator, for all.

        Raises Refusal: `not_found`, `graph_not_valid`, `graph_name_taken`.
        """
        owner = await self._tenants.meant(who, customer_id)
        graph = await self._checked(owner, document)
        now = self._clock()
        row = {
            "id": new_id("gra"),
            "owner": owner,
            "name": name,
            "document_sealed": self._sealed(graph),
            "created_by": who.key_id,
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.begin() as connection:
                revision = await store.begin_change(connection)
                await store.add(connection, {**row, "revision": revision})
                await self._note(connection, who, "created", name)
        except IntegrityError:
            detail = f"There is a graph {name!r} already."
            raise conflict("graph_name_taken", "The name is taken", detail) from None
        return self._kept(row)

    async def replace(self, who: Principal, graph_id: str, document: Any) -> KeptGraph:
        """Another document in the place of the old one. Raises Refusal: `not_found`, `graph_not_valid`."""
        kept = await self.get(who, graph_id, own=True)
        graph = await self._checked(kept.customer_id or "", document)
        async with self._database.begin() as connection:
            revision = await store.begin_change(connection)
            row = _own(await store.find(connection, graph_id), who)
            values = {
                "document_sealed": self._sealed(graph),
                "revision": revision,
                "updated_at": self._clock(),
            }
            await store.change(connection, graph_id, values)
            await self._note(connection, who, "replaced", row["name"])
            return self._kept({**row, **values})

    async def delete(self, who: Principal, graph_id: str) -> None:
        """Delete a graph that nobody has chosen. Raises Refusal: `not_found`, `graph_in_use`."""
        async with self._database.begin() as connection:
            revision = await store.begin_change(connection)
            row = _own(await store.find(connection, graph_id), who)
            if await store.is_chosen(connection, graph_id):
                raise conflict(
                    "graph_in_use", "The graph is in use", "Choose another one in its place first."
                )
            values = {"name": graph_id, "document_sealed": None, "revision": revision}
            await store.change(connection, graph_id, values | {"updated_at": self._clock()})
            await self._note(connection, who, "deleted", row["name"])

    async def get(self, who: Principal, graph_id: str, *, own: bool = False) -> KeptGraph:
        """A graph: one's own or (unless `own`) the operator's or a built-in one.

        Raises Refusal: `not_found`.
        """
        async with self._database.read() as connection:
            row = await store.find(connection, graph_id)
        if own:
            return self._kept(_own(row, who))
        if row is None and graph_id in BUILT_IN:
            return KeptGraph(graph_id, None, graph_id, BUILT_IN[graph_id], None, 0, 0)
        return self._kept(_visible(row, who))

    async def page(self, who: Principal, after: str, limit: int) -> list[KeptGraph]:
        """At most `limit` graphs: a customer's own and the operator's; all of them for the operator."""
        owners = None if who.is_operator else (who.customer_id or "", "")
        async with self._database.read() as connection:
            return [self._kept(row) for row in await store.page(connection, owners, after, limit)]

    async def simulate(self, who: Principal, graph_id: str, steps: Sequence[wire.Step]) -> dict[str, Any]:
        """What a dialogue does when all this happens. Raises Refusal: `not_found`, `validation_failed`."""
        kept = await self.get(who, graph_id)
        found = wire.trial(kept.graph, steps)
        if isinstance(found, int):
            raise validation_failed(f"events.{found}", "is no event that can happen in a dialogue")
        return found

    async def choose(
        self,
        who: Principal,
        customer_id: str | None,
        occasion: Occasion,
        graph_id: str | None,
        *,
        pool_id: str | None = None,
        number: str | None = None,
    ) -> None:
        """Lead callers through a graph (None: no longer) on an occasion.

        Everywhere, or where a number of a pool or this number is dialled. Raises Refusal: `not_found`,
        `validation_failed`.
        """
        owner = await self._tenants.meant(who, customer_id)
        if pool_id is not None and number is not None:
            raise validation_failed("number", "give either a pool or a number")
        if pool_id is not None:
            await self._pools.get(pool_id, owner or None)
        async with self._database.begin() as connection:
            revision = await store.begin_change(connection)
            if number is not None and await store.owner_of_number(connection, number) != (owner or None):
                raise not_found("number")
            if graph_id is not None and graph_id not in BUILT_IN:
                row = await store.find(connection, graph_id)
                if row is None or row["owner"] not in (owner, ""):
                    raise not_found("graph")
            choice = {
                "owner": owner,
                "occasion": occasion.value,
                "pool_id": pool_id or "",
                "number": number or "",
                "graph": graph_id,
                "revision": revision,
                "updated_at": self._clock(),
            }
            await store.choose(connection, choice)
            where = {"occasion": occasion.value, "pool_id": pool_id, "number": number}
            await self._note(connection, who, "chosen", graph_id, **where)

    async def choices(self, who: Principal, customer_id: str | None) -> list[ChosenGraph]:
        """What is chosen for a customer, or (None) for all. Raises Refusal: `not_found`."""
        owner = await self._tenants.meant(who, customer_id)
        async with self._database.read() as connection:
            rows = await store.choices(connection, owner)
        return [
            ChosenGraph(
                Occasion(row["occasion"]),
                row["pool_id"] or None,
                row["number"] or None,
                row["graph"],
                row["updated_at"],
            )
            for row in rows
        ]

    async def _checked(self, owner: str, document: Any) -> Graph:
        found = wire.read(document)
        if isinstance(found, Graph):
            faults = check(found, await self._prompts.names(owner or None))
            if not faults:
                return found
        else:
            faults = [found]
        raise Refusal(
            "graph_not_valid",
            "The graph cannot be used",
            "The errors name what is wrong, by node and field.",
            422,
            {"errors": [{"field": place_of(one), "detail": one.detail, "code": one.code} for one in faults]},
        )

    async def _note(
        self, connection: AsyncConnection, who: Principal, did: str, graph: str | None, **more: Any
    ) -> None:
        details = {"did": did, "graph": graph, **more}
        await self._audit.record(connection, who, Action.GRAPH, details=details)

    def _sealed(self, graph: Graph) -> bytes:
        return self._vault.seal(msgspec.json.encode(graph).decode())

    def _kept(self, row: RowMapping | dict[str, Any]) -> KeptGraph:
        graph = msgspec.json.decode(self._vault.open(row["document_sealed"]), type=Graph)
        return KeptGraph(
            row["id"],
            row["owner"] or None,
            row["name"],
            graph,
            row["created_by"],
            row["created_at"],
            row["updated_at"],
        )


def place_of(fault: Fault) -> str:
    """Where a fault is, as a path in the document."""
    node = None if fault.node is None else f"nodes.{fault.node}"
    return ".".join(part for part in (node, fault.field) if part) or "graph"


def _visible(row: RowMapping | None, who: Principal) -> RowMapping:
    if row is None or not (who.is_operator or row["owner"] in (who.customer_id, "")):
        raise not_found("graph")
    return row


def _own(row: RowMapping | None, who: Principal) -> RowMapping:
    if row is None or not (who.is_operator or row["owner"] == who.customer_id):
        raise not_found("graph")
    return row
