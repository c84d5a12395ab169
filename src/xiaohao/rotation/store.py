"""All SQL of a rotation: rows by the page, changes by the batch, and the marks that say how far it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    and_,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.fence import MASTER_KEY, NEXT_MASTER_KEY
from xiaohao.database.schema import binding_versions, bindings, legs, marks
from xiaohao.rotation.model import INDEX_BYTES, Secrets
from xiaohao.secrecy import PREFIX_BYTES

Place = tuple[Any, ...]
Facts = dict[str, Any]


async def key_marks(connection: AsyncConnection) -> dict[str, int]:
    """The ids of the key that the database is sealed with, and of the one that is to come."""
    query = select(marks).where(marks.c.name.in_((MASTER_KEY, NEXT_MASTER_KEY)))
    return {row.name: row.value for row in await connection.execute(query)}


async def columns(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Every (table, column) that the database really has."""

    def look(plain: Connection) -> list[tuple[str, str]]:
        inspector = inspect(plain)
        names = inspector.get_table_names()
        return [(name, str(column["name"])) for name in names for column in inspector.get_columns(name)]

    return await connection.run_sync(look)


async def begin(connection: AsyncConnection, old: int, new: int) -> None:
    """Say that another key is to come: from here on nobody else comes in."""
    await connection.execute(delete(marks).where(marks.c.name.in_((MASTER_KEY, NEXT_MASTER_KEY))))
    rows = [{"name": MASTER_KEY, "value": old}, {"name": NEXT_MASTER_KEY, "value": new}]
    await connection.execute(insert(marks), rows)


async def finish(connection: AsyncConnection, new: int) -> None:
    """Say that the new key is the database's."""
    await connection.execute(delete(marks).where(marks.c.name == NEXT_MASTER_KEY))
    await connection.execute(update(marks).where(marks.c.name == MASTER_KEY).values(value=new))


async def forget_what_was(connection: AsyncConnection) -> None:
    """Let SQLite overwrite what it deletes, so that nothing under the old key stays in free pages."""
    if connection.dialect.name == "sqlite":
        await connection.execute(text("PRAGMA secure_delete = ON"))


async def empty_the_log(connection: AsyncConnection) -> None:
    """Bring SQLite's log into the file and cut it off: it holds pages from before."""
    if connection.dialect.name == "sqlite":
        await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


async def count_old(connection: AsyncConnection, secrets: Secrets, prefix: bytes) -> int:
    """Rows that hold something that was not sealed with the new key."""
    query = select(func.count()).select_from(secrets.table).where(_is_old(secrets, prefix))
    return int((await connection.execute(query)).scalar_one())


async def page_old(
    connection: AsyncConnection, secrets: Secrets, prefix: bytes, after: Place | None, limit: int
) -> list[Facts]:
    """Such rows in the order of their keys: the keys and the secret columns."""
    names = [*secrets.keys, *(name for pair in secrets.columns for name in pair if name is not None)]
    columns = [secrets.table.c[name] for name in dict.fromkeys(names)]
    query = select(*columns).where(_is_old(secrets, prefix)).limit(limit)
    return await _page(connection, query, [secrets.table.c[name] for name in secrets.keys], after)


def _is_old(secrets: Secrets, prefix: bytes) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = []
    for sealed, index in secrets.columns:
        column = secrets.table.c[sealed]
        begins = func.substr(column, 1, PREFIX_BYTES, type_=LargeBinary)
        conditions.append(and_(column.is_not(None), begins != literal(prefix, LargeBinary)))
        if index is not None:
            conditions.append(and_(column.is_(None), func.length(secrets.table.c[index]) == INDEX_BYTES))
    return or_(*conditions)


async def change(
    connection: AsyncConnection, secrets: Secrets, rows: Sequence[tuple[Mapping[str, Any], dict[str, bytes]]]
) -> None:
    """Write the changes of rows; those that change the same columns go in one statement."""
    batches: dict[tuple[str, ...], list[Facts]] = {}
    for row, changes in rows:
        values = {f"new_{name}": value for name, value in changes.items()}
        values |= {f"its_{name}": row[name] for name in secrets.keys}
        batches.setdefault(tuple(sorted(changes)), []).append(values)
    for names, values_of_rows in batches.items():
        where = [secrets.table.c[name] == bindparam(f"its_{name}") for name in secrets.keys]
        statement = (
            update(secrets.table).where(*where).values({name: bindparam(f"new_{name}") for name in names})
        )
        await connection.execute(statement, values_of_rows)


async def count_people(connection: AsyncConnection) -> int:
    """Legs whose caller is a person."""
    query = select(func.count()).select_from(legs).where(_OF_A_PERSON)
    return int((await connection.execute(query)).scalar_one())


async def page_legs(connection: AsyncConnection, after: Place | None, limit: int) -> list[Facts]:
    """Legs of people in the order of their keys."""
    query = select(legs.c.caller_key, legs.c.dialled, legs.c.binding_id).where(_OF_A_PERSON).limit(limit)
    return await _page(connection, query, [legs.c.caller_key, legs.c.dialled], after)


async def people(connection: AsyncConnection, binding_ids: Sequence[str]) -> dict[str, set[bytes]]:
    """Whom each binding joins, or joined before it was changed; sealed."""
    found: dict[str, set[bytes]] = {binding_id: set() for binding_id in binding_ids}
    for table, key in ((bindings, bindings.c.id), (binding_versions, binding_versions.c.binding_id)):
        query = select(key, table.c.a_sealed, table.c.b_sealed).where(key.in_(binding_ids))
        for binding_id, *sealed in await connection.execute(query):
            found[binding_id].update(value for value in sealed if value is not None)
    return found


async def change_callers(
    connection: AsyncConnection, rows: Sequence[tuple[Mapping[str, Any], bytes]]
) -> None:
    """Give legs their callers' new indexes."""
    if not rows:
        return
    statement = (
        update(legs)
        .where(legs.c.caller_key == bindparam("old_key"), legs.c.dialled == bindparam("its_dialled"))
        .values(caller_key=bindparam("new_key"))
    )
    values = [
        {"old_key": leg["caller_key"], "its_dialled": leg["dialled"], "new_key": key} for leg, key in rows
    ]
    await connection.execute(statement, values)


_OF_A_PERSON = func.length(legs.c.caller_key) == INDEX_BYTES


async def _page(
    connection: AsyncConnection, query: Any, keys: Sequence[ColumnElement[Any]], after: Place | None
) -> list[Facts]:
    if after is not None:
        # the types say how the values go to the database
        beyond = tuple_(*(literal(value, key.type) for value, key in zip(after, keys, strict=True)))
        query = query.where(tuple_(*keys) > beyond)
    return [{**row} for row in (await connection.execute(query.order_by(*keys))).mappings()]
