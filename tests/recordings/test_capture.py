"""Which files are whose, and when a capture is whole."""

from pathlib import Path

from tests.recordings.audio import HZ_A
from tests.recordings.synthetic import PORT_A, CaptureFolder, simple, talk
from xiaohao.recordings import capture


def test_each_call_gets_its_own_captures(tmp_path: Path) -> None:
    one, other = CaptureFolder(tmp_path, "call"), CaptureFolder(tmp_path, "call-57dd40420f1603a2")
    packets = talk("PCMA", HZ_A, PORT_A, 0, 0.1)
    one.write(packets, simple(["PCMA"]), stem="f" * 16)
    one.write(packets, simple(["PCMA"]), complete=False)
    other.write(packets, simple(["PCMA"]))
    (tmp_path / "pcaps" / "notes.txt").write_text("not rtpengine's")
    found = capture.scan(tmp_path)
    assert {call: [(one.stem, one.complete) for one in captures] for call, captures in found.items()} == {
        "call": [("call-57dd40420f1603a2", False), ("call-" + "f" * 16, True)],
        "call-57dd40420f1603a2": [("call-57dd40420f1603a2-57dd40420f1603a2", True)],
    }
    capture.remove(tmp_path, found["call"])
    assert capture.find(tmp_path, "call") == []
    assert [one.complete for one in capture.find(tmp_path, other.call_id)] == [True]


def test_metadata_that_was_finished_but_not_moved_proves_a_whole_capture(tmp_path: Path) -> None:
    folder = CaptureFolder(tmp_path)
    folder.write([], simple(["PCMA"]))
    [moved] = (tmp_path / "metadata").iterdir()
    moved.rename(tmp_path / "tmp" / moved.with_suffix(".tmp").name)
    assert [one.complete for one in capture.find(tmp_path, folder.call_id)] == [True]


def test_a_pcap_without_metadata_is_not_complete(tmp_path: Path) -> None:
    folder = CaptureFolder(tmp_path)
    folder.write([], simple(["PCMA"]))
    next((tmp_path / "metadata").iterdir()).unlink()
    assert [one.complete for one in capture.find(tmp_path, folder.call_id)] == [False]
