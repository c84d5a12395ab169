"""The circuit breaker of one URL: who does not answer is left alone for a while.

| state | a question comes | an answer comes | a question fails | time passes |
| --- | --- | --- | --- | --- |
| closed | it is asked | the count of failures is 0 | the 5th in a row: open, for 2 s | – |
| open | it is not asked | closed | – | the time is up: half open |
| half open | one is asked as a trial, no other | closed | open, for twice as long, 30 s at most | – |

An answer that comes late, to a question from before, counts like any other. A trial that ends without a
verdict (another URL was faster) leaves the place to the next one.
"""

from enum import StrEnum
from typing import Final

FAILURES: Final = 5
OPEN_S: Final = 2.0
LONGEST_OPEN_S: Final = 30.0


class State(StrEnum):
    """Whether questions go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Moments are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until: float | None = None
        self._open_s = OPEN_S
        self._on_trial = False

    def state(self, now: float) -> State:
        """The state at this moment."""
        if self._open_until is None:
            return State.CLOSED
        return State.OPEN if now < self._open_until else State.HALF_OPEN

    @property
    def in_doubt(self) -> bool:
        """Whether the last question that was told of failed."""
        return self._failures > 0

    def admit(self, now: float) -> bool:
        """Whether a question that comes now is asked; then `answered`, `failed` or `let_go` must follow."""
        state = self.state(now)
        if state is State.HALF_OPEN and not self._on_trial:
            self._on_trial = True
            return True
        return state is State.CLOSED

    def answered(self) -> None:
        """A question was answered."""
        self._failures, self._open_until, self._open_s, self._on_trial = 0, None, OPEN_S, False

    def failed(self, now: float) -> None:
        """A question was not answered, or nobody was there to take it."""
        match self.state(now):
            case State.CLOSED:
                self._failures += 1
                if self._failures >= FAILURES:
                    self._open_until, self._on_trial = now + self._open_s, False
            case State.HALF_OPEN:
                self._open_s = min(self._open_s * 2, LONGEST_OPEN_S)
                self._open_until, self._on_trial = now + self._open_s, False
            case State.OPEN:
                pass

    def let_go(self, now: float) -> None:
        """A question ended without a verdict on the URL."""
        if self.state(now) is State.HALF_OPEN:
            self._on_trial = False
