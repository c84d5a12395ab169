"""The terms of imports: what became of each row of a file, and of all of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Take(StrEnum):
    """Which rows of a file are taken where some cannot be."""

    #: all of them or none
    ALL = "all"
    #: those that can be
    VALID = "valid"


class Outcome(StrEnum):
    """What became of a row."""

    ADDED = "added"
    #: it was there already just so
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RowReport:
    """What became of a row. `line` 1 is the header; `number` only where the row was good."""

    line: int
    outcome: Outcome
    number: str | None = None
    field: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Report:
    """What became of a file. `written`: whether the inventory was changed."""

    rows: int = 0
    added: int = 0
    unchanged: int = 0
    refused: int = 0
    written: bool = False
    seconds: float = 0.0
    #: what is wrong, in the order of the file; the first so many
    faults: list[RowReport] = field(default_factory=list)


#: is told of every row, in the order of the file
Listener = Callable[[RowReport], None]
#: is told how many rows have been read, and how many written
Progress = Callable[[int, int], None]
