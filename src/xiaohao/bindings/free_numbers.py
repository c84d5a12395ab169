"""The free numbers of one pool (of a city) in the order of their last use, as a group goes through them."""

from collections.abc import Callable, Iterator
from typing import Final

from xiaohao.bindings.allocation_store import NumberFacts

#: numbers of a pool that are read at once; when they do not do, four times as many
_WINDOW: Final = 8
_LONGEST_WINDOW: Final = 2048

#: before the first number of a pool in the order of last use
BEGINNING: Final = (-1, "")

#: (after which number, how many, locking them) → what is there, and where the next ones begin
Read = Callable[[tuple[int, str], int, bool], tuple[list[NumberFacts], tuple[int, str]]]


class FreeNumbers:
    """Those that were not looked at yet are read when they are asked for."""

    def __init__(self, appetite: int, locking: bool) -> None:
        """`appetite`: so many may be wanted. `locking`: first those that nobody else is just taking."""
        self._fresh: list[NumberFacts] = []
        self._used: dict[str, NumberFacts] = {}
        self._after = BEGINNING
        self._locking = locking
        self._at_end = False
        # What is locked and not needed stands in others' way.
        self._size = min(appetite if locking else max(_WINDOW, appetite), _LONGEST_WINDOW)

    def candidates(self, read: Read) -> Iterator[NumberFacts]:
        """One after the other; those that are lent are passed over."""
        place = 0
        while True:
            while place < len(self._fresh):
                facts = self._fresh[place]
                if facts.used or facts.lent:
                    del self._fresh[place]
                    self._used[facts.number] = facts
                else:
                    place += 1
                    yield facts
            if self._at_end:
                break
            self._read(read)
        yield from sorted(self._used.values(), key=lambda facts: facts.used)

    def _read(self, read: Read) -> None:
        found, self._after = read(self._after, self._size, self._locking)
        known = {facts.number for facts in self._fresh} | self._used.keys()
        self._fresh += [facts for facts in found if facts.number not in known]
        self._size = min(self._size * 4, _LONGEST_WINDOW)
        if self._after == BEGINNING:
            # Behind what nobody else is just taking comes what others take: they may not need it.
            self._at_end = not self._locking
            self._locking = False
