"""What the switch keeps in memory of the database is read anew when it has changed: one query watches all."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from xiaohao.switch.chores import put_up_with

Load = Callable[[], Awaitable[None]]


class Following:
    """Reads again what a mark (database/marks.py) has moved for; one that takes long holds up no other."""

    def __init__(self, loads: Mapping[str, Load]) -> None:
        """`loads`: by mark, what is to be done when it has moved."""
        self._loads = loads
        self._seen: dict[str, int] = {}
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._marks: Mapping[str, int] = {}

    def look(self, marks: Mapping[str, int]) -> None:
        """The marks as they are now."""
        self._marks = marks
        for name, load in self._loads.items():
            if name not in self._at_work and not self.is_current(name):
                work = asyncio.get_running_loop().create_task(self._read(name, load, marks.get(name, 0)))
                self._at_work[name] = work

    def again(self, name: str) -> None:
        """What was read is not in force: the next look has it read once more."""
        self._seen.pop(name, None)

    def is_current(self, name: str) -> bool:
        """Whether everything that the last look saw is in force."""
        return self._seen.get(name) == self._marks.get(name, 0)

    async def _read(self, name: str, load: Load, value: int) -> None:
        try:
            if await put_up_with(load):
                self._seen[name] = value
        finally:
            del self._at_work[name]
