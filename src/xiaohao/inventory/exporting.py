"""The tables that come out of the inventory: how many numbers of what sort there are, and all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from xiaohao.clock import rfc3339
from xiaohao.database.direct import Direct
from xiaohao.inventory.bulk_store import Bulk
from xiaohao.inventory.files import WRITERS, Format
from xiaohao.numbers.cities import cities
from xiaohao.numbers.model import NumberState

_AT_ONCE: Final = 5_000
LIST_HEADER: Final = (
    *("number", "kind", "city", "city_name", "province", "carrier", "state", "state_reason"),
    *("suspended_until", "pool", "customer", "trunk", "displayable", "displayed_as", "dialled_by"),
    *("verification", "verified_until", "fixed", "last_used_at", "created_at"),
)
INVENTORY_HEADER: Final = (
    *("kind", "city", "city_name", "province", "carrier"),
    *(state.value for state in NumberState),
    "total",
)


class What(StrEnum):
    """Which table."""

    #: every number
    NUMBERS = "numbers"
    #: how many there are, by kind, city, carrier and state
    INVENTORY = "inventory"


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers of one kind, city and carrier: how many in each state."""

    kind: str
    city: str | None
    carrier: str | None
    states: dict[NumberState, int]

    @property
    def total(self) -> int:
        """How many in all states."""
        return sum(self.states.values())


def inventory(direct: Direct) -> list[Line]:
    """The inventory table in the order of kind, city, carrier; without its totals. Blocking."""
    lines: dict[tuple[str, str, str], Line] = {}
    for kind, city, carrier, state, count in Bulk(direct).inventory():
        place = (kind, city or "", carrier or "")
        line = lines.setdefault(place, Line(kind, city, carrier, {}))
        line.states[NumberState(state)] = count
    return [lines[place] for place in sorted(lines)]


def totals(lines: Sequence[Line]) -> dict[NumberState, int]:
    """How many numbers in each state."""
    return {state: sum(line.states.get(state, 0) for line in lines) for state in NumberState}


def export(direct: Direct, path: Path, format_: Format, what: What) -> int:
    """Write a table into a file; says how many rows. Blocking. Raises FileError, OSError."""
    write = WRITERS[format_]
    if what is What.INVENTORY:
        return write(path, INVENTORY_HEADER, inventory_rows(inventory(direct)))
    return write(path, LIST_HEADER, _list_rows(direct))


def inventory_rows(lines: Sequence[Line]) -> Iterator[tuple[Any, ...]]:
    """The cells of the inventory table, the totals at the end."""
    for line in lines:
        counts = [line.states.get(state, 0) for state in NumberState]
        yield (line.kind, line.city, *_place(line.city), line.carrier, *counts, line.total)
    sums = totals(lines)
    yield ("total", None, None, None, None, *sums.values(), sum(sums.values()))


def _list_rows(direct: Direct) -> Iterator[tuple[Any, ...]]:
    for rows in Bulk(direct).export(_AT_ONCE):
        for row in rows:
            (number, kind, city, carrier, state, reason, suspended, pool, customer, trunk) = row[:10]
            (displayable, displayed_as, dialled_by, verification, verified, fixed, used, created) = row[10:]
            yield (
                *(number, kind, city, *_place(city), carrier, state, reason, _moment(suspended)),
                *(pool, customer, trunk, bool(displayable), displayed_as, dialled_by),
                *(verification, _moment(verified), bool(fixed), _moment(used), _moment(created)),
            )


def _place(city: str | None) -> tuple[str | None, str | None]:
    found = cities().get(city or "")
    return (None, None) if found is None else (found.name, found.province)


def _moment(us: int | None) -> str | None:
    return rfc3339(us) if us else None
