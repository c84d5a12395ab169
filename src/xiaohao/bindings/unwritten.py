"""What a group of reservations has decided and not written yet."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xiaohao.bindings.writing_store import BindingRow, WritingStatements
from xiaohao.database.direct import Cursor, Row


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Rows for the database; `now` in microseconds since the epoch."""

    now: int
    rows: Sequence[BindingRow] = field(repr=False)
    legs: Sequence[dict[str, Any]] = field(repr=False)
    #: keys (person, number) that rested and are taken again
    freed: Collection[tuple[bytes, str]] = field(repr=False)
    #: see `LendingStatements.lend`
    lent: Sequence[Row] = field(repr=False)
    #: numbers by how many live legs they get
    used: Mapping[int, Sequence[str]]

    def write(self, cursor: Cursor, statements: WritingStatements) -> None:
        """Puts into the rows of bindings their `seq`. Raises IntegrityError of the driver."""
        statements.numbers.lending.lend(cursor, sorted(self.lent), self.now)
        for added, numbers in self.used.items():
            statements.numbers.use(cursor, numbers, added, self.now)
        statements.free_keys(cursor, list(self.freed))
        seqs = statements.add(cursor, self.rows, self.legs)
        for row in self.rows:
            row["seq"] = seqs[row["id"]]
