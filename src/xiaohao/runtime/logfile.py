"""Bounded log files for whatever a child process writes."""

import contextlib
import itertools
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from xiaohao.secrecy import masked

FILE_BYTES: Final = 10_000_000
OLD_FILES: Final = 3

_NARROW: Final = {0xFF10 + digit: str(digit) for digit in range(10)}


class BoundedLog:
    """A log file that is set aside when full: `name.log`, `name.log.1`, … `name.log.3`, the oldest dropped.

    A full disk loses lines and stops nobody.
    """

    def __init__(self, path: Path, limit: int = FILE_BYTES, keep: int = OLD_FILES) -> None:
        self._path = path
        self._limit = limit
        self._keep = keep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, data: bytes) -> None:
        """Append `data`, beginning a new file first when this one would grow beyond its limit."""
        with contextlib.suppress(OSError):
            if self._size and self._size + len(data) > self._limit:
                self._set_aside()
            self._size += self._file.write(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _set_aside(self) -> None:
        self._file.close()
        old = [self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1)]
        for newer, older in reversed(list(itertools.pairwise([self._path, *old]))):
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("wb", buffering=0)
        self._size = 0


class NumberVeil:
    """Masks telephone numbers in a stream of log bytes; a number cut in two by its buffers is seen too."""

    # Not what stands within a longer word, as a call id or a branch, unless it is behind a plus.
    _NUMBER: Final = re.compile(rb"(?:(?<![0-9A-Za-z.-])\+?(?=\d{8,20}(?![0-9A-Za-z-]))|\+)(\d{8,20})")
    #: as it is, percent-encoded, or of full width
    _DIGIT: Final = rb"(?:[0-9]|%3[0-9]|\xef\xbc[\x90-\x99])"
    #: encoded, or with separators (RFC 3966 section 5.1.1); not a date, an IPv4 address or a call id
    _SPELLED: Final = re.compile(
        rb"(?<![0-9A-Za-z.%-])"
        rb"(?!\d{4}-\d\d-\d\d|\d{1,3}(?:\.\d{1,3}){3}(?![0-9.])|\d{8}-\d{4}-8\d{3}-)"
        rb"\+?" + _DIGIT + rb"(?:[ .()/-]{0,2}" + _DIGIT + rb"){7,19}(?![0-9A-Za-z])"
    )
    _CUT: Final = re.compile(rb"[^\n]{0,256}\Z")

    def __init__(self) -> None:
        self._held = b""

    def veil(self, data: bytes) -> bytes:
        """The bytes that can be shown now."""
        data = self._held + data
        cut = self._CUT.search(data)
        end = cut.start() if cut else len(data)
        self._held = data[end:]
        shown = self._NUMBER.sub(lambda found: masked(found[1].decode()).encode(), data[:end])
        return self._SPELLED.sub(lambda found: masked(_digits(found[0])).encode(), shown)


def _digits(spelled: bytes) -> str:
    return re.sub(r"\D", "", unquote(spelled.decode("utf-8", "replace"))).translate(_NARROW)


def tail(path: Path, lines: int = 5) -> list[str]:
    """The last lines of a log file, none where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
