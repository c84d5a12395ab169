"""What time does to policies: entries that ended leave their lists, and old counts are forgotten."""

from collections.abc import Callable
from typing import Final

from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.database.policy_tables import policy_entries
from xiaohao.policies import counting_store, store
from xiaohao.policies.model import LONGEST_WINDOW_S

_AT_ONCE: Final = 2000
_MINUTE: Final = 60 * SECOND
#: a switch that was away for longer reads everything anew
_KEPT: Final = 60 * _MINUTE
#: clocks of machines differ a little
_MARGIN: Final = 10 * _MINUTE


class Sweeping:
    """Tidies up. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._clock = clock

    async def sweep(self) -> None:
        """Take ended entries off their lists, delete what is not needed any more. In short transactions."""
        now = self._clock()
        ended = [policy_entries.c.expires_at < now - _MINUTE]
        async with self._database.read() as connection:
            found = await store.find_any_entry(connection, ended)
        if found:
            async with self._database.begin() as connection:
                revision = await store.begin_change(connection, entries=True)
                await store.remove_entries(connection, ended, revision, now)
        async with self._database.begin() as connection:
            await store.purge_entries(connection, now - _KEPT)
            await counting_store.forget_seats(connection, now - _MINUTE)
        before = now - LONGEST_WINDOW_S * SECOND - _MARGIN
        gone = _AT_ONCE
        while gone == _AT_ONCE:
            async with self._database.begin() as connection:
                gone = await counting_store.forget_hits(connection, before, _AT_ONCE)
