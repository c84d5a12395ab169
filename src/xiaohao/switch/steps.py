"""The way of an INVITE: a list of named steps, each of which lets the call on or refuses it.

Read `STEPS` from top to bottom and you know what happens to a call before it is connected.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn, Protocol

import structlog

from xiaohao.bindings.recognition import LegMatch, Outcome, judge
from xiaohao.calls.model import Call, Mark, Reason, Routed
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.edge.wire import Invite, Leg
from xiaohao.numbers.model import is_foreign
from xiaohao.routing.decision import Decision
from xiaohao.routing.waiting import Waiting
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.switch import carriers as trunking
from xiaohao.switch.carriers import Carriers
from xiaohao.switch.causes import AS_THE_CUSTOMER_REFUSES, Refusal
from xiaohao.switch.lookup import Lookup
from xiaohao.switch.recognise import match_of, note, recognise, take_note
from xiaohao.trunks.model import Trunk

_log = structlog.get_logger()

#: between our decision and the moment at which the edge gives it up
_MARGIN_S: Final = 0.2
#: a caller whose number is withheld is told that, and not that nobody knows them
_NEED_THE_CALLER: Final = (Outcome.UNKNOWN_CALLER, Outcome.NO_Y_FREE)


class Refused(Exception):
    """The call is not connected, for this reason. `prompt`: what the caller hears instead of the usual."""

    def __init__(
        self,
        reason: Reason,
        prompt: str | None = None,
        told_as: Refusal | None = None,
        *,
        waits: bool = False,
    ) -> None:
        """`prompt`: the name of what the caller hears first, where it is not what the reason says.

        `told_as`: what the caller's network is told, where it is not what the reason says. `waits`: the
        caller may wait; the reason is for where that cannot be.
        """
        super().__init__(reason.value)
        self.reason, self.prompt, self.told_as, self.waits = reason, prompt, told_as, waits


@dataclass(slots=True)
class Passage:
    """One call on its way through the steps, with what it has collected so far."""

    invite: Invite
    call: Call
    trunk: Trunk | None = None
    match: LegMatch | None = None
    #: the customer decides this call
    is_asked: bool = False
    #: and lets the caller wait, who is asked about again
    waiting: Waiting | None = None
    legs: list[Leg] = field(default_factory=list)
    #: by which step, where one has
    refused: Refused | None = None
    marks: list[Mark] = field(default_factory=list)
    #: what the present step found out
    why: dict[str, Any] = field(default_factory=dict)

    def note(self, **why: Any) -> None:
        """Say for the path of the call what this step found and decided by: ids and words, no real number."""
        self.why.update(why)


class Router(Protocol):
    """Customers who decide calls themselves: `routing.table.RoutingTable`."""

    def asks(self, match: LegMatch) -> bool:
        """Whether the customer of the number dialled is to be asked about this call."""

    async def decide(self, call: Call, match: LegMatch, waiting: Waiting | None = None) -> Decision | None:
        """Ask, and decide; None where nothing is set up. Raises DatabaseUnavailable."""

    async def give_up(self, call: Call, match: LegMatch, waiting: Waiting) -> Decision | None:
        """What is to be with a caller who has waited long enough; None as above."""

    def leave(self, call_id: str) -> None:
        """A caller waits no longer; nothing where they did not."""


async def free_seats(call: Call) -> Reason | None:
    """Where nobody limits calls at a time."""
    return None


@dataclass(frozen=True, slots=True)
class Tools:
    """What the steps work with."""

    settings: Settings
    vault: Vault
    lookup: Lookup
    carriers: Carriers
    #: binds A of a binding and a caller; gives back the X of the two
    give_y: Callable[[str, str], Awaitable[str | None]]
    #: `policing.Policing.judge`: why a policy refuses a call that would leave over this trunk
    judge: Callable[[Call, str | None], Awaitable[Reason | None]]
    #: `policing.Policing.release`: a call is over
    release: Callable[[str], None] = lambda call_id: None
    #: None: no customer decides calls
    router: Router | None = None
    #: whom callers reach whom no binding knows, by customer and pool of the number dialled; None: nobody
    hotline: Callable[[str | None, str | None], str | None] = lambda customer_id, pool_id: None
    #: whether there is room for another recording
    may_record: Callable[[], bool] = lambda: True
    #: `policing.Policing.seat`: why a policy does not let this caller wait
    seat: Callable[[Call], Awaitable[Reason | None]] = free_seats

    def leave(self, call_id: str) -> None:
        """A caller waits no longer; nothing where they did not."""
        if self.router is not None:
            self.router.leave(call_id)


async def know_the_trunk(passage: Passage, tools: Tools) -> None:
    """Which carrier brings the call?"""
    passage.trunk = tools.carriers.trunk_of(passage.invite.trunk_group)
    if passage.trunk is None:
        # taken away a moment ago; the edge still let it in
        raise Refused(Reason.NO_TRUNK)
    passage.call.trunk_in = passage.trunk.id
    passage.note(trunk=passage.trunk.id)


async def recognise_the_caller(passage: Passage, tools: Tools) -> None:
    """Who calls? A withheld number is found out later, when it is known whose number was dialled."""
    assert passage.trunk is not None  # noqa: S101 – the first step
    region = tools.settings.calls.region
    passage.call.caller = trunking.number_of_caller(passage.invite.caller, passage.trunk, region)
    passage.note(known=passage.call.caller is not None)


async def find_the_binding(passage: Passage, tools: Tools) -> None:
    """Who is bound to (caller, dialled)? Or does the customer of the number decide its calls?"""
    call, trunk, region = passage.call, passage.trunk, tools.settings.calls.region
    assert trunk is not None  # noqa: S101 – the first step
    dialled = passage.invite.dialled
    match = passage.match = await recognise(call, dialled, trunk, region, tools.vault, tools.lookup)
    passage.note(outcome=match.outcome.value, binding=match.binding_id, mode=match.mode, role=match.role)
    passage.is_asked = tools.router is not None and tools.router.asks(match)
    if passage.is_asked:
        return
    if match.outcome is Outcome.UNKNOWN_CALLER and match.door is Outcome.CONNECT:
        match = passage.match = _to_the_hotline(match, tools)
    if match.outcome in _NEED_THE_CALLER and call.caller is None:
        raise Refused(Reason.CALLER_WITHHELD)
    if match.outcome not in (Outcome.CONNECT, Outcome.NO_Y_FREE):
        raise Refused(Reason(match.outcome.value))


def _to_the_hotline(match: LegMatch, tools: Tools) -> LegMatch:
    """The number that the customer has for callers whom no binding knows, if it may be called."""
    hotline = tools.hotline(match.customer_id, match.pool_id)
    if hotline is None or match.display is None:
        return match
    return replace(match, outcome=Outcome.CONNECT, callee_sealed=tools.vault.seal(hotline))


async def ask_the_customer(passage: Passage, tools: Tools) -> None:
    """Scheme 2: what does the customer say about this call, or what does it fall back on?"""
    if not passage.is_asked or tools.router is None:
        return
    assert passage.match is not None  # noqa: S101 – the step before
    await _carry_out(await tools.router.decide(passage.call, passage.match, passage.waiting), passage, tools)


async def end_the_wait(passage: Passage, tools: Tools) -> None:
    """The caller has waited as long as they may: what has the customer said that is to be then?"""
    assert tools.router is not None  # noqa: S101 – who waits was asked about
    assert passage.match is not None  # noqa: S101
    assert passage.waiting is not None  # noqa: S101
    await _carry_out(await tools.router.give_up(passage.call, passage.match, passage.waiting), passage, tools)


async def _carry_out(decision: Decision | None, passage: Passage, tools: Tools) -> None:
    call, match = passage.call, passage.match
    assert match is not None  # noqa: S101 – the steps above
    if decision is None:
        raise Refused(Reason.ROUTING_MISSING)
    routed = call.routing = decision.routed
    passage.note(**{name: getattr(routed, name) for name in Routed.__struct_fields__})
    if decision.as_bound:
        note(call, match)  # who waited was not one of a binding meanwhile
        if match.outcome is Outcome.EXTENSION_NEEDED:
            raise Refused(Reason.EXTENSION_NEEDED)  # the caller is asked for it
        return
    take_note(call, decision)
    if decision.waiting is not None:
        await _let_wait(passage, decision.waiting, tools)
    if decision.reason is not None:
        told_as = None if decision.told_as is None else AS_THE_CUSTOMER_REFUSES[decision.told_as]
        raise Refused(decision.reason, decision.prompt, told_as)
    passage.match = match_of(decision, match)


async def _let_wait(passage: Passage, waiting: Waiting, tools: Tools) -> NoReturn:
    if passage.waiting is None:
        # one of the calls that are counted, for as long as it lives
        reason = await tools.seat(passage.call)
        if reason is not None:
            raise _not_carried_out(passage.call, reason)
    passage.waiting = waiting
    raise Refused(Reason.QUEUE_UNAVAILABLE, waits=True)


async def give_a_y(passage: Passage, tools: Tools) -> None:
    """Is the caller one who only becomes the B of this X by calling? Then they are bound to A now."""
    call, match = passage.call, passage.match
    assert match is not None  # noqa: S101 – the step before
    if match.outcome is Outcome.CONNECT:
        return
    assert match.binding_id is not None  # noqa: S101 – NO_Y_FREE has a leg and a caller
    assert match.callee_sealed is not None  # noqa: S101
    assert call.caller is not None  # noqa: S101
    if tools.vault.open(match.callee_sealed) == call.caller:
        raise Refused(Reason.LOOP)
    x = await _in_time(tools.give_y(match.binding_id, call.caller), passage, tools)
    if x is not None:
        row = await tools.lookup.find(tools.vault.index(call.caller), x, call.received_at)
        match = passage.match = judge(row, call.received_at, from_abroad=is_foreign(call.caller))
        note(call, match)
        passage.note(outcome=match.outcome.value, binding=match.binding_id)
    if match.outcome is not Outcome.CONNECT:
        raise Refused(Reason(match.outcome.value))


async def _in_time(giving: Awaitable[str | None], passage: Passage, tools: Tools) -> str | None:
    """A call whose customer was asked has less time left than others."""
    if not passage.is_asked:
        return await giving
    left_us = passage.call.received_at + tools.settings.calls.decision_ms * 1000 - now_us()
    try:
        async with asyncio.timeout(left_us / SECOND - _MARGIN_S):
            return await giving
    except TimeoutError:
        return None


async def take_the_terms(passage: Passage, tools: Tools) -> None:
    """What the binding says about this call."""
    call, match = passage.call, passage.match
    assert match is not None  # noqa: S101 – the step before
    if match.callee is not None:
        call.callee = match.callee
    else:
        assert match.callee_sealed is not None  # noqa: S101 – CONNECT has a callee
        call.callee = tools.vault.open(match.callee_sealed)
    call.displayed = match.display
    call.record = match.record and tools.may_record()
    call.unrecorded = match.record and not call.record
    longest = tools.settings.calls.max_duration_s
    call.max_duration_s = min(match.max_duration_s or longest, longest)
    passage.note(displayed=call.displayed, record=call.record, max_duration_s=call.max_duration_s)
    if call.caller in (call.callee, call.displayed, call.dialled):
        raise _not_carried_out(call, Reason.LOOP)


async def apply_the_policies(passage: Passage, tools: Tools) -> None:
    """May these two speak now? Lists, hours, destinations, limits, of the operator and of the customer."""
    reason = await tools.judge(passage.call, passage.match.display_trunk_id if passage.match else None)
    if reason is not None:
        raise _not_carried_out(passage.call, reason)


def _not_carried_out(call: Call, reason: Reason) -> Refused:
    """A call is refused; where that is because of what its customer answered, the customer is told."""
    if call.routing is not None:
        call.routing = call.routing.refused_by(reason.value)
    return Refused(reason)


async def choose_the_ways(passage: Passage, tools: Tools) -> None:
    """Which trunks lead to the callee and own the number displayed?"""
    call, match = passage.call, passage.match
    assert match is not None  # noqa: S101 – steps before
    assert call.callee is not None  # noqa: S101 – steps before
    assert call.displayed is not None  # noqa: S101 – steps before
    owner_id, there = match.display_trunk_id, (call.callee, call.displayed)
    ways = tools.carriers.ways_to(*there, owner_id, call.trunk_in, call.id)
    if isinstance(ways, Reason):
        raise Refused(ways)
    call.trunk_out = ways[0][0].id
    passage.legs = [leg for _, leg in ways]
    passage.note(trunks=[trunk.id for trunk, _ in ways])


Step = Callable[[Passage, Tools], Awaitable[None]]
STEPS: Final[tuple[Step, ...]] = (
    know_the_trunk,
    recognise_the_caller,
    find_the_binding,
    ask_the_customer,
    give_a_y,
    take_the_terms,
    apply_the_policies,
    choose_the_ways,
)

#: for a caller who was asked in a dialogue whom they mean, or who has waited
LATER_STEPS: Final = STEPS[STEPS.index(ask_the_customer) + 1 :]


async def take(step: Step, passage: Passage, tools: Tools) -> None:
    """Take a step; what it found and how long it took is noted for the path of the call, also a refusal's."""
    began = time.perf_counter_ns()
    try:
        await step(passage, tools)
    finally:
        took = (time.perf_counter_ns() - began) // 1000
        name = getattr(step, "__name__", "step")
        passage.marks.append(Mark(name, now_us() - took, took, passage.why))
        passage.why = {}


async def walk(passage: Passage, tools: Tools, steps: Sequence[Step] = STEPS) -> Reason | None:
    """Take the steps; gives the reason for which the call is refused."""
    reason = passage.refused = None
    try:
        for step in steps:
            await take(step, passage, tools)
    except Refused as refused:
        reason, passage.refused = refused.reason, refused
    except DatabaseUnavailable:
        reason = Reason.PLATFORM_ERROR
    except Exception as error:  # noqa: BLE001 – a fault of ours must end as a refusal, not as a silent phone
        _log.error("decision_failed", call_id=passage.call.id, error=type(error).__name__)
        reason = Reason.PLATFORM_ERROR
    passage.call.record = passage.call.record and reason is None
    passage.call.unrecorded = passage.call.unrecorded and reason is None
    return reason
