"""Whether calls are being turned away on this machine: what may be late is put off then.

The switch says so by touching a file in the runtime folder; the worker, on the same machine, looks at it.
"""

import time
from pathlib import Path
from typing import Final

from xiaohao.settings import Settings

_FRESH_S: Final = 2.5


class Peak:
    """One machine's. Costs a file's time of change, and nothing where it is not asked."""

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings.runtime_folder) / "edge" / "overload"

    def goes_on(self) -> None:
        """Calls are turned away now; to be said about once a second. Raises OSError."""
        self._path.touch()

    def is_now(self) -> bool:
        """Whether that was said a moment ago."""
        try:
            age_s = time.time() - self._path.stat().st_mtime
        except OSError:
            return False
        return age_s < _FRESH_S
