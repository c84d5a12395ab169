"""A disk that can be filled to its last byte."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own in `folder`; fails, with the reason, where nobody may mount one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        how = "run as root, or in `unshare --user --map-root-user --mount`"
        pytest.fail(f"a full disk needs a mount ({done.stderr.strip()}): {how}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all that is left."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left") as caught:
        while True:
            file.write(bytes(4096))
    assert caught.value.errno == errno.ENOSPC
    os.sync()
    return filler
