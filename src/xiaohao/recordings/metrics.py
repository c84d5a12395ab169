"""What the worker counts of recordings. No label holds a number, a call or a customer."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from xiaohao.clock import SECOND, now_us
from xiaohao.recordings.model import Backlog


class RecordingMetrics:
    """One worker's, of the machine whose calls it turns into recordings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"xiaohao_recordings_{name}", text, registry=registry)

        self.ready = Counter("xiaohao_recordings_ready", "Recordings that were made", registry=registry)
        self.deleted = Counter(
            "xiaohao_recordings_deleted", "Recordings that were deleted and are gone", registry=registry
        )
        self._cut_off = gauge("cut_off", "Recordings of this process whose captures were cut off")
        self._strays = gauge("strays", "Calls whose captures lie here and that nobody knows")
        self._waiting = gauge("waiting", "Captures that are not recordings yet")
        self._oldest = gauge("oldest_waiting_seconds", "How long ago the oldest of those calls ended")
        self._failed = gauge("failed", "Recordings that failed for good and wait for the operator")
        self._store_up = gauge("store_up", "1 while the store of recordings takes what it is given")

    def show(self, backlog: Backlog, store_up: bool, cut_off: int, strays: int) -> None:
        """Show what was counted."""
        self._cut_off.set(cut_off)
        self._strays.set(strays)
        self._waiting.set(backlog.waiting)
        oldest = backlog.oldest_waiting
        self._oldest.set(0 if oldest is None else max(now_us() - oldest, 0) / SECOND)
        self._failed.set(backlog.failed)
        self._store_up.set(store_up)
