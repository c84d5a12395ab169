"""All SQL about graphs."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.marks import move_mark, value_of_mark
from xiaohao.database.prompt_tables import graph_choices, graphs
from xiaohao.database.schema import numbers

#: The row of `marks` that moves on with every change of any graph.
MARK: Final = "graphs"

_CHOOSE: Final = text(
    "INSERT INTO graph_choices (owner, occasion, pool_id, number, graph, revision, updated_at)"
    " VALUES (:owner, :occasion, :pool_id, :number, :graph, :revision, :updated_at)"
    " ON CONFLICT (owner, occasion, pool_id, number) DO UPDATE"
    " SET graph = excluded.graph, revision = excluded.revision, updated_at = excluded.updated_at"
)


async def begin_change(connection: AsyncConnection) -> int:
    """Move the mark on and give its value; nobody else changes any graph until the transaction's end."""
    return await move_mark(connection, MARK)


async def mark(connection: AsyncConnection) -> int:
    """The value of the mark; 0 before the first graph."""
    return await value_of_mark(connection, MARK)


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a graph. Raises IntegrityError where the name is taken."""
    await connection.execute(insert(graphs).values(**row))


async def change(connection: AsyncConnection, graph_id: str, values: dict[str, Any]) -> None:
    """Overwrite columns of a graph."""
    await connection.execute(update(graphs).where(graphs.c.id == graph_id).values(**values))


async def find(connection: AsyncConnection, graph_id: str) -> RowMapping | None:
    """A graph that was not deleted."""
    query = select(graphs).where(graphs.c.id == graph_id, graphs.c.document_sealed.is_not(None))
    return (await connection.execute(query)).mappings().one_or_none()


async def page(
    connection: AsyncConnection, owners: Sequence[str] | None, after: str, limit: int
) -> list[RowMapping]:
    """Graphs in the order of their ids: of these owners, or (None) of all."""
    query = select(graphs).where(graphs.c.id > after, graphs.c.document_sealed.is_not(None))
    if owners is not None:
        query = query.where(graphs.c.owner.in_(owners))
    return list((await connection.execute(query.order_by(graphs.c.id).limit(limit))).mappings())


async def choose(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Say which graph (None: none) a caller is led through."""
    await connection.execute(_CHOOSE, row)


async def choices(connection: AsyncConnection, owner: str) -> list[RowMapping]:
    """What somebody chose."""
    query = select(graph_choices).where(graph_choices.c.owner == owner, graph_choices.c.graph.is_not(None))
    order = (graph_choices.c.occasion, graph_choices.c.pool_id, graph_choices.c.number)
    return list((await connection.execute(query.order_by(*order))).mappings())


async def is_chosen(connection: AsyncConnection, graph_id: str) -> bool:
    """Whether anybody has chosen a graph."""
    query = select(graph_choices.c.graph).where(graph_choices.c.graph == graph_id).limit(1)
    return (await connection.execute(query)).first() is not None


async def owner_of_number(connection: AsyncConnection, number: str) -> str | None:
    """Whose a number is: a customer's id; None: nobody's, or there is no such number."""
    query = select(numbers.c.customer_id).where(numbers.c.number == number)
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def changed_graphs(connection: AsyncConnection, since: int) -> list[RowMapping]:
    """Graphs that were changed after a value of the mark, deleted ones too."""
    return list((await connection.execute(select(graphs).where(graphs.c.revision > since))).mappings())


async def changed_choices(connection: AsyncConnection, since: int) -> list[RowMapping]:
    """Choices that were changed after a value of the mark, those taken back too."""
    query = select(graph_choices).where(graph_choices.c.revision > since)
    return list((await connection.execute(query)).mappings())
