"""Who converts which call, among the workers of one machine: whoever holds the call's lock file.

The kernel lets a lock go the moment its process dies, so that the next worker need not wait for a lease to
run out. Captures lie on one machine, and so all who could want the lock do too.
"""

import fcntl
import os
from pathlib import Path


class CallLock:
    """The right to convert one call."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    @classmethod
    def take(cls, folder: Path, call_id: str) -> "CallLock | None":
        """Get it, or None where another has it. Raises OSError."""
        path = folder / f"{call_id}.lock"
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever let it go in between has deleted the file: then this lock is no longer the call's.
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return cls(path, handle)
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(handle)
        return None

    def release(self) -> None:
        """Give it back."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)
