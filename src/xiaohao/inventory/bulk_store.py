"""All SQL of numbers in bulk, over a plain connection: what is there already, and writing a million rows.

SQLite takes rows one by one over a prepared statement, PostgreSQL by COPY.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Table, select

from xiaohao.database.direct import Cursor, Direct, ForKeys, Row
from xiaohao.database.schema import customers, number_history, numbers, pools, trunks, verifications
from xiaohao.numbers.store import PEOPLE_AMONG
from xiaohao.pools.model import Pool, pool_of

_AT_ONCE: Final = 256
#: memory for SQLite's pages: a big transaction that has none writes them again and again
CACHE_KIB: Final = 256 * 1024
#: columns of new numbers, in the order of the rows
NUMBER_COLUMNS: Final = (
    *("number", "kind", "city", "carrier", "state", "state_reason", "state_at"),
    *("displayable", "displayed_as", "dialled_by", "verification", "verified_until"),
    *("customer_id", "pool_id", "trunk_id", "fixed", "last_used_at", "created_at", "updated_at"),
)
HISTORY_COLUMNS: Final = (
    *("number", "at", "to_state", "reason", "customer_id", "owner_id", "pool_id"),
    "changed_by",
)
VERIFICATION_COLUMNS: Final = (
    *("id", "customer_id", "number", "state", "documents_sealed", "named_for", "valid_until"),
    *("created_at", "updated_at"),
)
_THERE: Final = (
    *("number", "customer_id", "pool_id", "trunk_id", "city", "carrier"),
    *("displayable", "displayed_as", "dialled_by", "state", "verification", "verified_until"),
)
_POOL_COLUMNS: Final = tuple(column.name for column in pools.columns)


class Bulk:
    """Reads and writes numbers in bulk. Every method raises DatabaseUnavailable."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct
        there = [numbers.c[name] for name in _THERE]
        self._find = ForKeys(
            direct.dialect, lambda keys: select(*there).where(numbers.c.number.in_(keys)), _AT_ONCE
        )
        self._people = [ForKeys(direct.dialect, among, _AT_ONCE) for among in PEOPLE_AMONG]

    def references(self) -> tuple[dict[str, Pool], dict[str, str], dict[str, str]]:
        """All pools by id; the names of all customers and of all trunks by id."""
        with self._direct.read() as cursor:
            cursor.execute(f"SELECT {', '.join(_POOL_COLUMNS)} FROM pools")  # noqa: S608 - our own names
            found = [pool_of(dict(zip(_POOL_COLUMNS, row, strict=True))) for row in cursor.fetchall()]
            return {pool.id: pool for pool in found}, _names(cursor, customers), _names(cursor, trunks)

    def there(self, wanted: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Those of the wanted numbers that are in the inventory."""
        with self._direct.read() as cursor:
            rows = self._find.fetch(cursor, wanted)
        found = (dict(zip(_THERE, row, strict=True)) for row in rows)
        return {row["number"]: {**row, "displayable": bool(row["displayable"])} for row in found}

    def people(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the blind indexes that are of people in bindings, or with an X of their own."""
        with self._direct.read() as cursor:
            return {bytes(key) for among in self._people for (key,) in among.fetch(cursor, keys)}

    def anybody(self) -> bool:
        """Whether there is any leg, or any X of somebody's, at all."""
        with self._direct.read() as cursor:
            cursor.execute(
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM legs)"
                " OR EXISTS (SELECT 1 FROM numbers WHERE assigned_to_key IS NOT NULL)"
            )
            return bool(cursor.fetchall())

    def add(self, cursor: Cursor, rows: Sequence[Row], entries: Sequence[Row], proofs: Sequence[Row]) -> None:
        """Insert numbers, their first lines of history and their verifications.

        Raises the driver's IntegrityError where a number is there already.
        """
        _write(cursor, self._direct.is_sqlite, numbers, NUMBER_COLUMNS, rows)
        _write(cursor, self._direct.is_sqlite, number_history, HISTORY_COLUMNS, entries)
        _write(cursor, self._direct.is_sqlite, verifications, VERIFICATION_COLUMNS, proofs)

    def export(self, limit: int) -> Iterator[list[Row]]:
        """All numbers with the names of what they are of, so many at a time, each time as they are then.

        Those that are shown as another one come last: an import wants the others to be there before them.
        """
        marker = "?" if self._direct.is_sqlite else "%s"
        for which in ("IS NULL", "IS NOT NULL"):
            after, query = "", _EXPORT.format(marker=marker, which=which)
            while True:
                with self._direct.read() as cursor:
                    cursor.execute(query, (after, limit))
                    found = cursor.fetchall()
                if not found:
                    break
                yield found
                after = found[-1][0]

    def inventory(self) -> list[Row]:
        """How many numbers there are of each (kind, city, carrier, state)."""
        with self._direct.read() as cursor:
            cursor.execute(_INVENTORY)
            return [tuple(row) for row in cursor.fetchall()]


_EXPORT: Final = """
SELECT n.number, n.kind, n.city, n.carrier, n.state, n.state_reason, n.suspended_until, p.name, c.name,
    t.name, n.displayable, n.displayed_as, n.dialled_by, n.verification, n.verified_until, n.fixed,
    n.last_used_at, n.created_at
FROM numbers n
LEFT JOIN pools p ON p.id = n.pool_id
LEFT JOIN customers c ON c.id = n.customer_id
LEFT JOIN trunks t ON t.id = n.trunk_id
WHERE n.number > {marker} AND n.displayed_as {which} ORDER BY n.number LIMIT {marker}
"""
_INVENTORY: Final = """
SELECT kind, city, carrier, state, COUNT(*) FROM numbers
GROUP BY kind, city, carrier, state ORDER BY kind, city, carrier, state
"""


def _names(cursor: Cursor, table: Table) -> dict[str, str]:
    cursor.execute(f"SELECT id, name FROM {table.name}")  # noqa: S608 - our own name
    return dict(cursor.fetchall())


def _write(cursor: Any, is_sqlite: bool, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = ", ".join(columns)
    if is_sqlite:
        markers = ", ".join("?" * len(columns))
        cursor.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({markers})", rows)  # noqa: S608
        return
    with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
