"""Captures of calls that nobody knows are kept and reported."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.calls_store.lives import life
from tests.recordings.synthetic import CaptureFolder
from tests.recordings.test_service import Studio, written
from xiaohao.calls.journal import CallBegan, CallJournal
from xiaohao.database.engine import Database
from xiaohao.recordings import strays
from xiaohao.recordings.command import strays as listed
from xiaohao.secrecy import Vault
from xiaohao.settings import KEY_VARIABLE


def _age(folder: CaptureFolder, seconds: float) -> None:
    for path in folder.path.rglob(f"*{folder.call_id}*"):
        os.utime(path, (time.time() - seconds,) * 2)


async def test_what_nobody_knows_is_reported_and_kept(
    database: Database,
    database_url: str,
    vault: Vault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And neither a call that goes on, nor one that waits, nor one whose end the switch may yet write."""
    studio = Studio(database, vault, tmp_path)
    captures = studio.settings.captures_folder
    lost, fresh = (written(CaptureFolder(captures)) for _ in range(2))
    goes_on = life("cus_1")[0]
    assert isinstance(goes_on, CallBegan)
    journal = CallJournal(database, vault)
    await journal.write([goes_on])
    journal.close()
    talking = written(CaptureFolder(captures, goes_on.call.id), complete=False)
    waiting = written(await studio.ended(edge_id="another"))
    for folder in (lost, talking, waiting):
        _age(folder, 601)
    before = sorted(studio.left())
    await studio.conversions.convert_due()
    assert studio.conversions.strays == {lost.call_id}
    [stray] = await strays.find(database, captures)
    assert (stray.call_id, len(stray.files)) == (lost.call_id, 2)
    assert stray.bytes == sum(path.stat().st_size for path in captures.rglob(f"*{lost.call_id}*"))
    assert set(before) <= set(studio.left())
    monkeypatch.setenv(KEY_VARIABLE, bytes(range(32)).hex())  # that of the fixture `vault`
    studio.settings.database.url = database_url
    [line] = await asyncio.to_thread(listed, studio.settings)
    assert line.split()[1:] == [str(stray.bytes), *stray.files]
    _age(fresh, 602)
    assert [one.call_id for one in await strays.find(database, captures)] == [fresh.call_id, lost.call_id]
    await studio.conversions.close()
