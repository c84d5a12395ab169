"""A file of entries: all of it is checked first, then written in parts, so that no call waits long for it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, func, literal, select, update

from xiaohao.clock import now_us, parse_rfc3339
from xiaohao.database.direct import Direct, Statement
from xiaohao.database.policy_tables import policy_entries
from xiaohao.errors import Refusal
from xiaohao.numbers.model import canonical
from xiaohao.policies import store
from xiaohao.policies.model import EVERYBODY, List, Side
from xiaohao.policies.service import ENTRIES_MAX, NewEntry, Owner, entry_row, list_full
from xiaohao.secrecy import Vault

COLUMNS: Final = ("list", "person", "other", "prefix", "side", "expires_at", "note")
FAULTS_KEPT: Final = 100
_CHUNK: Final = 500
_NOTE_MAX: Final = 500
_WHOM: Final = ("person_key", "other_key", "prefix")


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a line (1 is the header); quotes nothing."""

    line: int
    detail: str


@dataclass(slots=True)
class Imported:
    """What became of a file."""

    rows: int = 0
    written: int = 0
    removed: int = 0
    refused: int = 0
    faults: list[LineFault] = field(default_factory=list)


class EntryImport:
    """One file on its way onto the lists. Blocking: run it in a thread of its own."""

    def __init__(
        self,
        direct: Direct,
        vault: Vault,
        owner: Owner,
        by: str | None = None,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._direct, self._vault, self._owner, self._by, self._clock = direct, vault, owner, by, clock
        self._put = store.put_entries(direct.dialect)
        self._move = store.mark_moving(direct.dialect)
        mine = (
            policy_entries.c.customer_id == (owner.customer_id or EVERYBODY),
            policy_entries.c.set_by == owner.set_by.value,
            policy_entries.c.removed_at.is_(None),
        )
        self._count = Statement(
            direct.dialect, select(func.count(), literal(1)).select_from(policy_entries).where(*mine)
        )
        self._whom = Statement(
            direct.dialect,
            select(*(policy_entries.c[name] for name in _WHOM)).where(
                *mine, policy_entries.c.list == bindparam("which")
            ),
        )
        self._replace = Statement(
            direct.dialect,
            update(policy_entries)
            .where(
                *mine,
                policy_entries.c.list == bindparam("which"),
                policy_entries.c.updated_at < bindparam("began"),
            )
            .values(removed_at=bindparam("began"), revision=bindparam("revision_now")),
        )

    def run(
        self, rows: Iterable[tuple[int, Sequence[str]]], *, replace: List | None = None, dry_run: bool = False
    ) -> Imported:
        """Read (line, cells), the first of which name the columns, and write them unless one has a fault.

        `replace`: who is on this list and not in the file is taken off it. Raises Refusal:
        `file_malformed`, `list_full`, DatabaseUnavailable; what was written until then stays.
        """
        report = Imported()
        began = self._clock()
        found: dict[tuple[Any, ...], NewEntry] = {}
        for line, entry in self._read(rows):
            report.rows += 1
            if isinstance(entry, str):
                report.refused += 1
                if len(report.faults) < FAULTS_KEPT:
                    report.faults.append(LineFault(line, entry))
                continue
            people = (entry.person, entry.other)
            whom = tuple(sorted(p for p in people if p is not None)) or (entry.prefix,)
            found[whom] = entry
        if len(found) > ENTRIES_MAX:
            raise list_full()
        if report.refused:
            return report
        if dry_run:
            if replace is not None:
                report.removed = self._not_among(found.values(), replace)
            return report
        self._write(list(found.values()), report)
        if replace is not None:
            with self._direct.write(pipelined=False) as cursor:
                revision = self._revision(cursor)
                self._replace.run(cursor, which=replace.value, began=began, revision_now=revision)
                report.removed = cursor.rowcount
        return report

    def _not_among(self, entries: Iterable[NewEntry], which: List) -> int:
        now = self._clock()
        rows = (entry_row(entry, self._owner, self._vault, now, self._by, 0) for entry in entries)
        named = {tuple(row[name] for name in _WHOM) for row in rows}
        with self._direct.read() as cursor:
            self._whom.run(cursor, which=which.value)
            there = {(bytes(person), bytes(other), prefix) for person, other, prefix in cursor.fetchall()}
        return len(there - named)

    def _write(self, entries: Sequence[NewEntry], report: Imported) -> None:
        with self._direct.read() as cursor:
            self._count.run(cursor)
            ((there, _),) = cursor.fetchall()
        if there + len(entries) > 2 * ENTRIES_MAX:
            raise list_full()
        for start in range(0, len(entries), _CHUNK):
            now = self._clock()
            rows = [
                entry_row(entry, self._owner, self._vault, now, self._by, 0)
                for entry in entries[start : start + _CHUNK]
            ]
            # in one order, so that two files at a time do not wait for each other
            rows.sort(key=lambda row: tuple(row[name] for name in _WHOM))
            began = time.monotonic()
            with self._direct.write(pipelined=False) as cursor:
                revision = self._revision(cursor)
                for row in rows:
                    row["revision"] = revision
                self._put.run(cursor, [tuple(row[name] for name in store.ENTRY_COLUMNS) for row in rows])
            report.written += len(rows)
            time.sleep(min(time.monotonic() - began, 0.05))  # let calls and bindings write, too

    def _revision(self, cursor: Any) -> int:
        self._move.run(cursor)
        ((revision,),) = cursor.fetchall()
        return int(revision)

    def _read(self, rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[tuple[int, NewEntry | str]]:
        columns: list[str] | None = None
        now = self._clock()
        for line, cells in rows:
            if columns is None:
                columns = [cell.strip().lower() for cell in cells]
                unknown = not set(columns) <= set(COLUMNS)
                if unknown or "list" not in columns or len(set(columns)) < len(columns):
                    raise _without_columns()
                continue
            row = dict(zip(columns, cells, strict=False))
            try:
                yield line, _entry(row, now)
            except ValueError as error:
                yield line, str(error)
            except Refusal as refusal:
                field_of = refusal.extra["errors"][0]["field"]
                yield line, f"{field_of} {refusal.detail}"
        if columns is None:
            raise _without_columns()


def _without_columns() -> Refusal:
    detail = f"The first line names the columns: list and some of {', '.join(COLUMNS[1:])}."
    return Refusal("file_malformed", "The file cannot be read", detail, 400)


def _entry(row: dict[str, str], now: int) -> NewEntry:
    """Raises ValueError, Refusal; neither quotes a number."""
    expires_at = _moment(row.get("expires_at", ""))
    if expires_at is not None and expires_at <= now:
        raise ValueError("expires_at is over")
    note = row.get("note") or None
    if note is not None and (len(note) > _NOTE_MAX or "\0" in note):
        raise ValueError(f"note has more than {_NOTE_MAX} characters")
    entry = NewEntry(
        list=_one_of(List, "list", row.get("list", "")),
        person=_person("person", row.get("person", "")),
        other=_person("other", row.get("other", "")),
        prefix=row.get("prefix") or None,
        side=_one_of(Side, "side", row.get("side") or Side.ANY.value),
        expires_at=expires_at,
        note=note,
    )
    assert entry.kind  # noqa: S101 – asked for the Refusal that it may raise
    return entry


def _one_of(kind: Any, name: str, text: str) -> Any:
    try:
        return kind(text.strip().lower())
    except ValueError:
        raise ValueError(f"{name} is one of {', '.join(kind)}") from None


def _person(name: str, text: str) -> str | None:
    if not text:
        return None
    number = canonical(text)
    if number is None:
        raise ValueError(f"{name} is no telephone number that the platform knows how to dial")
    return number


def _moment(text: str) -> int | None:
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise ValueError("expires_at is a moment with its offset, as 2026-11-23T03:04:05Z is") from None
