"""An invoice as XLSX, in Chinese or English: a sheet a level, and every call with its charges."""

from collections.abc import AsyncIterator, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import xlsxwriter  # type: ignore[import-untyped]

from xiaohao.billing.sheets import CALL_COLUMNS, Page, call_row
from xiaohao.billing.words import WORDS, Language, said, unit

#: rows that a sheet can have; more calls than that go on in another one
_ROWS_MAX: Final = 1_000_000
_SUMS: Final = (
    *("calls", "seconds", "included_s", "acd_s", "protections", "recordings"),
    *("rent", "minutes", "acd", "number_protection", "recording", "total"),
)
#: the columns of each level, by their names in the document
_LEVELS: Final[dict[str, tuple[str, ...]]] = {
    "lines": ("item", "kind", "quantity", "unit", "price", "amount", "note"),
    "applications": ("name", "application", *_SUMS),
    "kinds": ("kind", *_SUMS),
    "numbers": ("number", "kind", "application", *_SUMS),
    "days": ("day", "calls", "seconds", "amount"),
}
_SHEETS: Final = {
    "lines": "lines",
    "applications": "by_application",
    "kinds": "by_kind",
    "numbers": "by_number",
    "days": "by_day",
}
#: words of columns whose name says something else elsewhere
_TITLES: Final = {"number": "number_title", "name": "application", "application": "pool", "rent": "rents"}
_AMOUNTS: Final = frozenset(
    ("price", "amount", "rent", "minutes", "acd", "number_protection", "recording", "total")
)
_WIDTHS: Final = {"call_id": 38, "application": 38, "name": 24, "item": 26, "note": 40, "begins_at": 30}
_WIDTH: Final = 14
_NUMBER_WIDTH: Final = 18


class _Book:
    """Writes sheets; memory stays small, so that rows are written from top to bottom."""

    def __init__(self, path: Path, language: Language) -> None:
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self.book = xlsxwriter.Workbook(str(path), options)
        self.words = WORDS[language]
        self._head = self.book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self._money = self.book.add_format({"num_format": "#,##0.00####"})

    def sheet(self, title: str, columns: Iterable[str]) -> Any:
        """A new sheet with its head, which stays in sight."""
        sheet = self.book.add_worksheet(title)
        for place, name in enumerate(columns):
            width = _NUMBER_WIDTH if name == "number" else _WIDTHS.get(name, _WIDTH)
            sheet.set_column(place, place, width)
            sheet.write_string(0, place, self.words[_TITLES.get(name, name)], self._head)
        sheet.freeze_panes(1, 0)
        return sheet

    def row(self, sheet: Any, row: int, columns: Iterable[str], values: Iterable[Any]) -> None:
        """Write a row."""
        for place, (name, value) in enumerate(zip(columns, values, strict=True)):
            if value is None:
                continue
            if name in _AMOUNTS:
                sheet.write_number(row, place, _number(value), self._money)
            elif isinstance(value, int) or name == "quantity":
                sheet.write_number(row, place, _number(value))
            else:
                sheet.write_string(row, place, self.words[value] if name in ("item", "kind") else value)


async def write_xlsx(
    path: Path, document: Mapping[str, Any], pages: AsyncIterator[Page], language: Language = Language.CHINESE
) -> None:
    """An invoice's document and calls as a workbook."""
    made = _Book(path, language)
    with made.book:
        for level, columns in _LEVELS.items():
            sheet = made.sheet(made.words[_SHEETS[level]], columns)
            for place, row in enumerate(document.get(level, []), 1):
                shown = _line(row, made.words) if level == "lines" else row
                made.row(sheet, place, columns, (shown[name] for name in columns))
        title = made.words["calls_sheet"]
        sheet, place, count = made.sheet(title, CALL_COLUMNS), 1, 1
        async for page in pages:
            for usage, charged in page:
                if place > _ROWS_MAX:
                    count += 1
                    sheet, place = made.sheet(f"{title} {count}", CALL_COLUMNS), 1
                made.row(sheet, place, CALL_COLUMNS, call_row(usage, charged))
                place += 1


def _line(row: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    name = unit(row)
    return {**row, "unit": None if name is None else words[name], "note": said(row, words) or None}


def _number(text: Any) -> float:
    # a spreadsheet knows nothing else; fifteen digits are exact enough to show any amount
    return float(Decimal(text))
