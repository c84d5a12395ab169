"""The rows of `marks` that move on with every change of a thing: who keeps it in memory sees that by them.

Moving a mark locks its row: nobody else changes the same thing until the transaction's end.
"""

from typing import Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import marks

_MOVE: Final = text(
    "INSERT INTO marks (name, value) VALUES (:name, 1)"
    " ON CONFLICT (name) DO UPDATE SET value = marks.value + 1 RETURNING value"
)


async def move_mark(connection: AsyncConnection, name: str) -> int:
    """Move a mark on and give its value."""
    return int((await connection.execute(_MOVE, {"name": name})).scalar_one())


async def value_of_mark(connection: AsyncConnection, name: str) -> int:
    """How far a mark has come; 0 before the first change."""
    found = await connection.execute(select(marks.c.value).where(marks.c.name == name))
    return found.scalar_one_or_none() or 0
