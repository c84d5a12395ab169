"""Number files: CSV and XLSX read row by row, and written so that no spreadsheet runs what is in a cell."""

import codecs
import csv
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import xlsxwriter  # type: ignore[import-untyped]
from python_calamine import CalamineError, load_workbook

#: what begins with one of these is a formula to a spreadsheet
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"\+\d+", re.ASCII)
_SNIFFED: Final = 65_536
#: an XLSX file is a ZIP archive: what it may unpack to, so that a small file does not fill the memory
_LARGEST_UNPACKED: Final = 2_000_000_000
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


def rows(path: Path, format_: Format) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line (the header's is 1) and stripped cells.

    Raises FileError, OSError.
    """
    found = _csv_rows(path) if format_ is Format.CSV else _xlsx_rows(path)
    for line, cells in found:
        if any(cells):
            yield line, cells


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    encoding = _encoding(path)
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(file))
            for cells in reader:
                # An apostrophe before a text keeps a spreadsheet from running it: see `guarded`.
                yield reader.line_num, [cell.strip().removeprefix("'") for cell in cells]
    except UnicodeDecodeError:
        raise FileError(f"the text is not {encoding}") from None
    except csv.Error as error:
        raise FileError(f"it is not CSV: {error}") from None


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
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_UNPACKED:
                raise FileError("it unpacks to more than 2 GB")
        workbook = load_workbook(path)
        sheet = workbook.get_sheet_by_index(0)
        first = sheet.start[0] if sheet.start is not None else 0
        for place, cells in enumerate(sheet.iter_rows()):
            yield first + place + 1, [_cell(cell) for cell in cells]
    except (CalamineError, zipfile.BadZipFile, IndexError, ValueError):
        raise FileError("it is not an XLSX file with a sheet in it") from None


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value).strip().removeprefix("'")


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
