"""All SQL about verifications."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.schema import verifications


async def add(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert verifications. Raises IntegrityError where a number or person has one already."""
    await connection.execute(insert(verifications), list(rows))
