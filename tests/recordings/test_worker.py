"""The worker's process: it converts soon, and killed in the middle it owes nothing for long."""

import os
from pathlib import Path

import msgspec
import pytest

from tests.calls_store.lives import life
from tests.notifications.conftest import until
from tests.notifications.test_worker_process import House
from tests.recordings.audio import HZ_A
from tests.recordings.synthetic import PORT_A, START_US, CaptureFolder, pcap, simple, talk
from xiaohao.audit.service import Audit
from xiaohao.calls.journal import CallEnded, CallJournal
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.recordings.model import Recording, RecordingState
from xiaohao.recordings.service import Recordings
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings

CALL_S = 60


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_killed_in_the_middle_of_a_conversion(
    database: Database, database_url: str, vault: Vault, tmp_path: Path
) -> None:
    house = House(tmp_path, database_url)
    settings = Settings.load(house.config)
    recordings = Recordings(database, vault, settings, Audit(database, vault))
    capture = pcap(talk("PCMA", HZ_A, PORT_A, 0, CALL_S))
    calls = [await ended(database, vault, settings, capture) for _ in range(10)]

    async def ready() -> list[Recording]:
        found = [await recordings.get(None, call_id) for call_id in calls]
        return [one for one in found if one.state is RecordingState.READY]

    async def some() -> bool:
        return len(await ready()) >= 2

    async def every() -> bool:
        return len(await ready()) == len(calls)

    async with house.worker() as process:
        await until(some, within_s=60)
        [converter] = children(process.pid)
        process.kill()
        await process.wait()
        await until(lambda: not Path(f"/proc/{converter}").exists(), within_s=60)
    async with house.worker():
        await until(every, within_s=60)
        await until(lambda: not left(settings), within_s=60)
    for one in await ready():
        assert one.path is not None
        assert one.stored is not None
        assert os.stat(Path(settings.recording.folder, one.path)).st_size == one.stored.bytes  # noqa: PTH116


async def ended(database: Database, vault: Vault, settings: Settings, capture: bytes) -> str:
    """A call of a minute with its capture; gives back its id."""
    change = life(received_at=START_US)[-1]
    assert isinstance(change, CallEnded)
    call = msgspec.structs.replace(change.call, received_at=now_us() - CALL_S * SECOND, ended_at=now_us())
    CaptureFolder(settings.captures_folder, call.id).write(capture, simple(["PCMA"]))
    journal = CallJournal(database, vault)
    await journal.write([CallEnded(call, record=True)])
    journal.close()
    return call.id


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def left(settings: Settings) -> list[Path]:
    folders = (settings.captures_folder, Path(settings.runtime_folder) / "conversions")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
