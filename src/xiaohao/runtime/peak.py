"""Whether calls need the whole machine or are even turned away: what may be late is put off then.

The switch says so by touching a file in the runtime folder; the worker, on the same machine, looks at it.
"""

import time
from pathlib import Path
from typing import Final

from xiaohao.settings import Settings

_FRESH_S: Final = 2.5
_SPARE: Final = 0.08


class Peak:
    """One machine's. Costs a file's time of change, and nothing where it is not asked."""

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings.runtime_folder) / "edge" / "overload"

    def goes_on(self) -> None:
        """Calls need the whole machine now; to be said about once a second. Raises OSError."""
        self._path.touch()

    def is_now(self) -> bool:
        """Whether that was said a moment ago."""
        try:
            age_s = time.time() - self._path.stat().st_mtime
        except OSError:
            return False
        return abs(age_s) < _FRESH_S  # the clock may have been set back since


class Processors:
    """What the machine's processors had to spare, from one look to the next."""

    def __init__(self) -> None:
        self._idle, self._total = self._ticks()

    def are_full(self) -> bool:
        """Whether next to nothing was left since the last look. Raises OSError."""
        idle, total = self._ticks()
        spare, passed = idle - self._idle, total - self._total
        self._idle, self._total = idle, total
        return spare < passed * _SPARE

    @staticmethod
    def _ticks() -> tuple[int, int]:
        # proc(5): user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)
