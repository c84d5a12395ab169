"""Where finished recordings are kept: `<yyyy>/<mm>/<dd>/<call id>.<wav|mp3|opus>`, by the call's UTC day."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from xiaohao.clock import SECOND
from xiaohao.recordings.model import Format


def path_of(call_id: str, received_at: int, format_: Format) -> str:
    """The recording's path within the store; `received_at` in µs since the epoch."""
    day = datetime.fromtimestamp(received_at // SECOND, UTC)
    return f"{day:%Y/%m/%d}/{call_id}.{format_}"


class RecordingFiles:
    """The store, in a folder that nobody but the platform's user can open."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder where it is missing. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._store = LocalStore(prefix=folder)

    def put(self, path: str, source: Path) -> None:
        """Store a file: it appears whole or not at all, and takes the place of one that was there.

        It is on the disk when this returns, so that what it was made of may be deleted. Raises OSError.
        """
        try:
            obstore.put(self._store, path, source)
        except BaseError as error:  # a full disk, among others, is none of its OSErrors
            raise OSError(errno.EIO, "the store did not take it") from error
        target = self._folder / path
        _sync(target)
        for folder in target.relative_to(self._folder).parents:
            _sync(self._folder / folder)

    def local(self, path: str) -> Path:
        """The file of a stored recording. Raises FileNotFoundError."""
        file = self._folder / path
        if not file.is_file():
            raise FileNotFoundError("the recording's file is missing")
        return file


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
