"""A disk that is really full (ENOSPC): recording stops with an alarm, calls go on, and no capture is lost."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.recordings.disk import fill, small_disk
from tests.recordings.test_service import Studio, written
from xiaohao.database.engine import Database
from xiaohao.database.schema import recordings
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.switch import metrics
from xiaohao.switch.space import Space


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB, as the runtime folder."""
    with small_disk(tmp_path / "run", "4m") as folder:
        yield folder


def test_recording_stops_before_the_disk_is_full_and_goes_on_again(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xiaohao.switch.space._LOOK_S", 0.0)
    settings = Settings(runtime_folder=str(disk))
    settings.recording.least_free_mb = 1
    space = Space(settings)
    assert space.is_enough()  # there is no folder yet
    settings.captures_folder.mkdir()
    assert space.is_enough()
    assert metrics.CAPTURES_FREE._value.get() == pytest.approx(4 << 20, rel=0.1)
    filler = fill(disk)
    assert not space.is_enough()
    assert metrics.RECORDING_STOPPED._value.get() == 1
    os.truncate(filler, (4 << 20) - (1 << 20) - 8192)  # a little more than the least is not enough
    assert not space.is_enough()
    filler.unlink()
    assert space.is_enough()
    assert metrics.RECORDING_STOPPED._value.get() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_conversion_waits_for_room(
    disk: Path, database: Database, vault: Vault, tmp_path: Path
) -> None:
    studio = Studio(database, vault, tmp_path)
    folder = written(await studio.ended())
    filler = fill(disk)
    assert await studio.conversions.convert_due() == 0
    row = await studio.row(folder.call_id)
    assert row["state"] == "pending"
    assert "No space left on device" in row["error"]
    os.truncate(filler, filler.stat().st_size - 16_384)  # room to begin with, and no more
    async with database.begin() as connection:
        await connection.execute(update(recordings).values(tries=20))
    studio.clock.now = row["due_at"]
    assert await studio.conversions.convert_due() == 0
    row = await studio.row(folder.call_id)
    assert row["state"] == "pending", "however often it was tried"
    assert "no room" in row["error"]
    assert len(folder.files()) == 2
    filler.unlink()
    studio.clock.now = row["due_at"]
    assert await studio.conversions.convert_due() == 1
    assert studio.left() == []
    await studio.conversions.close()
