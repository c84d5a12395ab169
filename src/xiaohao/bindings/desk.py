"""What a group of reservations knows of the database, and what it is going to write.

Everything a group needs is read by a handful of statements, decisions are made in memory, and `flush` writes
all of them with a handful of statements more. What one reservation took is taken for the next one of the
group.

PostgreSQL lets others write meanwhile. A group waits for other's locks on numbers once, for all that it wants
at that moment and in their order; what it wants beyond those it takes if nobody has it, or begins anew. So
no two wait for each other, which PostgreSQL would notice only after a second.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from xiaohao.bindings.allocation_store import NumberFacts
from xiaohao.bindings.free_numbers import BEGINNING, FreeNumbers
from xiaohao.bindings.model import LegState
from xiaohao.bindings.modes import is_of_many
from xiaohao.bindings.reuse_store import reuse_statements
from xiaohao.bindings.unwritten import Unwritten
from xiaohao.bindings.writing_store import BindingRow, CustomerFacts, LegFacts, WritingStatements
from xiaohao.database.direct import Cursor
from xiaohao.database.writer import LostRace
from xiaohao.numbers.model import USABLE_STATES, NumberState
from xiaohao.pools.model import Choice, Policy, policy_of

#: more legs than a number can have
_NO_LIMIT: Final = (1 << 31) - 1

_Pair = tuple[str, bytes, bytes]


class PoolFacts:
    """A pool as a group of reservations knows it."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.id: str = row["id"]
        self.customer_id: str | None = row["customer_id"]
        self.policy: Policy = policy_of(row)
        self.is_sticky = self.policy.choice is Choice.STICKY


class Desk:
    """One transaction's view. Every method that asks reads what is not known yet."""

    def __init__(
        self, cursor: Cursor, statements: WritingStatements, now: int, *, patient: bool = False
    ) -> None:
        """`patient`: lock no number before `flush`, and wait there for all: what was chosen may go meanwhile.

        On SQLite it makes no difference.
        """
        self.cursor = cursor
        self.statements = statements
        self.now = now
        self._patient = patient
        self._holds_some = False
        self._left: set[str] = set()
        #: reservations of the group that may still want a number: how many it pays to read at once
        self.appetite = 1
        self._customers: dict[str, CustomerFacts | None] = {}
        self._verified: dict[tuple[str, bytes], bool] = {}
        self._pools: dict[str, PoolFacts | None] = {}
        self._numbers: dict[str, NumberFacts | None] = {}
        self._own: dict[bytes, list[NumberFacts]] = {}
        self._dialled: dict[bytes, dict[str, LegFacts]] = {}
        self._of_many: dict[tuple[bytes, str], LegFacts | None] = {}
        self._pairs: dict[_Pair, list[BindingRow]] = {}
        self._without_b: dict[tuple[str, bytes | None], list[BindingRow]] = {}
        self._queues: dict[tuple[str, str | None], FreeNumbers] = {}
        self._rows: list[BindingRow] = []
        self._legs: list[dict[str, Any]] = []
        self._freed: set[tuple[bytes, str]] = set()
        self._used: list[NumberFacts] = []
        self._uses = 0

    # What is known.

    def know_customers(self, ids: Iterable[str]) -> None:
        """Read these with one statement."""
        wanted = list({id_ for id_ in ids if id_ not in self._customers})
        self._customers |= dict.fromkeys(wanted) | self.statements.customers(self.cursor, wanted)

    def is_verified(self, customer_id: str, key: bytes) -> bool:
        """Whether the real name of a customer's person is proven now."""
        if (customer_id, key) not in self._verified:
            proven = self.statements.is_verified(self.cursor, customer_id, key, self.now)
            self._verified[customer_id, key] = proven
        return self._verified[customer_id, key]

    def customer(self, id_: str) -> CustomerFacts | None:
        """What there is to know about a customer, None where there is none."""
        if id_ not in self._customers:
            self.know_customers([id_])
        return self._customers[id_]

    def know_pools(self, ids: Iterable[str | None]) -> None:
        """Read these with one statement."""
        wanted = list({id_ for id_ in ids if id_ is not None and id_ not in self._pools})
        self._pools |= dict.fromkeys(wanted)
        self._pools |= {row["id"]: PoolFacts(row) for row in self.statements.pools(self.cursor, wanted)}

    def pool(self, id_: str) -> PoolFacts | None:
        """A pool, whoever's it is."""
        if id_ not in self._pools:
            self.know_pools([id_])
        return self._pools[id_]

    def know_numbers(self, wanted: Iterable[str | None]) -> None:
        """Read these with one statement."""
        new = list({number for number in wanted if number is not None and number not in self._numbers})
        self._numbers |= dict.fromkeys(new)
        for facts in self.statements.numbers.find(self.cursor, new):
            self._numbers[facts.number] = facts

    def number(self, number: str) -> NumberFacts | None:
        """A number of the platform, whoever's it is."""
        if number not in self._numbers:
            self.know_numbers([number])
        return self._numbers[number]

    def can_be_shown(self, facts: NumberFacts) -> bool:
        """Whether it, or what is shown in its place, may stand on a display now."""
        if facts.displayable:
            return True
        shown = None if facts.displayed_as is None else self.number(facts.displayed_as)
        return (
            shown is not None
            and shown.displayable
            and shown.state in USABLE_STATES
            and shown.may_be_bound(self.now)
        )

    def know_own(self, keys: Iterable[bytes]) -> None:
        """Read these with one statement."""
        wanted = list({key for key in keys if key not in self._own})
        for key in wanted:
            self._own[key] = []
        for found in self.statements.numbers.own(self.cursor, wanted):
            facts = self._known(found)
            if facts.assigned_to_key is not None:
                self._own[facts.assigned_to_key].append(facts)

    def own(self, key: bytes) -> list[NumberFacts]:
        """The numbers that are a person's X, for whichever customer."""
        if key not in self._own:
            self.know_own([key])
        return self._own[key]

    def know_dialled(self, keys: Iterable[bytes]) -> None:
        """Read these with one statement."""
        wanted = list({key for key in keys if key not in self._dialled})
        for key in wanted:
            self._dialled[key] = {}
        for key, number, facts in self.statements.dialled(self.cursor, wanted):
            self._dialled[key][number] = facts

    def dialled(self, key: bytes) -> dict[str, LegFacts]:
        """What a person dials, live or in quarantine, by number."""
        if key not in self._dialled:
            self.know_dialled([key])
        return self._dialled[key]

    def know_pairs(self, pairs: Iterable[_Pair]) -> None:
        """Read these with one statement."""
        wanted = list({pair for pair in pairs if pair not in self._pairs})
        for pair in wanted:
            self._pairs[pair] = []
        for row in self.statements.of_pairs(self.cursor, wanted, self.now):
            self._pairs[row["customer_id"], row["a_key"], row["b_key"]].append(row)

    def of_pair(self, pair: _Pair) -> list[BindingRow]:
        """The live binding of (customer, key of A, key of B) and those in quarantine, newest first."""
        if pair not in self._pairs:
            self.know_pairs([pair])
        return self._pairs[pair]

    def without_b(self, customer_id: str, a_key: bytes | None) -> list[BindingRow]:
        """The live bindings of A (None: of mode x) with nobody who is known, oldest first."""
        if (customer_id, a_key) not in self._without_b:
            statements = reuse_statements("sqlite" if self.statements.is_sqlite else "postgresql")
            self._without_b[customer_id, a_key] = statements.without_b(self.cursor, customer_id, a_key)
        return self._without_b[customer_id, a_key]

    def last_of_pair(self, pair: _Pair) -> BindingRow | None:
        """The newest binding that the pair ever had, however long ago."""
        known = self.of_pair(pair)
        return known[0] if known else self.statements.last_of_pair(self.cursor, pair)

    def holds(self, key: bytes, number: str, predecessors: Sequence[str]) -> bool:
        """Whether this person dialling this number is taken, except on legs of `predecessors` that rest."""
        leg = self._leg(key, number)
        if leg is None:
            return False
        if leg.state == LegState.LIVE:
            return True
        return (leg.quarantine_until or 0) > self.now and leg.binding_id not in predecessors

    def _leg(self, key: bytes, number: str) -> LegFacts | None:
        if not is_of_many(key):
            return self.dialled(key).get(number)
        # a key that many X have: only this one's leg is of interest
        if (key, number) not in self._of_many:
            self._of_many[key, number] = self.statements.holder(self.cursor, key, number)
        return self._of_many[key, number]

    def holders(self, key: bytes, number: str) -> set[str]:
        """The customers who have this key on this number: one or none."""
        leg = self._leg(key, number)
        return set() if leg is None else {leg.customer_id}

    def diallers(self, number: str) -> set[str]:
        """The customers of whom a leg is dialled on this number, or was a short while ago."""
        return self.statements.diallers(self.cursor, number, self.now)

    def is_untouched(self, facts: NumberFacts) -> bool:
        """Whether nobody dials this number, nor did a short while ago. It must stay so until `flush`."""
        if facts.relations or self.diallers(facts.number):
            return False
        facts.alone = True
        return True

    def first_free(
        self, pool_id: str, city: str | None, fits: Callable[[NumberFacts], bool]
    ) -> NumberFacts | None:
        """Of a pool's numbers (of a city) that may be given out and fit the one that has rested longest."""
        queue = self._queues.get((pool_id, city))
        if queue is None:
            locking = not (self.statements.is_sqlite or self._patient)
            queue = self._queues[pool_id, city] = FreeNumbers(self.appetite, locking)

        def read(after: tuple[int, str], limit: int, locking: bool) -> tuple[list[NumberFacts], Any]:
            return self._window(pool_id, city, after, limit, locking)

        # The queue is lent the desk and does not keep it: a circle would leave all that the group knew to the
        # search for garbage, which stopped the process for 35 ms every two seconds.
        return next((facts for facts in queue.candidates(read) if fits(facts)), None)

    def _window(
        self, pool_id: str, city: str | None, after: tuple[int, str], limit: int, locking: bool
    ) -> tuple[list[NumberFacts], tuple[int, str]]:
        """The next numbers of a pool as the group knows them, and where the ones after them begin."""
        pool = self.pool(pool_id)
        most = None if pool is None else pool.policy.max_relations
        found = self.statements.numbers.window(
            self.cursor,
            pool_id,
            city,
            after,
            self.now,
            limit,
            _NO_LIMIT if most is None else most,
            locking=locking,
        )
        if found:
            after = (found[-1].last_used_at, found[-1].number)
        for facts in found:
            facts.locked = locking
        self._holds_some |= locking and bool(found)
        self.know_numbers(facts.displayed_as for facts in found if not facts.displayable)
        return [self._known(facts) for facts in found], after if len(found) == limit else BEGINNING

    def hold(self, wanted: Iterable[str | None]) -> None:
        """Keep others from changing those of these numbers that are known, and know them as they are now.

        Once, before anything is chosen.
        """
        if self.statements.is_sqlite or self._patient:
            return
        known = {number for number in wanted if number is not None and self._numbers[number] is not None}
        locked = {found.number: found for found in self._locked(known)}
        for facts in locked.values():
            facts.locked = True
        self._numbers |= locked
        for key, own in self._own.items():
            now = [locked.get(facts.number, facts) for facts in own]
            self._own[key] = [facts for facts in now if facts.assigned_to_key == key]

    def _locked(self, wanted: Iterable[str]) -> list[NumberFacts]:
        """Lock these numbers: wait for others the first time, then pass over what they have."""
        found = self.statements.numbers.lock(self.cursor, list(wanted), waiting=not self._holds_some)
        self._holds_some |= bool(found)
        return found

    def _known(self, found: NumberFacts) -> NumberFacts:
        # What the group has in mind for a number is newer than what it reads.
        known = self._numbers.get(found.number)
        if known is None:
            self._numbers[found.number] = known = found
        return known

    # What is going to be written.

    def lend(self, facts: NumberFacts, customer_id: str, key: bytes, sealed: bytes | None) -> None:
        """Make a number a person's X, or that of many (without `sealed`): one that is free, or was theirs
        and has not rested to the end.
        """
        facts.lent, facts.assigned_to_sealed = (facts.state, facts.assigned_to_key), sealed
        facts.assigned_to_key, facts.assigned_by = key, customer_id
        facts.state = NumberState.IN_SERVICE.value
        if facts not in self.own(key):
            self.own(key).append(facts)

    def use(self, facts: NumberFacts, legs: int) -> None:
        """Note that a number is used now, by so many new live legs."""
        self._uses += 1
        self._used.append(facts)
        facts.used = self._uses
        facts.added += legs
        facts.relations += legs

    def leave(self, numbers: Iterable[str]) -> None:
        """Note that a binding is going to leave these: nobody else changes them from `flush` on."""
        self._left |= set(numbers)

    def add(self, row: BindingRow, legs: Sequence[dict[str, Any]]) -> None:
        """A new binding; its `seq` is in the row after `flush`. The keys of its legs are free."""
        self._rows.append(row)
        if row["b_key"] is None and (row["customer_id"], row["a_key"]) in self._without_b:
            self._without_b[row["customer_id"], row["a_key"]].append(row)
        if row["a_key"] is not None and row["b_key"] is not None:
            self.of_pair((row["customer_id"], row["a_key"], row["b_key"])).insert(0, row)
        for leg in legs:
            self.add_leg(leg)

    def add_leg(self, leg: dict[str, Any]) -> None:
        """A new live leg, in place of a quarantined one with the same key if there is one."""
        key, number = leg["caller_key"], leg["dialled"]
        if self._leg(key, number) is not None:
            self._freed.add((key, number))
        facts = LegFacts(leg["binding_id"], LegState.LIVE.value, None, leg["customer_id"])
        if is_of_many(key):
            self._of_many[key, number] = facts
        else:
            self.dialled(key)[number] = facts
        self._legs.append(leg)

    def expire(self, rows: Sequence[BindingRow]) -> None:
        """End live bindings whose time is up, at once: before anything else is written."""
        self.statements.expire(self.cursor, [row["id"] for row in rows], self.now)
        self._holds_some = True
        for row in rows:
            self._pairs.pop((row["customer_id"], row["a_key"], row["b_key"]), None)

    def flush(self) -> None:
        """Write everything. Raises LostRace, IntegrityError of the driver, DatabaseUnavailable."""
        if not self._rows and not self._used and not self._legs:
            return
        if not self.statements.is_sqlite:
            self._look_again({facts.number: facts for facts in self._used})
        self.taken().write(self.cursor, self.statements)

    def taken(self) -> Unwritten:
        """What is to be written, and counts as written from now on."""
        used = {facts.number: facts for facts in self._used}
        by_legs: dict[int, list[str]] = {}
        for facts in used.values():
            by_legs.setdefault(facts.added, []).append(facts.number)
        lent = [
            (facts.number, facts.assigned_to_key, facts.assigned_to_sealed, facts.assigned_by)
            for facts in used.values()
            if facts.lent
        ]
        unwritten = Unwritten(self.now, self._rows, self._legs, self._freed, lent, by_legs)
        for facts in used.values():
            facts.added, facts.lent, facts.alone = 0, None, False
        self._rows, self._legs, self._freed, self._used = [], [], set(), []
        return unwritten

    def _look_again(self, used: dict[str, NumberFacts]) -> None:
        unlocked = {number for number, facts in used.items() if not facts.locked}
        left = self._left - used.keys()
        for found in self._locked(unlocked | left):
            left.discard(found.number)
            facts = used.get(found.number)
            if facts is None:
                continue
            before = facts.lent or (facts.state, facts.assigned_to_key)
            same = (found.state, found.assigned_to_key) == before and found.pool_id == facts.pool_id
            if not same or found.relations + facts.added > self._most_relations(found):
                raise LostRace
            if facts.lent and facts.alone and found.relations:
                raise LostRace
            facts.locked = True
        if left or any(not facts.locked for facts in used.values()):
            raise LostRace  # it is gone, or another's now

    def _most_relations(self, facts: NumberFacts) -> float:
        pool = None if facts.pool_id is None else self.pool(facts.pool_id)
        limit = None if pool is None else pool.policy.max_relations
        return math.inf if limit is None else limit
