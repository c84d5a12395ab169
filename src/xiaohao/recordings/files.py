"""The store of finished recordings: a folder, or any S3-compatible store, through one interface.

An object's name is `<yyyy>/<mm>/<dd>/<call id>.<wav|mp3|opus>.sealed`, by the call's UTC day. What is in it
is encrypted (`seal.py`); the store never sees a key.
"""

import asyncio
import os
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from xiaohao.clock import SECOND
from xiaohao.recordings.model import Format, StoreAway
from xiaohao.settings import Settings

_T = TypeVar("_T")

#: a store that does not answer is away; one part of a file is on its way for so long at the most
_CONNECT_S: Final = 3
_REQUEST_S: Final = 30
_TRIES: Final = 2


def path_of(call_id: str, received_at: int, format_: Format) -> str:
    """The recording's path within the store; `received_at` in µs since the epoch."""
    day = datetime.fromtimestamp(received_at // SECOND, UTC)
    return f"{day:%Y/%m/%d}/{call_id}.{format_}.sealed"


class RecordingFiles:
    """The store that the configuration names. Every method raises StoreAway."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError: the secret of an S3 store cannot be read."""
        s3 = settings.object_store
        self._folder = None if s3.bucket else Path(settings.recording.folder)
        self._remote = None
        if self._folder is None:
            self._remote = S3Store(
                s3.bucket,
                prefix=s3.prefix or None,
                endpoint=s3.endpoint or None,
                region=s3.region,
                virtual_hosted_style_request=not s3.endpoint,
                access_key_id=s3.access_key_id,
                secret_access_key=s3.secret(),
                client_options={
                    "allow_http": s3.endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=_CONNECT_S),
                    "timeout": timedelta(seconds=_REQUEST_S),
                },
                retry_config={"max_retries": _TRIES, "retry_timeout": timedelta(seconds=_REQUEST_S)},
            )

    def _store(self) -> LocalStore | S3Store:
        if self._folder is None:
            assert self._remote is not None  # noqa: S101 - one of the two is there
            return self._remote
        try:
            # Nobody but the platform's user can open it.
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _away(error) from error
        return LocalStore(prefix=self._folder)

    async def put(self, path: str, source: Path) -> None:
        """Store a file: it appears whole or not at all, and takes the place of one that was there.

        It is safe when this returns, so that what it was made of may be deleted.
        """
        await _said(obstore.put_async(self._store(), path, source))
        if self._folder is not None:
            try:
                await asyncio.to_thread(_sync, self._folder, path)
            except OSError as error:
                raise _away(error) from error

    async def read(self, path: str, at: int, length: int) -> bytes:
        """Some bytes of an object, fewer where it is too short. Raises FileNotFoundError."""
        found = obstore.get_range_async(self._store(), path, start=at, length=length)
        try:
            return bytes(await _said(found))
        except StoreAway as error:
            # a store refuses a range that begins behind the end; that is no reason to come back later
            if "range" in str(error.__cause__).lower() and (await self.size(path) or 0) <= at:
                return b""
            raise

    async def delete(self, path: str) -> None:
        """Delete an object; one that is not there is no error."""
        with suppress(FileNotFoundError):
            await _said(obstore.delete_async(self._store(), path))

    async def size(self, path: str) -> int | None:
        """How long an object is; None: there is none."""
        try:
            return (await _said(obstore.head_async(self._store(), path)))["size"]
        except FileNotFoundError:
            return None

    async def check(self, name: str) -> None:
        """Find out whether something can be stored now; `name` is the asker's own."""
        path = f"check/{name}"
        await _said(obstore.put_async(self._store(), path, b"xiaohao"))
        await self.delete(path)


async def _said(work: Awaitable[_T]) -> _T:
    """What came of it. Raises FileNotFoundError, StoreAway."""
    try:
        return await work
    except FileNotFoundError:
        raise FileNotFoundError("the recording's object is missing") from None
    except (BaseError, OSError) as error:
        raise _away(error) from error


def _away(error: Exception) -> StoreAway:
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return StoreAway("the store refuses us")
    if isinstance(error, OSError) and error.strerror:
        return StoreAway(f"the store cannot be read or written: {error.strerror}")
    text = str(error)
    for sign in ("No space left on device", "Connection refused", "timed out", "File exists"):
        if sign.lower() in text.lower():
            return StoreAway(f"the store cannot be read or written: {sign}")
    return StoreAway(f"the store cannot be read or written: {type(error).__name__}")


def _sync(folder: Path, path: str) -> None:
    target = folder / path
    for place in (target, *(folder / parent for parent in target.relative_to(folder).parents)):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
