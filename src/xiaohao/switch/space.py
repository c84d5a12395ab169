"""Whether there is room for another recording: a full disk ends recording and never a call."""

import os
import time
from typing import Final

import structlog

from xiaohao.settings import Settings
from xiaohao.switch import metrics

_log = structlog.get_logger()

_LOOK_S: Final = 1.0
#: it goes on only where so much more is free, so that it does not begin and end with every call
_MORE: Final = 1.1


class Space:
    """The disk on which captures lie."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.captures_folder
        self._least = settings.recording.least_free_mb << 20
        self._is_enough, self._look_at = True, 0.0

    def is_enough(self) -> bool:
        """Whether a call may be recorded; looked up once a second at the most."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look()
        return self._is_enough

    def _look(self) -> None:
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return  # rtpengine has not made it yet, or cannot: that is no question of room
        free = disk.f_bavail * disk.f_frsize
        metrics.CAPTURES_FREE.set(free)
        is_enough = free >= self._least * (1 if self._is_enough else _MORE)
        if is_enough == self._is_enough:
            return
        self._is_enough = is_enough
        metrics.RECORDING_STOPPED.set(not is_enough)
        if is_enough:
            _log.warning("recording_goes_on", free_mb=free >> 20)
        else:
            _log.error("recording_stopped_disk_full", free_mb=free >> 20, least_mb=self._least >> 20)
