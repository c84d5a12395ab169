"""Callers whom no binding knows: what their customer wants, and who they may be."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import RowMapping

from xiaohao.announcer import store
from xiaohao.announcer.guesses import Guesses
from xiaohao.announcer.model import USUAL, Terms, Treatment
from xiaohao.bindings.model import Mode
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import validation_failed
from xiaohao.ivr.model import Kind
from xiaohao.secrecy import Vault


class Strangers:
    """The terms, kept in the database and, for the switch, in memory."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database, self._vault, self._clock = database, vault, clock
        self.guesses = Guesses(database, vault, clock)
        self._known: int | None = None
        self._terms: dict[str, Terms] = {}

    async def get(self, scope_id: str) -> Terms | None:
        """The terms of a customer or a pool itself."""
        async with self._database.read() as connection:
            row = await store.find(connection, scope_id)
        return None if row is None else self._opened(row)

    async def put(self, scope_id: str, customer_id: str, terms: Terms) -> None:
        """What becomes of unknown callers from now on. Raises Refusal: `validation_failed`."""
        if (terms.treatment is Treatment.HOTLINE) != (terms.hotline is not None):
            raise validation_failed("hotline", "A hotline needs a number, and nothing else takes one.")
        sealed = None if terms.hotline is None else self._vault.seal(terms.hotline)
        row = {
            "scope_id": scope_id,
            "customer_id": customer_id,
            "treatment": terms.treatment.value,
            "hotline_sealed": sealed,
            "updated_at": self._clock(),
        }
        async with self._database.begin() as connection:
            if terms.hotline is not None and await store.is_of_the_platform(connection, terms.hotline):
                raise validation_failed("hotline", "A number of the platform would call in a circle.")
            await store.begin_change(connection)
            await store.put(connection, row)

    async def remove(self, scope_id: str) -> None:
        """As if nothing had been said."""
        async with self._database.begin() as connection:
            await store.begin_change(connection)
            await store.remove(connection, scope_id)

    async def load(self) -> None:
        """Bring what has changed into memory. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            mark = await store.mark(connection)
            if mark == self._known:
                return
            rows = await store.everything(connection)
        self._terms = {row["scope_id"]: self._opened(row) for row in rows}
        self._known = mark

    def terms_of(self, customer_id: str | None, pool_id: str | None) -> Terms:
        """What holds for a number of this pool of this customer: the pool's terms, or the customer's."""
        for scope in (pool_id, customer_id):
            if scope is not None and (terms := self._terms.get(scope)):
                return terms
        return USUAL

    def hotline(self, customer_id: str | None, pool_id: str | None) -> str | None:
        """Who is called instead, where the customer wants that."""
        return self.terms_of(customer_id, pool_id).hotline

    async def mean(self, number: str, kind: Kind, digits: str) -> str | None:
        """The one person who dials this number and whom the digits mean; None: nobody, or more than one.

        Raises DatabaseUnavailable.
        """
        async with self._database.read() as connection:
            rows = await store.bound_to(connection, number, self._clock())
        return await asyncio.to_thread(self._only, rows, number, kind, digits)

    def _only(self, rows: Sequence[RowMapping], number: str, kind: Kind, digits: str) -> str | None:
        found: set[str] = set()
        for row in rows:
            people = {self._vault.open(sealed) for sealed in _callers(row, number)}
            if kind is Kind.LAST_DIGITS:
                found |= {person for person in people if person.endswith(digits)}
            elif row["order_ref"] == digits:
                found |= people
        return found.pop() if len(found) == 1 else None

    def _opened(self, row: RowMapping) -> Terms:
        sealed = row["hotline_sealed"]
        return Terms(Treatment(row["treatment"]), None if sealed is None else self._vault.open(sealed))


def _callers(row: RowMapping, number: str) -> Iterable[bytes]:
    """Who of a binding's people dials this number."""
    if row["mode"] == Mode.AXB:
        return (row["a_sealed"], row["b_sealed"])
    return (row["a_sealed"],) if row["y"] == number else (row["b_sealed"],)
