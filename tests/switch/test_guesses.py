"""Guesses of callers are counted in the database: for all switches together, and across restarts."""

from sqlalchemy import select

from tests.world import World, person
from xiaohao.announcer.guesses import Guesses
from xiaohao.database.engine import Database
from xiaohao.database.policy_tables import policy_hits


async def test_guesses_are_counted_by_caller_and_by_number(world: World, database_url: str) -> None:
    clock, other_database = world.clock, Database(database_url)
    one, other = (Guesses(place, world.vault, clock) for place in (world.database, other_database))

    async def guess(where: Guesses, caller: str | None, number: str) -> bool:
        clock.now += 1
        return await where.allow("call", caller, number)

    both = [one, other] * 4
    assert [await guess(where, person(1), "x") for where in both] == [True] * 6 + [False] * 2
    assert await guess(one, person(2), "x")
    assert await guess(one, person(1), "y")
    # those who hide their numbers are one caller
    assert [await guess(where, None, "x") for where in both] == [True] * 6 + [False] * 2
    clock.forward(3601)
    assert await guess(other, person(1), "x")
    # whoever has none left takes none from the others
    many = [await guess(one, person(caller), "z") for caller in range(10) for _ in range(8)]
    assert many == ([True] * 6 + [False] * 2) * 10
    assert not await guess(other, person(50), "z")
    async with world.database.read() as connection:
        subjects = (await connection.execute(select(policy_hits.c.subject))).scalars().all()
    assert len(subjects) == 2 * (6 + 1 + 1 + 6 + 1 + 60)
    assert {len(subject) for subject in subjects} == {16}
    await other_database.close()
