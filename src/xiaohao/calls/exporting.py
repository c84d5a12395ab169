"""CDRs as files: CSV for people and spreadsheets, Parquet for whoever reckons with millions of them.

A file is made page by page while it is sent or written, so that its length costs no memory.
"""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from xiaohao.clock import parse_rfc3339

#: rows of one page, which are one row group of a Parquet file or a part of one
PAGE: Final = 2_000
_GROUP: Final = 20_000
_TEXTS: Final = (
    *("call_id", "binding_id", "order_ref", "user_data", "caller", "callee", "dialled", "displayed"),
)
_MOMENTS: Final = ("received_at", "ringing_at", "answered_at", "ended_at")
_NUMBERS: Final = ("ring_ms", "talk_ms", "sip_code", "q850_cause")
_OPERATORS: Final = ("customer_id", "trunk_in", "trunk_out")
#: the columns of a file, in their order
COLUMNS: Final = (*_TEXTS, *_MOMENTS, "ring_ms", "talk_ms", "ended_by", "reason", "sip_code", "q850_cause")
COLUMNS_BEHIND: Final = ("in_grace", "recording", "corrected_by")
#: what a spreadsheet would take for a formula, in words of a customer's own
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_FREE_TEXTS: Final = ("order_ref", "user_data")

Document = dict[str, Any]


class Format(StrEnum):
    """Of a file of CDRs."""

    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES: Final = {Format.CSV: "text/csv; charset=utf-8", Format.PARQUET: "application/vnd.apache.parquet"}


def columns(*, for_operator: bool) -> tuple[str, ...]:
    """The names of a file's columns."""
    return (*COLUMNS, *COLUMNS_BEHIND, *(_OPERATORS if for_operator else ()))


class _Writer(Protocol):
    def add(self, documents: Sequence[Document]) -> bytes:
        """The next bytes of the file, with these rows or with some of them."""

    def end(self) -> bytes:
        """The last bytes."""


async def written(
    pages: AsyncIterator[list[Document]], format_: Format, *, for_operator: bool
) -> AsyncIterator[bytes]:
    """The file of these CDRs, part by part. Raises what reading them raises."""
    names = columns(for_operator=for_operator)
    writer: _Writer = _Csv(names) if format_ is Format.CSV else _Parquet(names)
    async for documents in pages:
        if part := writer.add(documents):
            yield part
    yield writer.end()


class _Csv:
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        # a spreadsheet takes a file for UTF-8 where it begins so
        self._begun = "\ufeff" + ",".join(names) + "\n"

    def add(self, documents: Sequence[Document]) -> bytes:
        text = io.StringIO()
        text.write(self._begun)
        self._begun = ""
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows([_cell(name, document.get(name)) for name in self._names] for document in documents)
        return text.getvalue().encode()

    def end(self) -> bytes:
        return self._begun.encode()


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if name in _FREE_TEXTS and isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


class _Parquet:
    """Row groups of `_GROUP` rows; moments are UTC with microseconds' type and milliseconds' exactness."""

    def __init__(self, names: Sequence[str]) -> None:
        # 60 MB of library that only this needs
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415

        def kind(name: str) -> Any:
            if name in _MOMENTS:
                return pa.timestamp("ms", tz="UTC")
            if name in _NUMBERS:
                return pa.int64()
            return pa.bool_() if name == "in_grace" else pa.string()

        self._pa = pa
        self._schema = pa.schema([(name, kind(name)) for name in names])
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting: list[Document] = []

    def add(self, documents: Sequence[Document]) -> bytes:
        self._waiting += documents
        if len(self._waiting) >= _GROUP:
            self._write()
        return self._sink.take()

    def end(self) -> bytes:
        if self._waiting:
            self._write()
        self._writer.close()
        return self._sink.take()

    def _write(self) -> None:
        rows, self._waiting = self._waiting, []
        arrays = [
            self._pa.array([_value(name, row.get(name)) for row in rows], type=self._schema.field(name).type)
            for name in self._schema.names
        ]
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))


def _value(name: str, value: Any) -> Any:
    if name in _MOMENTS and value is not None:
        return datetime.fromtimestamp(parse_rfc3339(value) // 1000 / 1000, UTC)
    return value


class _Sink(io.RawIOBase):
    """What the Parquet writer takes for a file that is only ever added to."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        """As a file says it."""
        return True

    def write(self, part: Any) -> int:
        """Take the next bytes."""
        taken = bytes(part)
        self._parts.append(taken)
        self._place += len(taken)
        return len(taken)

    def tell(self) -> int:
        """How many bytes there were."""
        return self._place

    def take(self) -> bytes:
        """Hand out what has come since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
