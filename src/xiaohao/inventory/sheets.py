"""The first sheet of an XLSX file, read in a process of its own that has little memory to lose.

The reader lays a sheet out as one rectangle: a single cell far away from the others makes that larger than
any memory, and ends the process that reads it. `python -m xiaohao.inventory.sheets FILE` writes the rows to
its standard output, each as (line, cells); what is wrong with the file goes to standard error, with exit
status 3.
"""

import contextlib
import marshal
import os
import re
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from python_calamine import CalamineError, load_workbook

from xiaohao.settings import KEY_VARIABLE

_REFUSED: Final = 3
_NICENESS: Final = 10
#: what a small file may unpack to, and the memory that reading it may take
_LARGEST_UNPACKED: Final = 2_000_000_000
_MEMORY: Final = 2 << 30
_CPU_S: Final = 300
#: a number is told by a dozen cells
_MOST_CELLS: Final = 100
#: characters of a row
_LONGEST_ROW: Final = 32_767
_OVER: Final = (
    "it cannot be read in the memory that a file may take: it is damaged, or has cells far away from the"
    " others; copy the rows to a new sheet, or save CSV"
)
_NO_SHEET: Final = "it is not an XLSX file with a sheet in it"
#: an XLSX file writes control characters in cells as `_x000A_`
_ESCAPED: Final = re.compile(r"_x00([01][0-9A-Fa-f]|7[Ff])_")


class SheetError(Exception):
    """The file cannot be read. The text says why and quotes nothing."""


def sheet_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of the first sheet, each with its line and its cells. Raises SheetError."""
    environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    process = subprocess.Popen(  # noqa: S603 - this program itself
        [sys.executable, "-m", "xiaohao.inventory.sheets", str(path.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None  # noqa: S101 - they are pipes
        try:
            while True:
                try:
                    row = marshal.load(process.stdout)  # noqa: S302 - what our own process wrote
                except (EOFError, ValueError, TypeError):
                    break
                if row is None:
                    return
                yield row
            said = process.stderr.read().decode(errors="replace").strip()
            raise SheetError(said if process.wait() == _REFUSED else _OVER)
        finally:
            process.kill()


def read(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The same in this process. Raises SheetError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_UNPACKED:
                raise SheetError("it unpacks to more than 2 GB")
        sheet = load_workbook(path).get_sheet_by_index(0)
        first = sheet.start[0] if sheet.start is not None else 0
        for place, found in enumerate(sheet.iter_rows()):
            line = first + place + 1
            cells = [_cell(value) for value in found]
            while cells and not cells[-1]:
                cells.pop()
            if len(cells) > _MOST_CELLS:
                raise SheetError(f"line {line} has more than {_MOST_CELLS} cells")
            if sum(map(len, cells)) > _LONGEST_ROW:
                raise SheetError(f"line {line} is longer than {_LONGEST_ROW} characters")
            yield line, cells
    except (CalamineError, zipfile.BadZipFile, IndexError, ValueError, RuntimeError):
        raise SheetError(_NO_SHEET) from None
    except MemoryError:
        raise SheetError(_OVER) from None


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date | time):
        return value.isoformat()
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), str(value))
    return text.strip().removeprefix("'")


def main() -> int:
    """Write the rows of one file, and None behind the last one."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    # Where memory is short all the same, this process is the one to end.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    for what, most in (
        (resource.RLIMIT_AS, min(_MEMORY, half)),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    try:
        for row in read(Path(sys.argv[1])):
            marshal.dump(row, sys.stdout.buffer)
        marshal.dump(None, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except SheetError as error:
        sys.stdout.buffer.flush()
        sys.stderr.write(str(error))
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
