"""An edge, a look-up and a journal for a switchboard without processes, all as unreliable as a test wants."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.ids import new_call_id
from xiaohao.bindings.recognition import LegRow
from xiaohao.calls.journal import CallBegan, CallEnded, CallMoved, CallTraced, Change
from xiaohao.calls.model import Call, Party, Reason, Try
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.edge import wire
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.switch.carriers import Carriers, group_of
from xiaohao.switch.steps import Tools
from xiaohao.switch.switchboard import Switchboard
from xiaohao.trunks.model import Target, Trunk, TrunkSpec

VAULT = Vault(bytes(32))
CALLER, CALLEE, STRANGER = "+8613800000001", "+8613900000002", "+8613700000003"
DISPLAYED = "+8617000000001"
#: dialled by CALLER it connects; it is the customer's, whoever dials it
OURS = "+861062000001"
NOBODYS = "+861062000099"
CUSTOMER = "cus_1"
CITY = Trunk("trk_city", "city", "active", TrunkSpec("city", [], ["127.0.0.3"]))
MOBILE = Trunk("trk_mobile", "mobile", "active", TrunkSpec("carrier", [Target("127.0.0.2")], priority=1))
OTHER = Trunk("trk_other", "other", "active", TrunkSpec("carrier", [Target("127.0.0.5")], priority=2))


class LookupDouble:
    """Knows one number and one binding; may be away or slow."""

    def __init__(self) -> None:
        self.away = False
        self.answering = asyncio.Event()
        self.answering.set()

    async def open(self) -> None:
        """Nothing to open."""

    async def find(self, caller_key: bytes, dialled: str, now: int) -> Sequence[Any] | None:
        await self.answering.wait()
        if self.away:
            raise DatabaseUnavailable("away")
        if dialled != OURS:
            return None
        bound = caller_key == VAULT.index(CALLER)
        ours = LegRow(*("in_service", "anyone", None, CUSTOMER, "active"), *(None,) * 22)
        if not bound:
            return ours
        return ours._replace(
            leg_state="live",
            role="a",
            mode="axyb",
            barred=0,
            binding_id="bnd_1",
            callee_sealed=VAULT.seal(CALLEE),
            display=DISPLAYED,
            record=1,
            order_ref="order 1",
            user_data="data",
            display_state="in_service",
            shown=DISPLAYED,
            shown_state="in_service",
            shown_displayable=1,
            shown_kind="mobile",
            shown_verification="verified",
            shown_trunk_id=MOBILE.id,
        )

    async def close(self) -> None:
        """Nothing to close."""


class JournalDouble:
    """Keeps what it is given; a crash takes the end of it."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def put(self, change: Change) -> None:
        call = msgspec.structs.replace(change.call, tries=list(change.call.tries))
        self.changes.append(msgspec.structs.replace(change, call=call))

    def live(self) -> list[Call]:
        """What the table of calls in progress holds."""
        calls: dict[str, Call] = {}
        ended = {change.call.id for change in self.changes if isinstance(change, CallEnded)}
        for change in self.changes:
            if change.call.id not in ended:
                calls[change.call.id] = msgspec.structs.replace(change.call)
        return list(calls.values())

    def ends(self) -> dict[str, Call]:
        """The CDRs: of each call its first end, as in the database."""
        found: dict[str, Call] = {}
        for change in self.changes:
            if isinstance(change, CallEnded):
                found.setdefault(change.call.id, change.call)
        return found


async def nobody_is_given_a_y(parent_id: str, caller: str) -> str | None:
    """No binding of these tests has y_on_demand."""
    raise AssertionError(f"{parent_id} has no Y to give")


async def no_policies(call: Call, display_trunk_id: str | None) -> Reason | None:
    """Nobody has set any."""
    return None


@dataclass
class Life:
    """A call as the edge knows it."""

    id: str
    serial: int
    received_at: int
    dialled: str
    caller: str
    #: undecided, connected, ended
    state: str = "undecided"
    sealed: str = ""
    ringing: wire.Ringing | None = None
    answered: wire.Answered | None = None
    end: wire.Ended | None = None
    asked_to_end: Reason | None = None

    @property
    def is_live(self) -> bool:
        return self.state == "connected"


@dataclass
class EdgeDouble:
    """What Kamailio keeps and says; `flying` are signals on their way to the switch."""

    lives: dict[str, Life] = field(default_factory=dict)
    kept: dict[str, wire.Ended] = field(default_factory=dict)
    flying: list[wire.Signal] = field(default_factory=list)
    #: ids that the switch has confirmed
    confirmed: set[str] = field(default_factory=set)
    #: transactions so far; a Kamailio that begins anew does not give one the name of an older one either
    transactions: int = 0
    clock: int = field(default_factory=now_us)

    def tick(self) -> int:
        self.clock += SECOND // 100
        return self.clock

    # What phones do

    def invite(self, dialled: str, caller: str) -> Life:
        self.transactions += 1
        life = Life(new_call_id(), self.transactions, self.tick(), dialled, caller)
        self.lives[life.id] = life
        raw = wire.RawCaller(caller, None, None, None)
        transaction = f"{life.serial}|7"
        group = group_of(CITY.id)
        self.flying.append(
            wire.Invite(life.id, transaction, life.received_at, group, "127.0.0.3", dialled, raw)
        )
        return life

    def ring(self, life: Life, trunk: Trunk) -> None:
        life.ringing = wire.Ringing(life.id, self.tick(), group_of(trunk.id))
        self.flying.append(life.ringing)

    def answer(self, life: Life, trunk: Trunk) -> None:
        tries = [] if trunk is MOBILE else [Try(str(group_of(MOBILE.id)), self.tick(), 503)]
        life.answered = wire.Answered(life.id, self.tick(), group_of(trunk.id), self.tick(), tries)
        self.flying.append(life.answered)

    def finish(self, life: Life, by: Party, reason: Reason | None, code: int = 0) -> None:
        raw = wire.RawCaller(life.caller, None, None, None)
        life.end = wire.Ended(
            life.id, self.tick(), life.ringing, life.answered, by, reason, code or None, 16, [],
            life.received_at, group_of(CITY.id), life.dialled, raw, life.sealed,
        )  # fmt: skip
        life.state = "ended"
        self.kept[life.id] = life.end
        self.flying.append(life.end)

    # What the switch says

    def hear(self, line: str) -> None:
        verb, *fields = line.split("|")
        getattr(self, f"_hear_{verb.lower()}")(fields)

    def _undecided(self, serial: str) -> Life | None:
        return next(
            (x for x in self.lives.values() if str(x.serial) == serial and x.state == "undecided"), None
        )

    def _hear_c(self, fields: list[str]) -> None:
        if life := self._undecided(fields[0]):
            life.state, life.sealed = "connected", fields[5]

    def _hear_r(self, fields: list[str]) -> None:
        if life := self._undecided(fields[0]):
            life.sealed = fields[6]
            self.finish(life, Party.PLATFORM, Reason(fields[5]), int(fields[2]))

    def _hear_k(self, fields: list[str]) -> None:
        for call_id in fields:
            self.confirmed.add(call_id)
            self.kept.pop(call_id, None)

    def _hear_x(self, fields: list[str]) -> None:
        life = self.lives.get(fields[0])
        if life is None or not life.is_live:
            return
        self.flying.append(wire.Dialogs(life.id, life.answered is not None, [], []))
        if life.answered is not None:
            self.finish(life, Party.PLATFORM, Reason(fields[1]))
        else:
            life.asked_to_end = Reason(fields[1])

    def telling(self) -> list[wire.Signal]:
        """The answer to `tell_all`."""
        named: list[wire.Signal] = [
            wire.Live(life.id, life.ringing, life.answered, life.sealed)
            for life in self.lives.values()
            if life.is_live
        ]
        return [*named, *self.kept.values()]

    def restart(self) -> None:
        """Kamailio dies: its memory and what was on its way are gone."""
        self.lives = {}
        self.kept = {}
        self.flying = []


def switchboard(
    lookup: LookupDouble, journal: JournalDouble, edge: EdgeDouble
) -> tuple[Switchboard, Carriers]:
    """A switch that was started just now."""
    carriers = Carriers([CITY, MOBILE, OTHER])
    tools = Tools(Settings(), VAULT, lookup, carriers, nobody_is_given_a_y, no_policies)
    return Switchboard(tools, journal, edge.hear), carriers  # type: ignore[arg-type]


def kinds(changes: list[Change], call_id: str) -> list[str]:
    """What the journal was told of a call, in order: began, ringing, answered, ended, traced."""
    named = {CallBegan: "began", CallEnded: "ended", CallTraced: "traced"}
    return [
        change.call.state.value if isinstance(change, CallMoved) else named[type(change)]
        for change in changes
        if change.call.id == call_id
    ]
