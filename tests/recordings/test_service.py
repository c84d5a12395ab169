"""From the row of a call that ended to the file, the event and the empty capture folder."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.calls_store.lives import Rows, life, locked
from tests.recordings.audio import HZ_A, HZ_B, listen
from tests.recordings.synthetic import PORT_A, PORT_B, START_US, CaptureFolder, simple, talk
from tests.recordings.unseal import KEY
from xiaohao.audit.service import Audit
from xiaohao.calls.journal import CallEnded, CallJournal
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.errors import Refusal
from xiaohao.recordings import capture, store
from xiaohao.recordings.conversions import Conversions
from xiaohao.recordings.converter import ConversionFailed, Converter, Job
from xiaohao.recordings.locks import CallLock
from xiaohao.recordings.model import AudioFile, Failure, RecordingState, Sound, Stored, Voice
from xiaohao.recordings.service import Recordings
from xiaohao.runtime.peak import Peak
from xiaohao.secrecy import Vault
from xiaohao.settings import ObjectStore, Settings
from xiaohao.tenants.model import Principal

CALL_S = 2
CUSTOMER = Principal("key_1", "cus_1", None)
#: for what does not lie in the SQL
on_one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass
class Clock:
    #: past the moment at which the journal writes its rows
    now: int = field(default_factory=lambda: now_us() + 60 * SECOND)

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@dataclass
class Studio:
    """A database, a capture folder, a worker's conversions."""

    database: Database
    vault: Vault
    folder: Path
    clock: Clock = field(default_factory=Clock)
    opened: list[Conversions] = field(default_factory=list)
    object_store: ObjectStore = field(default_factory=ObjectStore)

    def __post_init__(self) -> None:
        self.settings = Settings(runtime_folder=str(self.folder / "run"))
        self.settings.recording.folder = str(self.folder / "recordings")
        self.settings.object_store = self.object_store
        audit = Audit(self.database, self.vault, self.clock)
        self.recordings = Recordings(self.database, self.vault, self.settings, audit, self.clock)
        self.conversions = self.another()

    def another(self) -> Conversions:
        """A second worker, or the same one after a restart."""
        made = Conversions(self.database, self.vault, self.settings, self.clock)
        self.opened.append(made)
        return made

    async def ended(self, customer_id: str | None = "cus_1", **facts: Any) -> CaptureFolder:
        """A call of two seconds has ended; its captures are to be written into what is given back."""
        ended_at = facts.pop("ended_at", START_US + CALL_S * SECOND)
        changes = life(customer_id, received_at=ended_at - CALL_S * SECOND)
        assert isinstance(changes[-1], CallEnded)
        call = msgspec.structs.replace(changes[-1].call, ended_at=ended_at, **facts)
        journal = CallJournal(self.database, self.vault)
        await journal.write([CallEnded(call, record=not call.unrecorded)])
        journal.close()
        return CaptureFolder(self.settings.captures_folder, call.id)

    async def ended_unrecorded(self) -> CaptureFolder:
        """The same of one that could not be recorded, because the disk was full."""
        return await self.ended(unrecorded=True)

    async def row(self, call_id: str) -> dict[str, Any]:
        return (await Rows.of(self.database, call_id)).recordings[0]

    def left(self) -> list[Path]:
        """Captures and drafts that are still there."""
        return [path for path in Path(self.settings.runtime_folder).rglob("*") if path.is_file()]


def written(folder: CaptureFolder, *, complete: bool = True) -> CaptureFolder:
    """A talks, then B."""
    packets = talk("PCMA", HZ_A, PORT_A, 0.2, 0.5, ssrc=1) + talk("PCMA", HZ_B, PORT_B, 1.0, 0.5, ssrc=2)
    folder.write(packets, simple(["PCMA"]), complete=complete)
    return folder


@pytest.fixture
async def studio(database: Database, vault: Vault, tmp_path: Path) -> AsyncIterator[Studio]:
    studio = Studio(database, vault, tmp_path)
    yield studio
    for conversions in studio.opened:
        await conversions.close()


async def test_a_recorded_call_gets_its_recording(studio: Studio) -> None:
    call_id = written(await studio.ended()).call_id
    assert (await studio.recordings.get("cus_1", call_id)).state is RecordingState.PENDING
    with pytest.raises(Refusal, match="recording_not_ready"):
        await studio.recordings.audio(CUSTOMER, call_id)

    assert await studio.conversions.convert_due() == 1

    recording = await studio.recordings.get("cus_1", call_id)
    audio = await studio.recordings.audio(CUSTOMER, call_id)
    body = b"".join([piece async for piece in audio.stream(0, audio.length)])
    (studio.folder / "copy.wav").write_bytes(body)
    assert (audio.media_type, audio.name) == ("audio/wav", f"{call_id}.wav")
    assert recording.path == f"2026/11/23/{call_id}.wav.sealed"
    sealed = (studio.folder / "recordings" / recording.path).read_bytes()
    assert recording.stored == Stored(len(sealed), hashlib.sha256(sealed).hexdigest())
    assert (recording.state, recording.format, recording.error) == (RecordingState.READY, "wav", None)
    assert (recording.size, recording.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert (recording.duration_ms, recording.ready_at) == (2000, studio.clock.now)
    heard = listen(studio.folder / "copy.wav")
    assert heard.level("left", HZ_A, 0.25, 0.65) == pytest.approx(1, abs=0.05)
    assert heard.level("right", HZ_B, 1.05, 1.45) == pytest.approx(1, abs=0.05)
    assert studio.left() == []
    assert (studio.folder / "recordings").stat().st_mode & 0o077 == 0
    assert await studio.conversions.convert_due() == 0


async def test_the_customer_is_told_once_and_exactly(studio: Studio) -> None:
    call_id = written(await studio.ended()).call_id
    await studio.conversions.convert_due()
    recording = await studio.recordings.get("cus_1", call_id)
    [event] = [
        row for row in (await Rows.of(studio.database, call_id)).events if row["kind"] == "recording.ready"
    ]
    body = msgspec.json.decode(studio.vault.open(event["body_sealed"]))
    assert body["data"]["call_id"] == call_id
    assert body["data"]["recording"] == {
        "call_id": call_id,
        "state": "ready",
        "failure": None,
        "url": f"/v1/recordings/{call_id}/audio",
        "waveform_url": f"/v1/recordings/{call_id}/waveform",
        "format": "wav",
        "media_type": "audio/wav",
        "bytes": recording.size,
        "sha256": recording.sha256,
        "duration_ms": 2000,
        "cut_off": False,
        "sample_rate": 8000,
        "channels": {"left": "caller", "right": "callee"},
        "caller": {"codecs": ["PCMA"], "voice_ms": 500, "level_dbfs": -16.2},
        "callee": {"codecs": ["PCMA"], "voice_ms": 500, "level_dbfs": -16.2},
        "begins_at": "2026-11-23T12:09:43.000Z",
        "begins_at_local": "2026-11-23T20:09:43.000+08:00",
        "ready_at": body["timestamp"],
        "kept_until": "2027-05-22T12:09:45.000Z",
        "held": False,
    }


async def test_a_call_of_nobodys_number_is_recorded_and_nobody_told(studio: Studio) -> None:
    call_id = written(await studio.ended(customer_id=None)).call_id
    assert await studio.conversions.convert_due() == 1
    assert (await Rows.of(studio.database, call_id)).events == []
    assert (await studio.recordings.get(None, call_id)).state is RecordingState.READY


async def test_recordings_wait_while_calls_are_turned_away(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(await studio.ended())
    (Path(studio.settings.runtime_folder) / "edge").mkdir(parents=True)
    peak = Peak(studio.settings)
    assert not peak.is_now()
    peak.goes_on()
    assert await studio.conversions.convert_due() == 0
    os.utime(Path(studio.settings.runtime_folder) / "edge" / "overload", (1, 1))
    assert await studio.conversions.convert_due() == 1

    written(await studio.ended())
    peak.goes_on()
    assert await studio.conversions.convert_due() == 0
    monkeypatch.setattr("xiaohao.recordings.conversions._PUT_OFF_S", 0.0)  # a peak that does not end
    assert await studio.conversions.convert_due() == 1


async def test_customers_see_their_own_recordings_only(studio: Studio) -> None:
    call_id = (await studio.ended()).call_id
    for customer_id, asked in (("cus_2", call_id), ("cus_1", "no such call"), (None, "no such call")):
        with pytest.raises(Refusal, match="not_found"):
            await studio.recordings.get(customer_id, asked)
        with pytest.raises(Refusal, match="not_found"):
            await studio.recordings.audio(Principal("key_1", customer_id, None), asked)
    assert (await studio.recordings.get(None, call_id)).call_id == call_id


@on_one_database
async def test_a_capture_that_is_not_complete_is_waited_for(studio: Studio) -> None:
    folder = await studio.ended(ended_at=studio.clock.now)
    written(folder, complete=False)
    before = await studio.row(folder.call_id)
    assert await studio.conversions.convert_due() == 0
    assert await studio.row(folder.call_id) == before
    assert len(folder.files()) == 2
    [waiting] = (folder.path / "tmp").iterdir()
    waiting.rename(folder.path / "metadata" / waiting.with_suffix(".txt").name)
    assert await studio.conversions.convert_due() == 1


@on_one_database
async def test_a_capture_that_never_gets_complete_is_taken_as_it_is(studio: Studio) -> None:
    folder = written(await studio.ended(ended_at=studio.clock.now), complete=False)
    studio.clock.forward(9.9)
    assert await studio.conversions.convert_due() == 0
    studio.clock.forward(0.2)
    assert await studio.conversions.convert_due() == 1
    recording = await studio.recordings.get("cus_1", folder.call_id)
    assert (recording.state, recording.cut_off) == (RecordingState.READY, True)
    assert studio.conversions.cut_off == 1
    assert studio.left() == []


async def test_a_talk_of_which_nothing_was_captured_says_so(studio: Studio) -> None:
    """As where rtpengine could not open its files; a call that nobody answered had nothing to say."""
    for answered_at in (START_US, None):
        CaptureFolder(studio.settings.captures_folder)
        call_id = (await studio.ended(answered_at=answered_at)).call_id
        assert await studio.conversions.convert_due() == 1
        recording = await studio.recordings.get("cus_1", call_id)
        assert recording.cut_off is (answered_at is not None)


async def test_another_machines_captures_are_left_to_its_own_worker(studio: Studio) -> None:
    call_id = (await studio.ended(edge_id="edge2")).call_id
    assert await studio.conversions.convert_due() == 0
    assert (await studio.recordings.get("cus_1", call_id)).state is RecordingState.PENDING
    studio.settings.edge.id = "edge2"
    assert await studio.another().convert_due() == 1


async def test_garbage_is_tried_again_and_then_kept_and_reported(studio: Studio) -> None:
    folder = await studio.ended()
    folder.write(b"\x13\x37" * 100, simple(["PCMA"]))
    pauses = []
    for _ in range(8):
        assert await studio.conversions.convert_due() == 0
        row = await studio.row(folder.call_id)
        pauses.append((row["due_at"] - studio.clock.now) // SECOND)
        studio.clock.now = max(studio.clock.now, row["due_at"])
    assert pauses[:7] == [2, 4, 8, 16, 32, 64, 128]
    assert (row["state"], row["tries"], row["error"]) == ("failed", 8, "the capture is not a pcap file")
    studio.clock.forward(100_000)
    assert await studio.conversions.convert_due() == 0
    assert len(folder.files()) == 2
    kinds = (await Rows.of(studio.database, folder.call_id)).kinds
    assert "recording.ready" not in kinds
    with pytest.raises(Refusal, match="recording_failed"):
        await studio.recordings.audio(CUSTOMER, folder.call_id)

    written(folder)  # somebody repaired it
    await studio.recordings.retry(folder.call_id)
    assert await studio.conversions.convert_due() == 1
    with pytest.raises(Refusal, match="not_found"):
        await studio.recordings.retry(folder.call_id)


@on_one_database
async def test_trouble_of_the_machine_gives_no_recording_up(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FIRST_PAUSE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(f"xiaohao.recordings.gate.{name}", 0.0)
    studio.conversions = studio.another()
    folder = written(await studio.ended())
    in_the_way = studio.folder / "recordings"
    in_the_way.write_text("a file where the folder should be")
    for _ in range(12):
        assert await studio.conversions.convert_due() == 0
        row = await studio.row(folder.call_id)
        assert (row["state"], row["error"]) == ("pending", "the store cannot be read or written: File exists")
        studio.clock.now = row["due_at"]
    assert not studio.conversions.gate.was_open
    assert len(folder.files()) == 2
    in_the_way.unlink()
    assert await studio.conversions.convert_due() == 1
    assert (await studio.row(folder.call_id))["error"] is None
    assert studio.left() == []


async def test_a_clock_that_is_set_back(studio: Studio) -> None:
    """What was put off by the clock before waits no longer than it would have."""
    folder = written(await studio.ended())
    in_the_way = studio.folder / "recordings"
    in_the_way.write_text("a file where the folder should be")
    assert await studio.conversions.convert_due() == 0
    in_the_way.unlink()
    studio.conversions = studio.another()  # whose gate is open
    assert await studio.conversions.pull_in() == 0
    studio.clock.forward(-3600)
    assert await studio.conversions.convert_due() == 0
    assert await studio.conversions.pull_in() == 1
    assert await studio.conversions.convert_due() == 1
    assert (await studio.row(folder.call_id))["state"] == "ready"


@on_one_database
async def test_a_capture_folder_that_is_away_is_not_taken_for_silence(studio: Studio) -> None:
    folder = written(await studio.ended())
    folder.path.rename(folder.path.with_name("unmounted"))
    before = await studio.row(folder.call_id)
    with pytest.raises(FileNotFoundError):
        await studio.conversions.convert_due()
    assert await studio.row(folder.call_id) == before
    folder.path.with_name("unmounted").rename(folder.path)
    assert await studio.conversions.convert_due() == 1


async def test_two_workers_share_the_work_and_do_nothing_twice(studio: Studio) -> None:
    calls = [written(await studio.ended()).call_id for _ in range(6)]
    other = studio.another()
    done = await asyncio.gather(studio.conversions.convert_due(), other.convert_due())
    assert sum(done) == 6
    for call_id in calls:
        found = await Rows.of(studio.database, call_id)
        assert found.recordings[0]["state"] == "ready"
        assert found.kinds.count("recording.ready") == 1
    assert studio.left() == []


async def test_what_another_worker_is_at_is_left_to_it_until_it_dies(studio: Studio) -> None:
    folder = written(await studio.ended())
    drafts = Path(studio.settings.runtime_folder) / "conversions"
    drafts.mkdir()
    lock = CallLock.take(drafts, folder.call_id)
    assert lock is not None
    assert await studio.conversions.convert_due() == 0
    (drafts / f"{folder.call_id}-1.wav").write_bytes(b"half a file")
    os.close(lock._handle)  # as the kernel does with what was a dead process's
    assert await studio.conversions.convert_due() == 1
    assert studio.left() == []


async def test_a_row_that_changed_is_not_touched(studio: Studio) -> None:
    folder = written(await studio.ended())
    async with studio.database.read() as connection:
        [row] = await store.due(connection, "edge1", studio.clock.now, 10)
        assert await store.unchanged(connection, [row]) == [row]
    assert await studio.conversions.convert_due() == 1
    silence = Sound((), Voice(0, None))
    audio = AudioFile("mp3", 1, "f" * 64, 1, 8000, silence, silence, 1, Stored(1, "f" * 64))
    async with studio.database.begin() as connection:
        assert await store.unchanged(connection, [row]) == []
        assert not await store.put_ready(
            connection, studio.vault, row, audio, KEY, "elsewhere.mp3", studio.clock.now
        )
        assert not await store.put_off(connection, row, "too late", studio.clock.now)
        assert not await store.put_failed(connection, row, "too late", Failure.CAPTURE)
    assert (await studio.recordings.get(None, folder.call_id)).format == "wav"


def test_a_lock_is_one_workers_at_a_time(tmp_path: Path) -> None:
    first = CallLock.take(tmp_path, "call")
    assert first is not None
    assert CallLock.take(tmp_path, "call") is None
    other = CallLock.take(tmp_path, "another call")
    assert other is not None
    first.release()
    again = CallLock.take(tmp_path, "call")
    assert again is not None
    again.release()
    other.release()
    assert list(tmp_path.iterdir()) == []


async def test_captures_of_finished_recordings_are_swept_away(studio: Studio) -> None:
    folder = written(await studio.ended())
    assert await studio.conversions.convert_due() == 1
    written(folder)  # as if the worker had died before it deleted them
    unknown = written(CaptureFolder(folder.path))
    failed = await studio.ended()
    failed.write(b"garbage, but perhaps somebody can read it", simple(["PCMA"]))
    drafts = Path(studio.settings.runtime_folder) / "conversions"
    for name in ("dead.lock", "dead-1.wav"):
        (drafts / name).touch()
    assert await studio.another().convert_due() == 0
    kept = {path.name.removeprefix("rtpengine-meta-")[:36] for path in studio.left()}
    assert kept == {unknown.call_id, failed.call_id}


@on_one_database
async def test_a_locked_database_loses_nothing(studio: Studio) -> None:
    folder = written(await studio.ended())
    with locked(studio.database), pytest.raises(DatabaseUnavailable):
        await studio.conversions.convert_due()
    assert len(folder.files()) == 2
    assert await studio.conversions.convert_due() == 1


def job_of(folder: CaptureFolder, target: Path) -> Job:
    captures = capture.find(folder.path, folder.call_id)
    return Job(captures, START_US, START_US + SECOND, "wav", str(target), KEY)


async def test_a_converter_that_dies_is_replaced(tmp_path: Path) -> None:
    folder = written(CaptureFolder(tmp_path / "captures"))
    converter = Converter()
    first = await converter.convert(job_of(folder, tmp_path / "1.wav"), 30)
    process = converter._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)  # it hangs …
    with pytest.raises(ConversionFailed, match="too long"):
        await converter.convert(job_of(folder, tmp_path / "2.wav"), 0.1)
    assert await process.wait() == -signal.SIGKILL
    waiting = asyncio.create_task(converter.convert(job_of(folder, tmp_path / "3.wav"), 30))
    async with asyncio.timeout(10):
        while converter._process is None:  # noqa: ASYNC110 - nothing tells when it is there
            await asyncio.sleep(0.01)
    os.kill(converter._process.pid, signal.SIGSEGV)  # … or a decoder falls over
    with pytest.raises(ConversionFailed, match="died"):
        await waiting
    assert await converter.convert(job_of(folder, tmp_path / "4.wav"), 30) == first
    await converter.close()


def test_a_converter_ends_with_its_worker(tmp_path: Path) -> None:
    folder = written(CaptureFolder(tmp_path / "captures"))
    process = subprocess.Popen(
        [sys.executable, "-m", "xiaohao.recordings.converter"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answer, _ = process.communicate(
        msgspec.json.encode(job_of(folder, tmp_path / "1.wav")) + b"\n", timeout=30
    )
    assert process.returncode == 0
    assert msgspec.json.decode(answer)["audio"]["duration_ms"] == 1000
