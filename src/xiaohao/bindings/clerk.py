"""What the writer does with bindings, a group at a time: reserve, release, and what time does to them.

`Clerk.carry_out` carries a group of jobs out inside one transaction and gives each its
result, or the exception that its author is to hear. A job that is refused has written nothing.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final

from xiaohao.bindings.allocation import Allocation
from xiaohao.bindings.change_store import change_statements
from xiaohao.bindings.changing import Change, Changing, prompts_json, prompts_of
from xiaohao.bindings.choice import CapitalOf, Exhausted
from xiaohao.bindings.desk import Desk
from xiaohao.bindings.entitled import check_owner
from xiaohao.bindings.jobs import Decide, Decision, Expire, GiveY, Purge, Release, Reserve, Reserved
from xiaohao.bindings.model import Binding, BindingState, Direction, Mode, Reservation, is_overdue
from xiaohao.bindings.modes import ANYONE, leg_rows
from xiaohao.bindings.renumbering import NotLeft, Renumbering
from xiaohao.bindings.reusing import check_same, live_alike, lock_of, of_same_people
from xiaohao.bindings.wish import Wish
from xiaohao.bindings.writing_store import BINDING_COLUMNS, BindingRow, WritingStatements
from xiaohao.clock import SECOND
from xiaohao.database.direct import Cursor
from xiaohao.database.writer import LostRace
from xiaohao.errors import Refusal, not_found
from xiaohao.ids import ordered_id
from xiaohao.numbers.cities import capital_of
from xiaohao.numbers.model import NumberState
from xiaohao.secrecy import Vault

#: what a binding shows as its row has it
_SHOWN: Final = tuple(item.name for item in fields(Binding) if item.name not in ("a", "b"))
_shown_of = itemgetter(*_SHOWN)
#: While it is written beside deciding, who waits for the interpreter gets it after so long: a statement asks
#: for it once, and would wait 5 ms. For ordinary requests that much shorter would be a fifth slower.
_SWITCH_S: Final = 0.0005
#: `sqlite3.threadsafety` (PEP 249) where two threads may use one connection
_SERIALIZED: Final = 3
#: reservations that are written at once beside others; a power of two has one statement
_PART: Final = 256
_EMPTY_ROW: Final[BindingRow] = dict.fromkeys(BINDING_COLUMNS)


class Clerk:
    """Carries jobs out. `clock` gives microseconds since the epoch."""

    def __init__(
        self,
        statements: WritingStatements,
        vault: Vault,
        clock: Callable[[], int],
        most_x: int = 0,
        capital_of: CapitalOf = capital_of,
    ) -> None:
        self._statements = statements
        self._capital_of = capital_of
        self._most_x = most_x
        self._vault = vault
        self._clock = clock
        self._changes = change_statements("sqlite" if statements.is_sqlite else "postgresql")
        renumbering = Renumbering(statements, self._changes, capital_of, most_x)
        self._changing = Changing(statements, self._changes, vault, renumbering)
        self._do: dict[type, Callable[[Cursor, Sequence[Any], bool], list[Any]]] = {
            Reserve: self._reserve_all,
            Decide: _each(self._explain),
            Release: self._release_all,
            Change: _each(self._change),
            GiveY: _each(self._give_y),
            Expire: _each(self._expire),
            Purge: _each(self._purge),
        }

    def carry_out(self, cursor: Cursor, jobs: Sequence[Any], attempt: int = 0) -> list[Any]:
        """In their order; neighbours of one kind together. `attempt`: how often it was in vain."""
        outcomes: list[Any] = []
        for kind, same in groupby(jobs, type):
            # By turns: taking what nobody has is quick, waiting for what others have comes to an end.
            outcomes += self._do[kind](cursor, list(same), attempt % 2 == 1)
        return outcomes

    def binding(self, row: BindingRow, a: str | None = None, b: str | None = None) -> Binding:
        """A row as it is shown: a live binding past its expiry has expired."""
        shown = dict(zip(_SHOWN, _shown_of(row), strict=True))
        state, expires_at = BindingState(row["state"]), row["expires_at"]
        if state is BindingState.LIVE and expires_at is not None and expires_at <= self._clock():
            state, shown["ended_at"] = BindingState.EXPIRED, expires_at
        shown["mode"], shown["state"] = Mode(row["mode"]), state
        shown["direction"] = Direction(row["direction"])
        shown["prompts"] = prompts_of(row["prompts"])
        shown["a"] = a or self._opened(row["a_sealed"])
        shown["b"] = b or self._opened(row["b_sealed"])
        return Binding(**shown)

    def _opened(self, sealed: bytes | None) -> str | None:
        return None if sealed is None else self._vault.open(sealed)

    def reserved(self, outcome: Any) -> Any:
        """Of a Reserve what is told: a Reserved, or the exception. For the thread that asked."""
        if isinstance(outcome, Exception):
            return outcome
        row, wish, fresh = outcome
        return Reserved(self.binding(row, wish.a, wish.b), fresh)

    def _reserve_all(self, cursor: Cursor, jobs: Sequence[Reserve], patient: bool) -> list[list[Any]]:
        desk = Desk(cursor, self._statements, self._clock(), patient=patient)
        wanted = [one for job in jobs for one in job.wishes]
        self._prepare(desk, [wish for wish, _ in wanted])
        if self._statements.is_sqlite and sqlite3.threadsafety == _SERIALIZED and len(wanted) > _PART:
            outcomes = iter(self._overlapping(desk, wanted))
        else:
            outcomes = iter([self._outcome(desk, *one) for one in wanted])
            desk.flush()
        return [list(islice(outcomes, len(job.wishes))) for job in jobs]

    def _overlapping(self, desk: Desk, wanted: Sequence[tuple[Wish, Reservation]]) -> list[Any]:
        """Write what is decided while deciding on the next: SQLite leaves the interpreter alone meanwhile.

        What is read meanwhile is read of the same transaction, and the desk knows better what it has taken.
        """
        own: Any = desk.cursor
        cursor: Cursor = own.connection.cursor()
        outcomes: list[Any] = []
        written = []
        with _quick_turns(), ThreadPoolExecutor(1) as other:
            for start in range(0, len(wanted), _PART):
                outcomes += [self._outcome(desk, *one) for one in wanted[start : start + _PART]]
                written.append(other.submit(desk.taken().write, cursor, self._statements))
        for part in written:
            part.result()
        return outcomes

    def _prepare(self, desk: Desk, wishes: Sequence[Wish]) -> None:
        """Read what the wishes will ask about, with one statement each kind."""
        people = {key for wish in wishes for key in wish.people}
        locks = {lock for wish in wishes if (lock := lock_of(wish)) is not None}
        self._statements.lock_people(desk.cursor, people | locks)
        desk.appetite = len(wishes)
        desk.know_customers(wish.customer_id for wish in wishes)
        desk.know_pools(pool for wish in wishes for pool in (wish.x_pool, wish.y_pool))
        pairs = {pair for wish in wishes for pair in wish.pairs}
        desk.know_pairs(pairs)
        if overdue := [row for pair in pairs for row in desk.of_pair(pair) if is_overdue(row, desk.now)]:
            desk.expire(overdue)
            desk.know_pairs(pairs)
        desk.know_dialled(people)
        desk.know_own(wish.claim for wish in wishes if wish.claim not in (None, ANYONE))
        named = {number for wish in wishes for number in (wish.a, wish.b, wish.x, wish.y)}
        past = [row for pair in pairs for row in desk.of_pair(pair)]
        met_by = {number for row in past for number in (row["x"], row["y"])}
        desk.know_numbers(named | met_by)
        own = {facts.number for wish in wishes if wish.claim is not None for facts in desk.own(wish.claim)}
        desk.hold(own | met_by | {number for wish in wishes for number in (wish.x, wish.y)})

    def _outcome(self, desk: Desk, wish: Wish, wanted: Reservation) -> Any:
        """(row, wish, whether it is new), or the exception. The row's `seq` comes with `flush`."""
        try:
            decision = self._decide(desk, wish, wanted)
        except (Refusal, Exhausted) as refused:
            return refused
        if decision.x is None:
            return decision.existing, wish, False
        x, y = decision.x.facts, None if decision.y is None else decision.y.facts
        y_number = None if y is None else y.number
        row = self._row(wish, wanted, x.number, y_number, decision.extension, desk.now)
        legs = leg_rows(row)
        if x.state != NumberState.IN_SERVICE and wish.claim is not None:
            desk.lend(x, wish.customer_id, wish.claim, row["a_sealed"] if wish.claim == wish.a_key else None)
        for facts in (x, y):
            if facts is not None:
                desk.use(facts, sum(leg["dialled"] == facts.number for leg in legs))
        desk.add(row, legs)
        return row, wish, True

    def _decide(self, desk: Desk, wish: Wish, wanted: Reservation) -> Decision:
        """Raises Refusal, Exhausted."""
        check_owner(desk, wish)
        past = of_same_people(desk, wish)
        if past and past[0]["state"] == BindingState.LIVE:
            check_same(past[0], wish, wanted)
            return Decision(existing=past[0])
        if (alike := live_alike(desk, wish, wanted)) is not None:
            return Decision(existing=alike)
        allocation = Allocation(desk, wish, past, self._capital_of, self._most_x)
        x, y = allocation.choose()
        return Decision(x, y, allocation.extension)

    def _explain(self, cursor: Cursor, job: Decide, patient: bool) -> Any:
        desk = Desk(cursor, self._statements, self._clock(), patient=patient)
        self._prepare(desk, [job.wish])
        try:
            return self._decide(desk, job.wish, job.wanted)
        except (Refusal, Exhausted) as refused:
            return refused

    def _row(
        self, wish: Wish, wanted: Reservation, x: str, y: str | None, extension: str | None, now: int
    ) -> BindingRow:
        life = wanted.expires_in_s
        ends = [wish.latest_end, wanted.expires_at if life is None else now + life * SECOND]
        return {
            **_EMPTY_ROW,
            "id": ordered_id("bnd"),
            "customer_id": wish.customer_id,
            "mode": wish.mode.value,
            "state": BindingState.LIVE.value,
            "parent_id": wish.parent_id,
            "a_key": wish.a_key,
            "a_sealed": None if wish.a is None else self._vault.seal(wish.a),
            "b_key": wish.b_key,
            "b_sealed": None if wish.b is None else self._vault.seal(wish.b),
            "x": x,
            "y": y,
            "extension": extension,
            "direction": wanted.direction.value,
            "y_on_demand": wanted.y_on_demand,
            "y_pool": wanted.y_pool if wanted.y_on_demand else None,
            "y_life_s": wanted.y_life_s,
            "expires_at": min((end for end in ends if end is not None), default=None),
            "record": wanted.record,
            "max_duration_s": wanted.max_duration_s,
            "prompts": prompts_json(wanted.prompts),
            "order_ref": wanted.order_ref,
            "user_data": wanted.user_data,
            "created_at": now,
            "updated_at": now,
        }

    def _change(self, cursor: Cursor, job: Change, patient: bool) -> Binding | Refusal | NotLeft:
        cursor.execute("SAVEPOINT change")
        outcome: Binding | Refusal | NotLeft
        try:
            outcome = self.binding(self._changing.carry_out(cursor, job, self._clock(), patient))
        except (Refusal, NotLeft) as refused:
            # one of several bindings that change together may be in the way when others are written
            cursor.execute("ROLLBACK TO SAVEPOINT change")
            outcome = refused
        cursor.execute("RELEASE SAVEPOINT change")
        return outcome

    def _give_y(self, cursor: Cursor, job: GiveY, patient: bool) -> str | Exception | None:
        now, caller_key = self._clock(), self._vault.index(job.caller)
        people = self._changes.people(cursor, job.parent_id) or []
        self._statements.lock_people(cursor, {caller_key, *people})
        found = self._statements.find(cursor, [job.parent_id])
        parent = found[0] if found else None
        if parent is None or parent["state"] != BindingState.LIVE or is_overdue(parent, now):
            return None
        if not parent["y_on_demand"] or parent["a_key"] == caller_key:
            return None
        if parent["a_key"] not in people:
            raise LostRace  # somebody else has just changed its people
        wish, wanted = self._child(parent, job.caller, caller_key)
        desk = Desk(cursor, self._statements, now, patient=patient)
        self._prepare(desk, [wish])
        bound = [] if wish.pair is None else desk.of_pair(wish.pair)
        if bound and bound[0]["state"] == BindingState.LIVE:
            x: str = bound[0]["x"]
            return x
        outcome = self._outcome(desk, wish, wanted)
        if isinstance(outcome, Exception):
            return outcome
        desk.flush()
        return str(outcome[0]["x"])

    def _child(self, parent: BindingRow, caller: str, caller_key: bytes) -> tuple[Wish, Reservation]:
        a = self._vault.open(parent["a_sealed"])
        wanted = Reservation(
            a,
            caller,
            expires_in_s=parent["y_life_s"],
            record=parent["record"],
            max_duration_s=parent["max_duration_s"],
            order_ref=parent["order_ref"],
            user_data=parent["user_data"],
            direction=Direction(parent["direction"]),
            y_life_s=parent["y_life_s"],
            prompts=prompts_of(parent["prompts"]),
        )
        wish = Wish(
            customer_id=parent["customer_id"],
            mode=Mode.AXYB,
            a=a,
            b=caller,
            a_key=parent["a_key"],
            b_key=caller_key,
            x=parent["x"],
            y=None,
            x_pool=None,
            y_pool=parent["y_pool"],
            parent_id=parent["id"],
            latest_end=parent["expires_at"],
        )
        return wish, wanted

    def _release_all(
        self, cursor: Cursor, jobs: Sequence[Release], _patient: bool
    ) -> list[list[Binding | Refusal]]:
        """All of them as one, so that all locks are taken in one order."""
        now = self._clock()
        rows, children = self._families(cursor, {id_ for job in jobs for id_ in job.ids})
        mine = [self._asked(job, rows, children) for job in jobs]
        for job, families in zip(jobs, mine, strict=True):
            if job.hang_up:
                family = {member for members in families.values() for member in members}
                self._changes.hang_up(cursor, sorted(family), now)
        ending = {id_ for families in mine for members in families.values() for id_ in members}
        live = [row for row in rows.values() if row["id"] in ending and row["state"] == BindingState.LIVE]
        overdue = [row["id"] for row in live if is_overdue(row, now)]
        others = [row["id"] for row in live if not is_overdue(row, now)]
        if overdue and others:
            self._statements.lock_numbers(cursor, [*overdue, *others])
        self._statements.end(cursor, overdue, BindingState.EXPIRED, now, None)
        self._statements.end(cursor, others, BindingState.RELEASED, now, now)
        if live:
            rows |= {row["id"]: row for row in self._statements.find(cursor, [*overdue, *others])}
        return [
            [self.binding(rows[id_]) if id_ in families else not_found("binding") for id_ in job.ids]
            for job, families in zip(jobs, mine, strict=True)
        ]

    def _families(self, cursor: Cursor, ids: set[str]) -> tuple[dict[str, BindingRow], dict[str, list[str]]]:
        """These bindings and the live pairs that came about by them, which nobody else ends from now on; and
        the ids of those pairs by that of their binding.
        """
        # PostgreSQL: all locks in one order, so that the pairs have to be known before
        known = [] if self._statements.is_sqlite else self._changes.children(cursor, ids)
        rows = {row["id"]: row for row in self._statements.find(cursor, list(ids.union(*known)))}
        parents = [row["id"] for row in rows.values() if row["y_on_demand"]]
        children: dict[str, list[str]] = {}
        for parent, child in self._changes.children(cursor, parents):
            children.setdefault(parent, []).append(child)
        more = {child for of_one in children.values() for child in of_one} - rows.keys()
        rows |= {row["id"]: row for row in self._statements.find(cursor, list(more))}
        return rows, children

    @staticmethod
    def _asked(
        job: Release, rows: Mapping[str, BindingRow], children: Mapping[str, Sequence[str]]
    ) -> dict[str, list[str]]:
        """The customer's bindings among those that are to end, each with what ends with it."""
        return {
            id_: [id_, *children.get(id_, ())]
            for id_ in job.ids
            if id_ in rows and rows[id_]["customer_id"] == job.customer_id
        }

    def _expire(self, cursor: Cursor, job: Expire, _patient: bool) -> int:
        ids = self._statements.due(cursor, job.moment, job.limit)
        self._statements.end(cursor, ids, BindingState.EXPIRED, job.moment, None)
        return len(ids)

    def _purge(self, cursor: Cursor, job: Purge, _patient: bool) -> int:
        return self._statements.purge(cursor, job.moment, job.limit)


@contextmanager
def _quick_turns() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _each(do: Callable[[Cursor, Any, bool], Any]) -> Callable[[Cursor, Sequence[Any], bool], list[Any]]:
    return lambda cursor, jobs, patient: [do(cursor, job, patient) for job in jobs]
