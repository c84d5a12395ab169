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
    """Answers by customer, number dialled and caller ("" where the number is hidden)."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault
        #: the text of an answer and when it is over, microseconds
        self._at_hand: OrderedDict[_Pair, tuple[str, int]] = OrderedDict()
        self._unwritten: dict[_Pair, tuple[str, int]] = {}
        self._tidied_at = 0
        self._reading: set[asyncio.Task[Answer | None]] = set()

    def remember(
        self, customer_id: str, dialled: str, caller: str | None, answer: Answer, keep_s: int
    ) -> None:
        """Keep an answer for so many seconds. Never waits."""
        pair, now = (customer_id, dialled, caller or ""), now_us()
        kept = (wire.write_answer(answer), now + keep_s * SECOND)
        known = self._at_hand.get(pair)
        self._at_hand[pair] = kept
        self._at_hand.move_to_end(pair)
        if len(self._at_hand) > _AT_HAND:
            self._at_hand.popitem(last=False)
        # the same again is worth a write only when half of its time is over
        is_news = known is None or known[0] != kept[0] or known[1] - now < keep_s * SECOND // 2
        if not is_news:
            self._at_hand[pair] = known or kept
        elif len(self._unwritten) < _AT_HAND:
            self._unwritten[pair] = kept

    async def find(self, customer_id: str, dialled: str, caller: str | None) -> Answer | None:
        """The answer kept for a pair; None where there is none, or it cannot be read in time."""
        pair = (customer_id, dialled, caller or "")
        known = self._at_hand.get(pair)
        if known is not None:
            return wire.read_answer(known[0].encode()) if known[1] > now_us() else None
        # A query that is cancelled may be waited for by the driver: leave it behind instead.
        reading = asyncio.ensure_future(self._read(*pair))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        await asyncio.wait({reading}, timeout=_PATIENCE_S)
        return reading.result() if reading.done() else None

    async def _read(self, customer_id: str, dialled: str, caller: str) -> Answer | None:
        key = self._vault.index(caller) if caller else b""
        try:
            async with self._database.read() as connection:
                sealed = await store.answer(connection, customer_id, dialled, key, now_us())
            return None if sealed is None else wire.read_answer(self._vault.open(sealed).encode())
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
                "caller_key": self._vault.index(caller) if caller else b"",
                "caller_sealed": self._vault.seal(caller) if caller else None,
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
