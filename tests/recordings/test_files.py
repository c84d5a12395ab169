"""The store says in one way what goes wrong with it, whatever its library says."""

import subprocess
import sys
from pathlib import Path

_FULL = """
import asyncio, os, resource, sys
from pathlib import Path
from xiaohao.recordings.files import RecordingFiles
from xiaohao.recordings.model import StoreAway
from xiaohao.settings import Settings

folder = Path(sys.argv[1])
(folder / "draft").write_bytes(bytes(5000))
# a file can become no longer than this: to the store it looks like a disk without room
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
settings = Settings()
settings.recording.folder = str(folder / "store")
try:
    asyncio.run(RecordingFiles(settings).put("2026/11/28/a.wav", folder / "draft"))
except StoreAway as error:
    print(error)
print([path.name for path in (folder / "store").rglob("*") if path.is_file()], flush=True)
# the library's threads may not have let go of Python yet, and end it by SIGABRT when it goes politely
os._exit(0)
"""


def test_a_store_without_room(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("the store cannot be read or written")
    assert "a.wav" not in said[1]
