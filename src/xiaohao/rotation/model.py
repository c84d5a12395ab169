"""Which columns hold secrets, read from the schema by their names, and what becomes of a row of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import LargeBinary, Table

from xiaohao.database.schema import legs, metadata
from xiaohao.secrecy import PREFIX_BYTES, Vault

_SEALED: Final = "_sealed"
_KEY: Final = "_key"
#: a blind index has this length; what stands for anyone, or for an extension, is shorter
INDEX_BYTES: Final = 16
#: indexes whose text does not stand sealed beside them; `service` knows how it is found
_ELSEWHERE: Final = {legs.c.caller_key}


class RotationFailed(Exception):
    """A row is not what the old key made of it, and where that is. Nothing was lost; carries no secret."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secret columns of one table: each sealed one, and the index of the same text if there is one."""

    table: Table
    columns: tuple[tuple[str, str | None], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return tuple(column.name for column in self.table.primary_key.columns)


def secrets_of(tables: Iterable[Table] | None = None) -> list[Secrets]:
    """Every table with secret columns. Raises RotationFailed for an index without its text beside it."""
    found = []
    for table in metadata.sorted_tables if tables is None else tables:
        sealed = [column.name for column in table.columns if column.name.endswith(_SEALED)]
        texts = {name.removesuffix(_SEALED) for name in sealed}
        for column in table.columns:
            is_index = column.name.endswith(_KEY) and isinstance(column.type, LargeBinary)
            alone = is_index and column.name.removesuffix(_KEY) not in texts
            if alone and column not in _ELSEWHERE:
                raise RotationFailed(f"{column} could not be computed anew: its text is kept nowhere")
        if sealed:
            pairs = ((name, name.removesuffix(_SEALED) + _KEY) for name in sealed)
            columns = tuple((name, index if index in table.c else None) for name, index in pairs)
            found.append(Secrets(table, columns))
    return found


def check_known(tables: Iterable[Secrets], there: Iterable[tuple[str, str]]) -> None:
    """Raises RotationFailed where one of the database's (table, column) is sealed and not known to us."""
    known = {(secrets.table.name, sealed) for secrets in tables for sealed, _ in secrets.columns}
    for table, column in there:
        if column.endswith(_SEALED) and (table, column) not in known:
            raise RotationFailed(f"{table}.{column} is of another version of the platform")


def renewed(secrets: Secrets, row: Mapping[str, Any], old: Vault, new: Vault) -> dict[str, bytes]:
    """The columns of a row that change. Raises RotationFailed where it is not what the old key made."""
    changes: dict[str, bytes] = {}
    for sealed, index in secrets.columns:
        value: bytes | None = row[sealed]
        if value is None:
            if index is not None and _is_index(row[index]):
                raise RotationFailed(f"{_place(secrets, row)}: {index} without {sealed}")
            continue
        prefix = value[:PREFIX_BYTES]
        if prefix == new.prefix:
            continue
        if prefix != old.prefix:
            raise RotationFailed(f"{_place(secrets, row)}: {sealed} was sealed with a third key")
        content = old.open_bytes(value)
        changes[sealed] = new.seal_bytes(content)
        if index is not None and _is_index(row[index]):
            text = content.decode()
            if row[index] != old.index(text):
                raise RotationFailed(f"{_place(secrets, row)}: {index} and {sealed} differ")
            changes[index] = new.index(text)
    return changes


def caller_of(leg: Mapping[str, Any], people: Iterable[str], old: Vault, new: Vault) -> bytes | None:
    """The index that a leg's caller gets; None where it stays.

    `people` are those whom the leg's binding joins, or joined before it was changed. Raises RotationFailed
    where the caller is none of them.
    """
    key = leg["caller_key"]
    for person in people:
        if key == old.index(person):
            return new.index(person)
        if key == new.index(person):
            return None
    if _is_index(key):
        raise RotationFailed(f"legs: the caller of a leg of {leg['binding_id']} is not known")
    return None  # anyone, or an extension


def _is_index(key: bytes | None) -> bool:
    return key is not None and len(key) == INDEX_BYTES


def _place(secrets: Secrets, row: Mapping[str, Any]) -> str:
    # ids and order numbers, never an index: that of a person is as good as a name to whoever has the key
    named = [str(row[name]) for name in secrets.keys if not isinstance(row[name], bytes)]
    return f"{secrets.table.name} {' '.join(named)}"
