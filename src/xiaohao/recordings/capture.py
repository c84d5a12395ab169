"""rtpengine's captures: which files belong to a call, and whether they are complete.

For each recorded call rtpengine (`--recording-method=pcap`) keeps `pcaps/<call id>-<16 hex digits>.pcap`
and, under the same stem, `tmp/rtpengine-meta-<stem>.tmp`. When the call is deleted it closes the pcap,
completes the metadata and only then moves it to `metadata/rtpengine-meta-<stem>.txt`: metadata in its final
place proves that the pcap is whole. Several captures belong to a call in which rtpengine was restarted.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PCAP: Final = re.compile(r"(?P<stem>(?P<call>.+)-[0-9a-f]{16})\.pcap")
_METADATA: Final = re.compile(r"rtpengine-meta-(?P<stem>(?P<call>.+)-[0-9a-f]{16})\.(?:txt|tmp)")
_METADATA_NAMES: Final = ("tmp/rtpengine-meta-{}.tmp", "metadata/rtpengine-meta-{}.txt")
#: the last thing that rtpengine writes before it moves the file; it may crash in between when it is stopped
_END_MARK: Final = b"\ncall end time: "


@dataclass(frozen=True)
class Capture:
    """The paths of one capture; one of the two files may be missing."""

    stem: str
    pcap: str | None
    metadata: str | None
    complete: bool


def scan(folder: Path) -> dict[str, list[Capture]]:
    """All captures by call id, each call's oldest name first.

    Raises OSError where the folder is not there or not rtpengine's: then nobody can say that there is none.
    """
    # In this order metadata that is moved meanwhile is seen twice and not missed.
    waiting, moved, pcaps = (
        {stem: (call, path) for stem, call, path in _files(folder / name, pattern)}
        for name, pattern in (("tmp", _METADATA), ("metadata", _METADATA), ("pcaps", _PCAP))
    )
    captures: dict[str, list[Capture]] = {}
    for stem in sorted({*moved, *waiting, *pcaps}):
        call, metadata = moved.get(stem) or waiting.get(stem) or (None, None)
        _, pcap = pcaps.get(stem, (None, None))
        complete = stem in moved or (metadata is not None and is_finished(metadata))
        captures.setdefault(call or pcaps[stem][0], []).append(Capture(stem, pcap, metadata, complete))
    return captures


def find(folder: Path, call_id: str) -> list[Capture]:
    """The captures of one call; [] where none was made. Raises OSError as `scan` does."""
    return scan(folder).get(call_id, [])


def remove(folder: Path, captures: list[Capture]) -> None:
    """Delete the files, wherever rtpengine has moved them since.

    The pcap goes first, so that no voice is left where the metadata is gone.
    """
    for capture in captures:
        names = (f"pcaps/{capture.stem}.pcap", *(name.format(capture.stem) for name in _METADATA_NAMES))
        for name in names:
            (folder / name).unlink(missing_ok=True)


def _files(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, str, str]]:
    """Stem, call id and path of each file with a name of rtpengine's."""
    for name in os.listdir(folder):  # noqa: PTH208 - ten thousand names must not become as many paths
        if found := pattern.fullmatch(name):
            yield found["stem"], found["call"], f"{folder}/{name}"


def is_finished(metadata: str) -> bool:
    """Whether rtpengine has written this to its end. Raises OSError."""
    try:
        return _END_MARK in Path(metadata).read_bytes()
    except FileNotFoundError:  # moved to its final place just now
        return True
