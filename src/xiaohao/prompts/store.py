"""All SQL about prompts."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.database.marks import move_mark, value_of_mark
from xiaohao.database.prompt_tables import prompt_choices, prompt_versions, prompts

#: The row of `marks` that moves on with every change of any prompt.
MARK: Final = "prompts"

_CHOOSE: Final = text(
    "INSERT INTO prompt_choices (owner, pool_id, situation, prompt_id, revision, updated_at)"
    " VALUES (:owner, :pool_id, :situation, :prompt_id, :revision, :updated_at)"
    " ON CONFLICT (owner, pool_id, situation) DO UPDATE"
    " SET prompt_id = excluded.prompt_id, revision = excluded.revision, updated_at = excluded.updated_at"
)
#: a version without its sound
_FACTS: Final = [column for column in prompt_versions.c if column.name != "audio"]


def _present() -> Any:
    # `created_at` of the prompt and of its version have one name: the version's is told apart
    version = [
        column.label("made_at") if column.name == "created_at" else column
        for column in _FACTS
        if column.name not in ("prompt_id", "version")
    ]
    return select(prompts, *version).join(
        prompt_versions,
        (prompt_versions.c.prompt_id == prompts.c.id) & (prompt_versions.c.version == prompts.c.version),
    )


async def begin_change(connection: AsyncConnection) -> int:
    """Move the mark on and give its value; nobody else changes any prompt until the transaction's end."""
    return await move_mark(connection, MARK)


async def mark(connection: AsyncConnection) -> int:
    """The value of the mark; 0 before the first prompt."""
    return await value_of_mark(connection, MARK)


async def add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a prompt. Raises IntegrityError where the name is taken."""
    await connection.execute(insert(prompts).values(**row))


async def change(connection: AsyncConnection, prompt_id: str, values: dict[str, Any]) -> None:
    """Overwrite columns of a prompt. Raises IntegrityError where the name is taken."""
    await connection.execute(update(prompts).where(prompts.c.id == prompt_id).values(**values))


async def add_version(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Insert a version."""
    await connection.execute(insert(prompt_versions).values(**row))


async def forget_versions(connection: AsyncConnection, prompt_id: str, before: int | None = None) -> None:
    """Delete the versions of a prompt, those before a version or (None) all of them."""
    query = delete(prompt_versions).where(prompt_versions.c.prompt_id == prompt_id)
    if before is not None:
        query = query.where(prompt_versions.c.version < before)
    await connection.execute(query)


async def find(connection: AsyncConnection, prompt_id: str) -> RowMapping | None:
    """A prompt with the facts of its present version."""
    found = await connection.execute(_present().where(prompts.c.id == prompt_id))
    row: RowMapping | None = found.mappings().one_or_none()
    return row


async def page(
    connection: AsyncConnection, owners: Sequence[str] | None, after: str, limit: int
) -> list[RowMapping]:
    """Prompts in the order of their ids: of these owners, or (None) of all."""
    query = _present().where(prompts.c.id > after).order_by(prompts.c.id).limit(limit)
    if owners is not None:
        query = query.where(prompts.c.owner.in_(owners))
    return list((await connection.execute(query)).mappings())


async def names(connection: AsyncConnection, owners: Sequence[str]) -> set[str]:
    """The names of the prompts of these owners."""
    query = select(prompts.c.name).where(prompts.c.owner.in_(owners), prompts.c.version > 0)
    return set((await connection.execute(query)).scalars())


async def playable(connection: AsyncConnection, customer_id: str) -> set[str]:
    """The names and ids of a customer's prompts, and of those that the operator shares."""
    query = select(prompts.c.name, prompts.c.id).where(
        prompts.c.owner.in_([customer_id, ""]), prompts.c.version > 0
    )
    return {text for row in await connection.execute(query) for text in row}


async def versions(connection: AsyncConnection, prompt_id: str) -> list[RowMapping]:
    """The versions of a prompt, the newest first, without their sound."""
    query = select(*_FACTS).where(prompt_versions.c.prompt_id == prompt_id)
    found = await connection.execute(query.order_by(prompt_versions.c.version.desc()))
    return list(found.mappings())


async def audio(connection: AsyncConnection, prompt_id: str, version: int) -> bytes | None:
    """The WAV file of a version."""
    query = select(prompt_versions.c.audio).where(
        prompt_versions.c.prompt_id == prompt_id, prompt_versions.c.version == version
    )
    found: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    return None if found is None else bytes(found)


async def choose(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Say which prompt (None: none) is played in a situation."""
    await connection.execute(_CHOOSE, row)


async def choices(connection: AsyncConnection, owners: Sequence[str]) -> list[RowMapping]:
    """What these owners chose."""
    query = select(prompt_choices).where(
        prompt_choices.c.owner.in_(owners), prompt_choices.c.prompt_id.is_not(None)
    )
    order = (prompt_choices.c.owner, prompt_choices.c.pool_id, prompt_choices.c.situation)
    return list((await connection.execute(query.order_by(*order))).mappings())


async def chosen_for(connection: AsyncConnection, prompt_id: str) -> list[RowMapping]:
    """Where a prompt is chosen."""
    query = select(prompt_choices).where(prompt_choices.c.prompt_id == prompt_id)
    return list((await connection.execute(query)).mappings())


async def changed_prompts(connection: AsyncConnection, since: int) -> list[RowMapping]:
    """Prompts changed after a value of the mark, deleted ones too, with the facts of their present sound."""
    version = (prompt_versions.c.sha256, prompt_versions.c.duration_ms, prompt_versions.c.languages)
    query = (
        select(prompts, *version)
        .outerjoin(
            prompt_versions,
            (prompt_versions.c.prompt_id == prompts.c.id) & (prompt_versions.c.version == prompts.c.version),
        )
        .where(prompts.c.revision > since)
    )
    return list((await connection.execute(query)).mappings())


async def changed_choices(connection: AsyncConnection, since: int) -> list[RowMapping]:
    """Choices that were changed after a value of the mark, those taken back too."""
    query = select(prompt_choices).where(prompt_choices.c.revision > since)
    return list((await connection.execute(query)).mappings())
