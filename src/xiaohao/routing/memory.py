"""The last answer for each pair, of customers who fall back on it: at hand here, sealed in the database."""

import asyncio
from collections import OrderedDict
from typing import Final

import structlog

from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.routing import store, wire
from xiaohao.routing.model import Answer
from xiaohao.secrecy import SecrecyError, Vault

_log = structlog.get_logger(__name__)

#: answers at hand, of all customers
_AT_HAND: Final = 20_000
#: a call that falls back waits no longer for the database
_PATIENCE_S: Final = 0.15
_TIDY_EVERY_US: Final = 60 * SECOND

_Pair = tuple[str, str, str]


class LastAnswers:
    """Answers by customer, number dialled and caller. Who hides their number could be anybody: none is kept.

    What other switches have written meanwhile counts as well: of two answers it is the later one's turn.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault
        #: the text of an answer and when it is over, microseconds
        self._at_hand: OrderedDict[_Pair, tuple[str, int]] = OrderedDict()
        self._unwritten: dict[_Pair, tuple[str, int]] = {}
        self._tidied_at = 0
        self._reading: set[asyncio.Task[tuple[str, int] | None]] = set()

    def remember(
        self, customer_id: str, dialled: str, caller: str | None, answer: Answer, keep_s: int
    ) -> None:
        """Keep an answer for so many seconds. Never waits."""
        if caller is None:
            return
        pair, kept = (customer_id, dialled, caller), (wire.write_answer(answer), now_us() + keep_s * SECOND)
        self._at_hand[pair] = kept
        self._at_hand.move_to_end(pair)
        if len(self._at_hand) > _AT_HAND:
            self._at_hand.popitem(last=False)
        if pair in self._unwritten or len(self._unwritten) < _AT_HAND:
            self._unwritten[pair] = kept

    async def find(self, customer_id: str, dialled: str, caller: str | None) -> Answer | None:
        """The answer kept for a pair; None where there is none, or it cannot be read in time."""
        if caller is None:
            return None
        pair = (customer_id, dialled, caller)
        # A query that is cancelled may be waited for by the driver: leave it behind instead.
        reading = asyncio.ensure_future(self._read(*pair))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        await asyncio.wait({reading}, timeout=_PATIENCE_S)
        written = reading.result() if reading.done() else None
        known = self._at_hand.get(pair)
        kept = [one for one in (written, known) if one is not None and one[1] > now_us()]
        return wire.read_answer(max(kept, key=lambda one: one[1])[0].encode()) if kept else None

    async def _read(self, customer_id: str, dialled: str, caller: str) -> tuple[str, int] | None:
        key = self._vault.index(caller)
        try:
            async with self._database.read() as connection:
                row = await store.answer(connection, customer_id, dialled, key)
            if row is None:
                return None
            text = self._vault.open(row["answer_sealed"])
            wire.read_answer(text.encode())
            return text, row["expires_at"]
        except (DatabaseUnavailable, SecrecyError, wire.NotUnderstood) as error:
            _log.warning("last_answer_not_read", customer_id=customer_id, error=type(error).__name__)
            return None

    def forget(self, customer_id: str) -> None:
        """Have none of a customer's at hand: its terms have changed."""
        for kept in (self._at_hand, self._unwritten):
            for pair in [pair for pair in kept if pair[0] == customer_id]:
                del kept[pair]

    async def write(self) -> None:
        """Write what is new, and throw away what is over. Raises DatabaseUnavailable."""
        now = now_us()
        unwritten, self._unwritten = self._unwritten, {}
        rows = [
            {
                "customer_id": customer_id,
                "dialled": dialled,
                "caller_key": self._vault.index(caller),
                "caller_sealed": self._vault.seal(caller),
                "answer_sealed": self._vault.seal(text),
                "expires_at": expires_at,
            }
            for (customer_id, dialled, caller), (text, expires_at) in sorted(unwritten.items())
        ]
        try:
            if rows:
                async with self._database.begin() as connection:
                    await store.put_answers(connection, rows)
            if now - self._tidied_at > _TIDY_EVERY_US:
                async with self._database.begin() as connection:
                    await store.forget_old_answers(connection, now)
                self._tidied_at = now
        except BaseException:
            self._unwritten = unwritten | self._unwritten
            raise
