"""Whether the store takes recordings now: one that does not is asked again and again."""

import time
from typing import Final

import structlog

from xiaohao.recordings.files import RecordingFiles
from xiaohao.recordings.model import StoreAway

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 15.0


class StoreGate:
    """Open until the store fails; then shut until a small object could be stored."""

    def __init__(self, files: RecordingFiles, name: str) -> None:
        self._files, self._name = files, name
        self._shut_since: float | None = None
        self._pause_s, self._ask_at = _FIRST_PAUSE_S, 0.0

    @property
    def was_open(self) -> bool:
        """What was found last."""
        return self._shut_since is None

    async def is_open(self) -> bool:
        """Whether recordings can be stored, as far as is known."""
        if self._shut_since is None:
            return True
        if time.monotonic() < self._ask_at:
            return False
        try:
            await self._files.check(self._name)
        except StoreAway as error:
            self.shut(str(error))
            return False
        away_s = round(time.monotonic() - self._shut_since, 1)
        _log.info("recordings_store_is_back", away_s=away_s)
        self._shut_since, self._pause_s = None, _FIRST_PAUSE_S
        return True

    def shut(self, error: str) -> None:
        """The store has failed."""
        now = time.monotonic()
        if self._shut_since is None:
            self._shut_since = now
            _log.error("recordings_store_is_away", error=error)
        self._ask_at = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
