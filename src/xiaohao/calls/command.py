"""What `xiaohao cdrs` does: CDRs from the database into a file."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from xiaohao.audit.service import Audit
from xiaohao.calls.exporting import Format, written
from xiaohao.calls.model import Reason
from xiaohao.calls.records import CallRecords, CdrFilter
from xiaohao.numbers.model import canonical
from xiaohao.runtime.commands import opened, plainly, read_choice, read_span
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings
from xiaohao.tenants.model import Principal

#: the audit log has no key for who sits at the machine itself
_AT_THE_MACHINE = Principal("command", None, None)


def export(settings: Settings, file: Path, wanted: Mapping[str, Any]) -> int:
    """Write CDRs into a file whose name ends in .csv or .parquet; gives its bytes. Raises ChoreFailed.

    `wanted` has the fields of `CdrFilter`, moments as RFC 3339. The file appears when it is whole,
    and nobody else can read it.
    """
    try:
        format_ = Format(file.suffix.lower().removeprefix("."))
    except ValueError:
        raise ChoreFailed(f"{file}: the name must end in .csv or .parquet") from None
    with plainly():
        return asyncio.run(_export(settings, file, format_, _filter(wanted)))


def _filter(fields: Mapping[str, Any]) -> CdrFilter:
    chosen = {name: value for name, value in fields.items() if value}
    read_span(chosen)
    if "number" in chosen:
        chosen["number"] = canonical(chosen["number"])
        if chosen["number"] is None:
            raise ChoreFailed("--number: not a telephone number")
    if "reason" in chosen:
        chosen["reason"] = read_choice("reason", Reason, chosen["reason"])
    return CdrFilter(**chosen)


def _private(path: Path) -> BinaryIO:
    """A new file for nobody else to read: real numbers stand in it."""
    path.unlink(missing_ok=True)  # of a run that was killed
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


async def _export(settings: Settings, file: Path, format_: Format, wanted: CdrFilter) -> int:
    draft = file.with_name(f".{file.name}.part")
    size = 0
    async with opened(settings) as database:
        await database.agree()
        vault = vault_of(settings)
        records = CallRecords(database, vault, Audit(database, vault))
        pages = await records.export(_AT_THE_MACHINE, wanted, format_.value)
        try:
            with _private(draft) as target:
                async for part in written(pages, format_, for_operator=True):
                    size += target.write(part)
            draft.replace(file)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
    return size
