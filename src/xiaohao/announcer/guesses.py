"""How often callers may guess whom a number leads to, so that nobody finds a number out by trying.

Guesses are counted as calls are whose number a policy limits (docs/decisions/0082): in the database, so that
neither several switches nor a restart give anybody more of them. A call that guesses nothing asks nothing.
"""

from collections.abc import Callable
from typing import Final

from xiaohao.calls.model import Reason
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.policies.compiled import Limit
from xiaohao.policies.counting import Claim, Counters
from xiaohao.policies.decision import Counted
from xiaohao.policies.model import Every, Per, SetBy
from xiaohao.secrecy import Vault

#: of one caller at one number, and of all callers together at one number
_OF_ONE_CALLER: Final = Limit("guesses", Per.CALLER, 6, Every.HOUR)
_OF_ALL_CALLERS: Final = Limit("guesses", Per.DISPLAYED, 60, Every.HOUR)


class Guesses:
    """The guesses of all switches, as one of them counts them."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._vault, self._clock = vault, clock
        self._counters = Counters(database)
        database.at_close(self._counters.close)

    async def allow(self, call_id: str, caller: str | None, number: str) -> bool:
        """Count one more, if it is within the limits. Those who hide their number are one caller.

        Raises DatabaseUnavailable.
        """
        wanted = (
            (_OF_ONE_CALLER, f"guesses\n{number}\ncaller\n{caller or ''}"),
            (_OF_ALL_CALLERS, f"guesses\n{number}\nall"),
        )
        hits = [
            Counted(self._vault.index(subject), limit, SetBy.OPERATOR, Reason.UNKNOWN_CALLER)
            for limit, subject in wanted
        ]
        return await self._counters.claim(Claim(call_id, self._clock(), hits, ())) is None
