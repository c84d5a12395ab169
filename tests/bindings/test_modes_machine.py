"""Any sequence of what can happen to bindings of all modes, against a list of everything ever granted."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlalchemy import delete, func, select
from tests.bindings.machines import drive, one_world
from tests.ids import new_call_id
from tests.world import World, person, x_number, y_number

from xiaohao.bindings.lookup_store import look_up
from xiaohao.bindings.model import Binding, Changes, Direction, Mode, Reservation
from xiaohao.bindings.modes import EXTENSIONS, extension_key
from xiaohao.bindings.recognition import LegRow, judge
from xiaohao.calls.journal import CallBegan, CallJournal
from xiaohao.calls.model import Call
from xiaohao.clock import SECOND
from xiaohao.database.schema import bindings, customers, legs, numbers, pools, verifications
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault

T = TypeVar("T")
PEOPLE = [person(place) for place in range(1, 6)]
XS, YS = [x_number(place) for place in range(1, 5)], [y_number(place) for place in range(1, 4)]
RECYCLE_S, GRACE_S = 60, 20
people = st.sampled_from(PEOPLE)
directions = st.sampled_from([Direction.BOTH, Direction.BOTH, Direction.A_TO_B, Direction.B_TO_A])
extensions = st.sampled_from(["1", "22"])
ANYONE = "anyone"


@dataclass
class Grant:
    """Who (a person, `anyone`, `#` and an extension) may dial what. `until` None: as long as its binding."""

    who: str
    dialled: str
    by_a: bool
    binding: str
    until: int | None = None
    #: whose it was when it fell away
    a: str | None = None


@dataclass
class Entry:
    """A binding as it is now."""

    binding: Binding
    released_at: int | None = None
    last_caller: str | None = None
    children: list[str] = field(default_factory=list)

    @property
    def ended_at(self) -> int | None:
        ends = [end for end in (self.released_at, self.binding.expires_at) if end is not None]
        return min(ends, default=None)

    def grants(self) -> list[tuple[str, str, bool]]:
        b = self.binding
        match b.mode:
            case Mode.AXYB if b.y_on_demand:
                return [(ANYONE, b.x, False)]
            case Mode.AXYB:
                return [(str(b.a), str(b.y), True), (str(b.b), b.x, False)]
            case Mode.AXB:
                return [(str(b.a), b.x, True), (str(b.b), b.x, False)]
            case Mode.AX:
                return [(str(b.a), b.x, True), (ANYONE, b.x, False)]
            case Mode.AXE:
                return [(f"#{b.extension}", b.x, False)]
            case Mode.X:
                return [(ANYONE, b.x, False)]


def same_pair(one: Binding, other: Binding | Reservation) -> bool:
    """Whether the two are of the same people; in mode AXB also the other way round."""
    swapped = (one.b, one.a) == (other.a, other.b) and one.mode is other.mode is Mode.AXB
    return swapped or (one.a, one.b) == (other.a, other.b)


class ModesMachine(RuleBasedStateMachine):
    """One customer, five people, four X and three Y."""

    def __init__(self, runner: asyncio.Runner, world: World, journal: CallJournal) -> None:
        super().__init__()
        self.runner, self.world, self.journal = runner, world, journal
        self.entries: dict[str, Entry] = {}
        self.grants: list[Grant] = []
        self.customer = self.x_pool = self.y_pool = ""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @property
    def now(self) -> int:
        return self.world.clock.now

    @initialize()
    def build(self) -> None:
        async def build() -> None:
            async with self.world.database.begin() as connection:
                for table in (legs, bindings, verifications, numbers, pools, customers):
                    await connection.execute(delete(table))
            customer = await self.world.customer()
            self.customer = customer.id
            self.x_pool = (await self.world.pool(customer, RECYCLE_S, XS, grace_s=GRACE_S)).id
            self.y_pool = (await self.world.pool(customer, RECYCLE_S, YS, grace_s=GRACE_S)).id

        self.run(build())

    # What the model knows

    def end_of(self, grant: Grant) -> int | None:
        ends = [end for end in (grant.until, self.entries[grant.binding].ended_at) if end is not None]
        return min(ends, default=None)

    def holder(self, who: str, dialled: str) -> Grant | None:
        """Whose key it is: the newest grant of it that lives or rests."""
        for grant in reversed(self.grants):
            if (grant.who, grant.dialled) == (who, dialled):
                end = self.end_of(grant)
                held = end is None or end + RECYCLE_S * SECOND > self.now
                return grant if held else None
        return None

    def is_live(self, entry: Entry) -> bool:
        return entry.ended_at is None or entry.ended_at > self.now

    def expected(self, who: str, dialled: str) -> tuple[str, str | None, str | None]:
        """(outcome, callee, display)."""
        grant = self.holder(who, dialled)
        if grant is None and not who.startswith("#"):
            grant = self.holder(ANYONE, dialled)
        if grant is None:
            return self.of_no_one(who, dialled), None, None
        entry = self.entries[grant.binding]
        binding, end = entry.binding, self.end_of(grant)
        pair = binding.mode in (Mode.AXYB, Mode.AXB) and not binding.y_on_demand
        in_grace = pair and grant.until is None and end is not None and end + GRACE_S * SECOND > self.now
        if end is not None and end <= self.now and not in_grace:
            if (again := self.anyone_again(grant)) is None:
                return "binding_expired", None, None
            grant, entry = again, self.entries[again.binding]
            binding = entry.binding
        if binding.direction is (Direction.B_TO_A if grant.by_a else Direction.A_TO_B):
            return "direction_not_allowed", None, None
        if binding.mode is Mode.X:
            return "routing_missing", None, None
        if binding.y_on_demand:
            return "no_y_free", None, None
        callee = (binding.b or entry.last_caller) if grant.by_a else binding.a
        if callee is None:
            return "no_last_caller", None, None
        display = binding.y if binding.mode is Mode.AXYB and not grant.by_a else binding.x
        return "connect", callee, display

    def anyone_again(self, over: Grant) -> Grant | None:
        """B's own way to A is over, and anyone reaches the same A by this number."""
        anyone = self.holder(ANYONE, over.dialled)
        if over.by_a or anyone is None or not self.is_live(self.entries[anyone.binding]):
            return None
        led_to = over.a or self.entries[over.binding].binding.a
        same = led_to is not None and led_to == self.entries[anyone.binding].binding.a
        return anyone if same and anyone.until is None else None

    def of_no_one(self, who: str, dialled: str) -> str:
        with_extensions = any(
            self.entries[grant.binding].binding.mode is Mode.AXE and self.holder(grant.who, dialled) is grant
            for grant in self.grants
            if grant.dialled == dialled
        )
        if with_extensions:
            return "extension_unknown" if who.startswith("#") else "extension_needed"
        return "unknown_caller"

    def register(self, binding: Binding) -> None:
        """A new binding: none of its keys was another's, live or resting, except of the same pair's past."""
        entry = Entry(binding)
        for who, dialled, by_a in entry.grants():
            self.check_free(binding, who, dialled)
            self.grants.append(Grant(who, dialled, by_a, binding.id))
        self.entries[binding.id] = entry
        assert binding.x in XS
        assert binding.y is None or binding.y in YS

    def check_free(self, binding: Binding, who: str, dialled: str) -> None:
        holder = self.holder(who, dialled)
        if holder is not None and holder.binding != binding.id:
            before = self.entries[holder.binding]
            assert not self.is_live(before)
            assert same_pair(before.binding, binding)
            assert binding.b is not None

    # What happens

    @rule(
        mode=st.sampled_from([*Mode, Mode.AXYB, Mode.AX]),
        a=people,
        b=st.one_of(st.none(), people),
        direction=directions,
        extension=st.one_of(st.none(), extensions),
        life=st.sampled_from([None, None, 30]),
    )
    def bind(
        self,
        mode: Mode,
        a: str,
        b: str | None,
        direction: Direction,
        extension: str | None,
        life: int | None,
    ) -> None:
        on_demand = mode is Mode.AXYB and b is None
        wanted = Reservation(
            None if mode is Mode.X else a,
            b if mode in (Mode.AXYB, Mode.AXB, Mode.AX) else None,
            x_pool=self.x_pool,
            y_pool=self.y_pool if mode is Mode.AXYB else None,
            expires_in_s=life,
            mode=mode,
            direction=Direction.BOTH if mode in (Mode.X, Mode.AXE) else direction,
            extension=extension if mode is Mode.AXE else None,
            y_on_demand=on_demand,
        )
        try:
            binding = self.run(self.world.bindings.reserve(self.customer, wanted))
        except Refusal as refusal:
            assert refusal.code in ("validation_failed", "pair_taken", "number_pool_exhausted"), refusal.code
            if refusal.code == "pair_taken":
                taken = self.entries[refusal.extra["binding_id"]]
                assert self.is_live(taken)
                assert same_pair(taken.binding, wanted)
            elif refusal.code == "validation_failed":
                assert a == b or (mode is Mode.AXB and b is None)
            return
        self.register(binding)

    @rule(data=st.data(), what=st.sampled_from(["a", "b", "extension"]), number=people, extension=extensions)
    def change(self, data: st.DataObject, what: str, number: str, extension: str) -> None:
        if not self.entries:
            return
        entry = data.draw(st.sampled_from(list(self.entries.values())))
        was = entry.binding
        changes: Changes = {what: extension if what == "extension" else number}  # type: ignore[misc]
        try:
            now = self.run(self.world.bindings.change(self.customer, was.id, changes))
        except Refusal as refusal:
            assert refusal.code in ("binding_ended", "validation_failed", "number_taken", "pair_taken")
            assert (refusal.code == "binding_ended") is not self.is_live(entry)
            return
        assert self.is_live(entry)
        self.becomes_with_its_pairs(entry, now)

    @rule(
        data=st.data(),
        what=st.sampled_from(["x", "instead_of_x", "x_pool", "y", "instead_of_y"]),
        x=st.sampled_from(XS),
        y=st.sampled_from(YS),
    )
    def another_number(self, data: st.DataObject, what: str, x: str, y: str) -> None:
        if not self.entries:
            return
        entry = data.draw(st.sampled_from(list(self.entries.values())))
        was = entry.binding
        wanted = {"x": x, "instead_of_x": was.x, "x_pool": self.x_pool, "y": y, "instead_of_y": was.y or y}
        changes: Changes = {what: wanted[what]}  # type: ignore[misc]
        try:
            now = self.run(self.world.bindings.change(self.customer, was.id, changes))
        except Refusal as refusal:
            self.check_not_renumbered(entry, what, refusal)
            return
        assert self.is_live(entry)
        assert (now.a, now.b, now.mode, now.extension) == (was.a, was.b, was.mode, was.extension)
        assert (now.x == was.x) or (what in ("x", "instead_of_x") and now.x in XS)
        assert (now.y == was.y) or (what in ("y", "instead_of_y") and now.y in YS)
        assert what not in ("x", "y") or wanted[what] == (now.x if what == "x" else now.y)
        assert what not in ("instead_of_x", "instead_of_y") or wanted[what] not in (now.x, now.y)
        if now.x != was.x:
            self.check_not_split(entry, now.x)
        # sent again it says the same
        assert self.run(self.world.bindings.change(self.customer, was.id, changes)) == now
        self.becomes_with_its_pairs(entry, now)

    def check_not_renumbered(self, entry: Entry, what: str, refusal: Refusal) -> None:
        """A change of a number was refused for what is so."""
        was = entry.binding
        assert (refusal.code == "binding_ended") is not self.is_live(entry)
        match refusal.code:
            case "validation_failed":
                assert what in ("y", "instead_of_y")
                assert was.y is None
            case "x_shared":
                others = [
                    other
                    for other in self.entries.values()
                    if other is not entry and other.released_at is None and other.binding.x == was.x
                ]
                assert was.parent_id is not None or others
            case "number_pool_exhausted" | "number_taken" | "binding_ended":
                pass
            case _:
                raise refusal

    def check_not_split(self, entry: Entry, new: str) -> None:
        """A has not come to a second X because one of two bindings with the same X went over to another."""
        was = entry.binding
        personal = (Mode.AXYB, Mode.AX)
        family = {was.id, *entry.children}
        mine = [
            other
            for other in self.entries.values()
            if other.binding.id not in family and other.binding.a == was.a and other.binding.mode in personal
        ]
        left = [other for other in mine if self.is_live(other) and other.binding.x == was.x]
        if was.mode in personal and left:
            assert any(other.released_at is None and other.binding.x == new for other in mine)

    def becomes_with_its_pairs(self, entry: Entry, binding: Binding) -> None:
        """Pairs that came about on the spot go with the binding by which they did."""
        self.becomes(entry, binding)
        for child in entry.children:
            followed = self.entries[child]
            if self.is_live(followed):
                self.becomes(followed, self.run(self.world.bindings.get(self.customer, child)))
                assert (followed.binding.a, followed.binding.x) == (binding.a, binding.x)

    def becomes(self, entry: Entry, binding: Binding) -> None:
        """Keys that fall away rest from now on; new ones were nobody else's."""
        was, before, entry.binding = entry.binding.a, set(entry.grants()), binding
        after = set(entry.grants())
        for who, dialled, _ in before - after:
            for grant in self.grants:
                same = (grant.who, grant.dialled, grant.binding) == (who, dialled, binding.id)
                if same and grant.until is None:
                    grant.until, grant.a = self.now, was
        for who, dialled, by_a in after - before:
            self.check_free(binding, who, dialled)
            self.grants.append(Grant(who, dialled, by_a, binding.id))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if not self.entries:
            return
        entry = data.draw(st.sampled_from(list(self.entries.values())))
        self.run(self.world.bindings.release(self.customer, entry.binding.id))
        for each in [entry, *(self.entries[child] for child in entry.children)]:
            if self.is_live(each):
                each.released_at = self.now

    @rule(seconds=st.sampled_from([5, 19, 20, 30, 60]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.forward(seconds)

    @rule()
    def sweep(self) -> None:
        self.run(self.world.bindings.sweep())

    @rule(caller=st.one_of(st.none(), people), dialled=st.sampled_from(XS))
    def somebody_calls(self, caller: str | None, dialled: str) -> None:
        """As the switch does it: who is let through to A of mode AX is remembered; a new B is given a Y."""
        match = self.run(self.world.bindings.look_up(caller, dialled))
        if match.outcome == "no_y_free" and caller is not None:
            self.give_y(str(match.binding_id), caller)
        if match.outcome != "connect" or match.mode is not Mode.AX or match.role != "b":
            return
        if match.callee == caller:
            return
        entry = self.entries[str(match.binding_id)]
        began = Call(
            id=new_call_id(),
            edge_id="edge1",
            received_at=self.now,
            dialled=dialled,
            caller=caller,
            callee=match.callee,
            binding_id=match.binding_id,
            mode=match.mode,
            role=match.role,
            trunk_out="trk_1",
        )
        self.run(self.journal.write([CallBegan(began)]))
        if entry.binding.b is None:
            entry.last_caller = caller

    def give_y(self, parent_id: str, caller: str) -> None:
        parent = self.entries[parent_id]
        x = self.run(self.world.bindings.give_y(parent_id, caller))
        (newest,) = self.run(self.world.bindings.page(self.customer, None, 1))
        if newest.id not in self.entries:
            assert (newest.parent_id, newest.a, newest.b) == (parent_id, parent.binding.a, caller)
            assert x == newest.x == parent.binding.x
            self.register(newest)
            parent.children.append(newest.id)
            return
        bound = [
            entry.binding.x
            for entry in self.entries.values()
            if self.is_live(entry) and (entry.binding.a, entry.binding.b) == (parent.binding.a, caller)
        ]
        assert bound == ([] if x is None else [x])

    @rule(who=st.one_of(people, extensions.map(lambda digits: f"#{digits}")), x=st.sampled_from(XS + YS))
    def call(self, who: str, x: str) -> None:
        self.check_call(who, x)

    def check_call(self, who: str, dialled: str) -> None:
        async def ask() -> tuple[str, str | None, str | None]:
            if not who.startswith("#"):
                match = await self.world.bindings.look_up(who, dialled)
                return match.outcome.value, match.callee, match.display
            async with self.world.database.read() as connection:
                row = await look_up(connection, extension_key(who[1:]), dialled, self.now)
            if row is None or LegRow(*row).claim != EXTENSIONS:
                return "unknown_caller", None, None  # the switch takes it for no extension at all
            match = judge(row, self.now, extension=True)
            callee = match.callee_sealed and self.world.vault.open(match.callee_sealed)
            return match.outcome.value, callee, match.display

        outcome, callee, display = self.run(ask())
        wanted = self.expected(who, dialled)
        assert outcome == wanted[0] or (outcome, wanted[0]) in UNSWEPT, (outcome, wanted)
        if outcome == "connect":
            assert (callee, display) == wanted[1:]

    def check_numbers(self) -> None:
        """Live legs are counted where they are, and an X is one person's."""

        async def ask() -> tuple[dict[str, int], dict[str, int], set[tuple[str, bytes | None]]]:
            live = select(legs.c.dialled, func.count()).where(legs.c.state == "live").group_by(legs.c.dialled)
            leading = select(bindings.c.x, bindings.c.a_key).where(
                bindings.c.state == "live", bindings.c.mode.in_(("axyb", "ax"))
            )
            async with self.world.database.read() as connection:
                counted = {row.dialled: row[1] for row in await connection.execute(live)}
                rows = await connection.execute(select(numbers.c.number, numbers.c.relations))
                kept = {row.number: row.relations for row in rows if row.relations}
                return counted, kept, {(row.x, row.a_key) for row in await connection.execute(leading)}

        counted, kept, leading = self.run(ask())
        assert kept == counted
        assert len({x for x, _ in leading}) == len(leading)

    def teardown(self) -> None:
        if not self.customer:
            return
        self.check_numbers()
        for who in [*PEOPLE, "#1", "#22", "#3"]:
            for dialled in XS + YS:
                self.check_call(who, dialled)


#: what is said, and what would be said if everything that is over had been swept away
UNSWEPT = {
    *(("binding_expired", "unknown_caller"), ("binding_expired", "extension_unknown")),
    ("binding_expired", "no_y_free"),
    *(("extension_needed", "unknown_caller"), ("extension_unknown", "unknown_caller")),
}


def test_no_sequence_of_events_connects_strangers(database_url: str, vault: Vault) -> None:
    with one_world(database_url, vault) as (runner, world):
        journal = CallJournal(world.database, vault)
        try:
            drive(lambda: ModesMachine(runner, world, journal), examples=10, steps=30)
        finally:
            journal.close()
