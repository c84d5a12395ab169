"""What the switch keeps in memory is read again when, and only when, it has changed."""

import asyncio

from xiaohao.calls import store as calls
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.database.marks import move_mark
from xiaohao.switch.following import Following
from xiaohao.switch.lookup import COMMANDS, lookup_for


class Things:
    """What is loaded, as often as it is; `away`: the database does not answer."""

    def __init__(self) -> None:
        self.loads = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def load(self) -> None:
        await self.open.wait()
        if self.away:
            raise DatabaseUnavailable("away")
        self.loads += 1


async def until(following: Following, name: str) -> None:
    for _ in range(100):
        if following.is_current(name):
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{name} is not in force")


async def test_only_what_has_changed_is_read_and_nobody_waits_for_another() -> None:
    slow, quick = Things(), Things()
    following = Following({"slow": slow.load, "quick": quick.load})
    slow.open.clear()
    following.look({"other": 7})
    await until(following, "quick")
    assert not following.is_current("slow")
    following.look({"quick": 1, "slow": 3, "other": 8})
    await until(following, "quick")
    assert (slow.loads, quick.loads) == (0, 2)
    slow.open.set()
    # what it read may be older than the last mark: it is read once more
    for _ in range(10):
        following.look({"quick": 1, "slow": 3})
        await asyncio.sleep(0)
    await until(following, "slow")
    for _ in range(5):
        following.look({"quick": 1, "slow": 3})
        await asyncio.sleep(0)
    assert (slow.loads, quick.loads) == (2, 2)


async def test_what_could_not_be_read_is_tried_at_the_next_look() -> None:
    things = Things()
    following = Following({"things": things.load})
    things.away = True
    following.look({"things": 1})
    await asyncio.sleep(0.01)
    assert not following.is_current("things")
    things.away = False
    following.look({"things": 1})
    await until(following, "things")
    assert things.loads == 1


async def test_one_query_tells_of_marks_and_commands(database: Database) -> None:
    lookup = lookup_for(database.url)
    await lookup.open()
    try:
        before = await lookup.news()
        assert before[COMMANDS] == 0
        async with database.begin() as connection:
            await move_mark(connection, "something")
            await move_mark(connection, "something")
            await calls.put_command(connection, "a call", "hang_up", 1)
        assert await lookup.news() == {**before, "something": 2, COMMANDS: 1}
    finally:
        await lookup.close()
