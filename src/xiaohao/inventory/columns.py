"""The columns of number files: their names in English and Chinese, and what their cells mean."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from xiaohao.clock import CHINA, SECOND, parse_rfc3339
from xiaohao.numbers.cities import area_code
from xiaohao.numbers.intake import Fault
from xiaohao.numbers.model import DialledBy, NumberSpec, NumberState

#: column → its other names; the first line of a file names the columns in any case and order
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "number": ("号码", "电话号码", "小号", "小号号码"),
    "pool": ("pool_id", "号码池", "池"),
    "customer": ("customer_id", "客户"),
    "trunk": ("trunk_id", "中继"),
    "city": ("城市", "区号", "归属地", "归属城市"),
    "carrier": ("运营商",),
    "state": ("状态",),
    "displayable": ("可外显", "可显示"),
    "displayed_as": ("外显号码", "显示号码"),
    "dialled_by": ("可拨打", "呼叫范围"),
    "documents": ("实名材料", "实名凭证"),
    "valid_until": ("实名有效期", "有效期"),
}
#: columns of an export that say what follows from others: they may be there and are not read
NOT_READ: Final = (
    *("kind", "city_name", "province", "state_reason", "state_at", "suspended_until", "verification"),
    *("verified_until", "fixed", "last_used_at", "created_at"),
)
_BY_NAME: Final = {name: column for column, others in NAMES.items() for name in (column, *others)}
_STATES: Final = {
    **dict.fromkeys(("in_stock", "库存", "在库"), NumberState.IN_STOCK),
    **dict.fromkeys(("available", "可用", "空闲"), NumberState.AVAILABLE),
    # of an export: whose they are is in the bindings, which a file of numbers does not bring
    **dict.fromkeys(("in_service", "ageing"), NumberState.AVAILABLE),
}
_TRUTHS: Final = {
    **dict.fromkeys(("yes", "true", "1", "是"), True),
    **dict.fromkeys(("no", "false", "0", "否"), False),
}
_CALLERS: Final = {
    **dict.fromkeys(("anyone", "不限"), DialledBy.ANYONE),
    **dict.fromkeys(("domestic", "国内"), DialledBy.DOMESTIC),
}
_LONGEST: Final = 200
#: columns that may be longer, or are to be shorter
_LENGTHS: Final = {"carrier": 100, "documents": 32_767}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DAY: Final = timedelta(days=1)
#: one whole column name is enough to tell a header from a first number
_MOST_DOCUMENTS: Final = 20


class HeaderError(Exception):
    """The first line of a file does not name its columns. The text says what is wrong."""


@dataclass(frozen=True, slots=True)
class References:
    """The ids that names stand for; ids stand for themselves. A name of two things stands for none."""

    pools: Mapping[str, str]
    customers: Mapping[str, str]
    trunks: Mapping[str, str]


class Reader:
    """Reads rows of a file with this header."""

    def __init__(self, header: Sequence[str], references: References) -> None:
        """Raises HeaderError."""
        self._references = references
        self._columns: list[str | None] = [_column(cell) for cell in header]
        named = [column for column in self._columns if column is not None]
        if "number" not in named:
            raise HeaderError("no column is called number (号码)")
        if twice := {column for column in named if named.count(column) > 1}:
            raise HeaderError(f"columns are there twice: {', '.join(sorted(twice))}")

    def spec(self, cells: Sequence[str]) -> NumberSpec | Fault:
        """What a row asks for, or what is wrong with a cell."""
        values: dict[str, Any] = {}
        if len(cells) > len(self._columns) and any(cells[len(self._columns) :]):
            return Fault("row", "has more cells than the header")
        for column, cell in zip(self._columns, cells, strict=False):
            if column is None or not cell:
                continue
            if _CONTROL.search(cell):
                return Fault(column, "has control characters, such as the end of a line, in it")
            if len(cell) > _LENGTHS.get(column, _LONGEST):
                return Fault(column, "is too long")
            read = _CELLS[column](cell, self._references)
            if isinstance(read, Fault):
                return read
            values |= read
        return NumberSpec(**values) if "number" in values else Fault("number", "is not there")


def _column(cell: str) -> str | None:
    name = cell.strip().removeprefix("\ufeff").casefold().replace(" ", "_")
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name in NOT_READ or not name:
        return None
    if not cell.isprintable():
        raise HeaderError("the first line is not text")
    raise HeaderError(f"there is no column called “{cell.strip()[:40]}”")


_Cell = Callable[[str, References], dict[str, Any] | Fault]


def _text(name: str) -> _Cell:
    return lambda cell, _: {name: cell}


def _word(name: str, words: Mapping[str, Any]) -> _Cell:
    def read(cell: str, _: References) -> dict[str, Any] | Fault:
        word = cell.casefold()
        if word not in words:
            return Fault(name, f"must be one of: {', '.join(words)}")
        return {name: words[word]}

    return read


def _reference(column: str, field: str) -> _Cell:
    def read(cell: str, references: References) -> dict[str, Any] | Fault:
        known: Mapping[str, str] = getattr(references, f"{column}s")
        if cell not in known:
            return Fault(column, f"there is no such {column}, or more than one of this name")
        return {field: known[cell]}

    return read


def _city(cell: str, _: References) -> dict[str, Any] | Fault:
    code = area_code(cell)
    return Fault("city", "is no city, or not clear: give its area code") if code is None else {"city": code}


def _documents(cell: str, _: References) -> dict[str, Any] | Fault:
    found = tuple(text.strip() for text in cell.replace("；", ";").split(";") if text.strip())
    if len(found) > _MOST_DOCUMENTS or any(len(text) > _LONGEST for text in found):
        return Fault("documents", f"must be at most {_MOST_DOCUMENTS} references of {_LONGEST} characters")
    return {"documents": found}


def _valid_until(cell: str, _: References) -> dict[str, Any] | Fault:
    try:
        if "T" in cell.upper():
            return {"valid_until": parse_rfc3339(cell)}
        # to the end of that day in China
        end = datetime.strptime(cell.replace("/", "-"), "%Y-%m-%d").replace(tzinfo=CHINA) + _DAY
    except (ValueError, OverflowError):
        return Fault("valid_until", "must be a date such as 2027-01-31")
    return {"valid_until": int(end.astimezone(UTC).timestamp()) * SECOND}


_CELLS: Final[dict[str, _Cell]] = {
    "number": _text("number"),
    "pool": _reference("pool", "pool_id"),
    "customer": _reference("customer", "customer_id"),
    "trunk": _reference("trunk", "trunk_id"),
    "city": _city,
    "carrier": _text("carrier"),
    "state": _word("state", _STATES),
    "displayable": _word("displayable", _TRUTHS),
    "displayed_as": _text("displayed_as"),
    "dialled_by": _word("dialled_by", _CALLERS),
    "documents": _documents,
    "valid_until": _valid_until,
}
