"""How many questions a customer may have under way, so that those who hang leave room for the others.

Each may have so many as twice what nobody has (Choudhury and Hahne's dynamic thresholds, 1998): one customer
alone gets two thirds of all places. Who did not answer the last time has one question under way at the most,
and all of those together a quarter of the places, however many they are.
"""

from collections import Counter
from typing import Final

_SHARE: Final = 2
_PART_IN_DOUBT: Final = 4


class Places:
    """Questions under way, of all customers."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()
        self._total = self._in_doubt = 0

    @property
    def total(self) -> int:
        """Questions under way."""
        return self._total

    def take(self, customer_id: str, in_doubt: bool = False) -> bool:
        """Take a place, if this customer may have one more; then `give_back` with the same must follow."""
        if in_doubt and (self._taken[customer_id] or self._in_doubt * _PART_IN_DOUBT >= self._limit):
            return False
        if self._taken[customer_id] >= _SHARE * (self._limit - self._total):
            return False
        self._taken[customer_id] += 1
        self._total += 1
        self._in_doubt += in_doubt
        return True

    def give_back(self, customer_id: str, in_doubt: bool = False) -> None:
        """A question is over."""
        self._total -= 1
        self._in_doubt -= in_doubt
        self._taken[customer_id] -= 1
        if not self._taken[customer_id]:
            del self._taken[customer_id]
