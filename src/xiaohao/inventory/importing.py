"""How a file of numbers comes into the inventory: all of it is checked first, without a lock, then written.

What was checked waits in a temporary file, so that a million rows need no more memory than their numbers. All
or none is one transaction: on SQLite other writers wait for it. Of `Take.VALID` each chunk is one.
"""

import marshal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import IO, Any, Final

import psycopg

from xiaohao.clock import now_us
from xiaohao.database.direct import Direct
from xiaohao.errors import Refusal, conflict
from xiaohao.inventory.bulk_store import NUMBER_COLUMNS, VERIFICATION_COLUMNS, Bulk
from xiaohao.inventory.columns import HeaderError, Reader, References
from xiaohao.inventory.model import Listener, Outcome, Progress, Report, RowReport, Take
from xiaohao.numbers.intake import Fault, Known, differs, fault_of_shown, row_of
from xiaohao.numbers.model import NumberSpec
from xiaohao.secrecy import Vault
from xiaohao.verifications.service import rows_of

#: rows checked, and written, at a time
_CHUNK: Final = 5_000
#: faults that a report keeps; a listener is told all of them
FAULTS_KEPT: Final = 1_000

_PLACES: Final = {name: place for place, name in enumerate(NUMBER_COLUMNS)}


def _places(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    return itemgetter(*(_PLACES[name] for name in names))


_ROW: Final = itemgetter(*NUMBER_COLUMNS)
_VERIFIED: Final = itemgetter(*VERIFICATION_COLUMNS)
#: of a row: what the first line of its history tells, but for who imported it
_TOLD: Final = _places(
    *("number", "created_at", "state", "state_reason", "customer_id", "customer_id", "pool_id")
)
_PROVEN: Final = _places("number", "customer_id", "verified_until")

_Line = tuple[int, list[str]]
#: what must be known of a number to show it in place of another
_OF_SHOWN: Final = ("customer_id", "displayable", "state", "verification", "verified_until")
_Shown = tuple[Any, ...]


class Import:
    """One file on its way into the inventory. Blocking: run it in a thread of its own."""

    def __init__(
        self,
        direct: Direct,
        vault: Vault,
        *,
        take: Take = Take.ALL,
        dry_run: bool = False,
        by: str | None = None,
        listener: Listener | None = None,
        progress: Progress | None = None,
    ) -> None:
        """`by`: the key of who imports, for the history. `direct` is used by nobody else meanwhile."""
        self._direct = direct
        self._bulk = Bulk(direct)
        self._vault = vault
        self._take = take
        self._dry_run = dry_run
        self._by = by
        self._listener = listener
        self._progress = progress or (lambda _read, _written: None)
        self._report = Report()
        self._done = 0
        #: The numbers of the file so far, as integers, which are smaller than texts: what others of the file
        #: must know to be displayed as them. There are few different facts. None: it was refused.
        self._seen: dict[int, _Shown | None] = {}
        self._facts: dict[_Shown, _Shown] = {}

    def run(self, rows: Iterable[_Line]) -> Report:
        """Import the rows of a file; the first one is the header.

        Raises Refusal: `file_header_wrong`, `number_exists` (somebody else added one of them just now), and
        what `rows` raises; DatabaseUnavailable.
        """
        began = time.monotonic()
        now = now_us()
        pools, customers, trunks = self._bulk.references()
        references = References(
            _by_name({pool.id: pool.name for pool in pools.values()}), _by_name(customers), _by_name(trunks)
        )
        known = Known(pools, customers.keys(), trunks.keys())
        found = iter(rows)
        reader = _reader(next(found, (1, [])), references)
        with tempfile.TemporaryFile() as spool:
            for chunk in _chunks(found):
                good = self._checked(chunk, reader, known, now)
                marshal.dump(good, spool)
                self._progress(self._report.rows, 0)
            if not self._dry_run and self._report.added and self._may_write():
                spool.seek(0)
                self._write(spool, now)
                self._report.written = True
        self._report.seconds = time.monotonic() - began
        return self._report

    def _may_write(self) -> bool:
        return self._take is Take.VALID or not self._report.refused

    def _checked(
        self, chunk: Sequence[_Line], reader: Reader, known: Known, now: int
    ) -> list[tuple[tuple[Any, ...], tuple[str, ...]]]:
        """The rows of a chunk that can be added, each with its documents."""
        wanted: list[tuple[int, NumberSpec, dict[str, Any]] | tuple[int, Fault]] = []
        for line, cells in chunk:
            spec = reader.spec(cells)
            row = spec if isinstance(spec, Fault) else row_of(spec, known, now)
            if isinstance(row, Fault):
                wanted.append((line, row))
            elif int(row["number"]) in self._seen:
                wanted.append((line, Fault("number", "is there twice")))
            else:
                shown = tuple(row[name] for name in _OF_SHOWN)
                self._seen[int(row["number"])] = self._facts.setdefault(shown, shown)
                wanted.append((line, spec, row))  # type: ignore[arg-type]
        rows = {entry[2]["number"]: entry[2] for entry in wanted if len(entry) == 3}
        there = self._bulk.there(list(rows))
        people = self._people(list(rows.keys() - there.keys()))
        faults = {
            entry[2]["number"]: self._fault(entry[1], entry[2], there, people)
            for entry in wanted
            if len(entry) == 3
        }
        for number, fault in faults.items():
            if fault is not None:
                self._seen[int(number)] = None
        displays = self._displays(rows.values())
        good = []
        for entry in wanted:
            if len(entry) == 2:
                self._refuse(*entry)
                continue
            line, spec, row = entry
            fault = faults[row["number"]]
            if fault is None and row["number"] not in there:
                fault = fault_of_shown(row, displays, now)
            if fault is not None:
                self._refuse(line, fault)
            elif row["number"] in there:
                self._tell(line, Outcome.UNCHANGED, row["number"])
            else:
                self._tell(line, Outcome.ADDED, row["number"])
                good.append((_ROW(row), spec.documents))
        return good

    def _fault(
        self,
        spec: NumberSpec,
        row: dict[str, Any],
        there: Mapping[str, Mapping[str, Any]],
        people: set[str],
    ) -> Fault | None:
        number = row["number"]
        if number in there:
            other = differs(there[number], row, spec)
            return Fault("number", "is there already, and is said to be another one") if other else None
        if number in people:
            return Fault("number", "belongs to a person who is in a binding")
        return None

    def _people(self, wanted: Sequence[str]) -> set[str]:
        if not wanted or not self._bulk.anybody():
            return set()
        by_key = {self._vault.index(number): number for number in wanted}
        return {by_key[key] for key in self._bulk.people(list(by_key))}

    def _displays(self, rows: Iterable[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """What these rows name in `displayed_as`: in the inventory, or before them in the file."""
        named = {row["displayed_as"] for row in rows if row["displayed_as"] is not None}
        found = self._bulk.there(list(named)) if named else {}
        for number in named - found.keys():
            if (shown := self._seen.get(int(number))) is not None:
                found[number] = dict(zip(_OF_SHOWN, shown, strict=True))
        return found

    def _refuse(self, line: int, fault: Fault) -> None:
        row = RowReport(line, Outcome.REFUSED, None, fault.field, fault.detail)
        self._report.rows += 1
        self._report.refused += 1
        if len(self._report.faults) < FAULTS_KEPT:
            self._report.faults.append(row)
        if self._listener is not None:
            self._listener(row)

    def _tell(self, line: int, outcome: Outcome, number: str) -> None:
        self._report.rows += 1
        if outcome is Outcome.ADDED:
            self._report.added += 1
        else:
            self._report.unchanged += 1
        if self._listener is not None:
            self._listener(RowReport(line, outcome, number))

    def _write(self, spool: IO[bytes], now: int) -> None:
        try:
            if self._take is Take.ALL:
                with self._direct.write(pipelined=False) as cursor:
                    for chunk in _spooled(spool):
                        self._add(cursor, chunk, now)
            else:
                for chunk in _spooled(spool):
                    with self._direct.write(pipelined=False) as cursor:
                        self._add(cursor, chunk, now)
        except (sqlite3.IntegrityError, psycopg.IntegrityError):
            # `from None`: the driver's error quotes the row.
            detail = "One of the numbers was added by somebody else just now: import the file again."
            raise conflict("number_exists", "Number exists", detail) from None

    def _add(self, cursor: Any, chunk: Sequence[tuple[tuple[Any, ...], tuple[str, ...]]], now: int) -> None:
        rows = [row for row, _ in chunk]
        entries = [(*facts, self._by) for facts in map(_TOLD, rows)]
        proofs = [(*_PROVEN(row)[:2], documents, _PROVEN(row)[2]) for row, documents in chunk if documents]
        verified = [_VERIFIED(row) for row in rows_of(self._vault, proofs, now)]
        self._bulk.add(cursor, rows, entries, verified)
        self._done += len(rows)
        self._progress(self._report.rows, self._done)


def _reader(first: _Line, references: References) -> Reader:
    try:
        return Reader(first[1], references)
    except HeaderError as wrong:
        raise Refusal(
            "file_header_wrong", "The first line does not name the columns", f"{wrong}.", 422
        ) from None


def _chunks(rows: Iterator[_Line]) -> Iterator[list[_Line]]:
    chunk: list[_Line] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _spooled(spool: IO[bytes]) -> Iterator[list[tuple[tuple[Any, ...], tuple[str, ...]]]]:
    while True:
        try:
            chunk = marshal.load(spool)  # noqa: S302 - our own file, which nobody else can open
        except EOFError:
            return
        if chunk:
            yield chunk


def _by_name(names: Mapping[str, str]) -> dict[str, str]:
    how_many = Counter(names.values())
    return {name: id_ for id_, name in names.items() if how_many[name] == 1} | {id_: id_ for id_ in names}
