"""Number files: CSV and XLSX read row by row, and written so that no spreadsheet runs what is in a cell."""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import xlsxwriter  # type: ignore[import-untyped]

from xiaohao.inventory.sheets import SheetError, sheet_rows

#: what begins with one of these is a formula to a spreadsheet
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"\+\d+", re.ASCII)
_SNIFFED: Final = 65_536
#: what every XLSX file begins with
_ZIP: Final = b"PK\x03\x04"
#: of the format, with one for the header
XLSX_ROWS: Final = 1_048_575


class Format(StrEnum):
    """The formats of number files."""

    CSV = "csv"
    XLSX = "xlsx"


MEDIA_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class FileError(Exception):
    """The file is not what its format says. The text says what is wrong and quotes nothing."""


def format_of(path: Path) -> Format:
    """What a file looks like: XLSX where it is an archive, else CSV. Raises OSError."""
    with path.open("rb") as file:
        return Format.XLSX if file.read(len(_ZIP)) == _ZIP else Format.CSV


def rows(path: Path, format_: Format) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line (the header's is 1) and stripped cells.

    Raises FileError, OSError.
    """
    found = _csv_rows(path) if format_ is Format.CSV else _xlsx_rows(path)
    for line, cells in found:
        if any(cells):
            yield line, cells


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    if format_of(path) is Format.XLSX:
        raise FileError("it is a ZIP archive, as XLSX files are, and not CSV")
    encoding = _encoding(path)
    line = 0
    try:
        with path.open(encoding=encoding, newline="") as file:
            # Strict: a quote that is not closed would swallow the rows behind it.
            reader = csv.reader(file, delimiter=_delimiter(file), strict=True)
            for cells in reader:
                if reader.line_num > line + 1:
                    raise FileError(f"line {line + 1}: a quoted cell does not end on its line")
                line = reader.line_num
                # An apostrophe before a text keeps a spreadsheet from running it: see `guarded`.
                yield line, [cell.strip().removeprefix("'") for cell in cells]
    except UnicodeDecodeError:
        raise FileError(f"the text is not {encoding}") from None
    except csv.Error as error:
        if reader.line_num > line + 1 or "unexpected end" in str(error):
            raise FileError(f"line {line + 1}: a quoted cell does not end on its line") from None
        raise FileError(f"line {line + 1}: it is not CSV: {error}") from None


def _encoding(path: Path) -> str:
    # Spreadsheets in China save CSV in GB 18030 unless they are told otherwise.
    with path.open("rb") as file:
        beginning = file.read(_SNIFFED)
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return "gb18030"
    return "utf-8-sig"


def _delimiter(file: IO[str]) -> str:
    header = file.readline()
    file.seek(0)
    return max(",;\t", key=header.count)


def _xlsx_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        yield from sheet_rows(path)
    except SheetError as error:
        raise FileError(str(error)) from None


def guarded(cell: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula; canonical numbers cannot be one."""
    return f"'{cell}" if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell


def write_csv(path: Path, header: Sequence[str], found: Iterable[Sequence[Any]]) -> int:
    """Write a table; says how many rows. The mark at its beginning tells spreadsheets that it is UTF-8."""
    count = 0
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for cells in found:
            writer.writerow([guarded(_shown(cell)) for cell in cells])
            count += 1
    return count


def write_xlsx(path: Path, header: Sequence[str], found: Iterable[Sequence[Any]]) -> int:
    """Write a table of at most XLSX_ROWS rows; says how many. Numbers of people stay whole: cells are text.

    Raises FileError where there are more.
    """
    count = 0
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as workbook:
        sheet = workbook.add_worksheet()
        sheet.freeze_panes(1, 0)
        for place, name in enumerate(header):
            sheet.write_string(0, place, name)
        for cells in found:
            count += 1
            if count > XLSX_ROWS:
                raise FileError(f"a sheet has room for {XLSX_ROWS} rows: export CSV")
            for place, cell in enumerate(cells):
                if isinstance(cell, int) and not isinstance(cell, bool):
                    sheet.write_number(count, place, cell)
                else:
                    sheet.write_string(count, place, _shown(cell))
    return count


WRITERS: Final = {Format.CSV: write_csv, Format.XLSX: write_xlsx}


def _shown(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell)
