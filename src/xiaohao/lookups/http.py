"""Routes: who is, and was, behind a number. All are POSTs: real numbers must not stand in a URL."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, StringConstraints

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Moment, Number, Request, Timestamp
from xiaohao.api.paging import Cursors
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.bindings.recognition import Outcome
from xiaohao.calls.model import Call, Reason, State
from xiaohao.calls.wire import recording_path
from xiaohao.clock import rfc3339, rfc3339_or_none
from xiaohao.lookups.model import AboutNumber, AboutPerson, Dial, Relation, Side, Standing
from xiaohao.lookups.service import Lookups
from xiaohao.secrecy import Vault, masked
from xiaohao.tenants.model import Principal

_MASKED = "Real number; masked (`138****0001`) for the operator, who sees it in full as evidence only"

Shown = Annotated[str | None, Field(description=_MASKED)]
Show = Callable[[str | None], str | None]


class _Paged(Request):
    after: Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_-]*$")] | None = Field(
        None, description="`next` of the answer before"
    )
    limit: int = Field(100, ge=1, le=500, description="Relations at most")


class NumberQuestion(_Paged):
    """A platform number."""

    number: Number = Field(description="A platform number, X or Y")


class EvidenceQuestion(NumberQuestion):
    """A platform number, a moment, and what the answer is for."""

    at: Moment = Field(description="The moment asked for, not in the future")
    window_s: int = Field(
        60, ge=0, le=3600, description="Calls so many seconds before and after it are shown"
    )
    person: Number | None = Field(
        None, description="Only what joined the number with this real number, e.g. that of who complains"
    )
    reason: Annotated[
        str, StringConstraints(min_length=3, max_length=500, strip_whitespace=True, pattern=r"^[^\x00]*$")
    ] = Field(description="What it is needed for; goes into the audit log")


class PersonQuestion(Request):
    """A real number."""

    person: Number


class PairQuestion(Request):
    """Two real numbers; either may be A."""

    a: Number
    b: Number


class RelationView(BaseModel):
    """A binding as it was at the moment asked for."""

    binding_id: str
    customer_id: str
    mode: str
    standing: Standing = Field(
        description="Live and in grace it connects, quarantined it does not; whether the numbers and the"
        " customer let a call through now is said by `outcome` of a person's `dials`"
    )
    stands_for: Side | None = Field(description="Whom the number stood for; null: for either of the two")
    person: Shown = Field(description="The real number behind the number asked for. " + _MASKED)
    a: Shown
    b: Shown
    x: str
    y: str | None
    extension: str | None
    since: Timestamp = Field(description="Since when the binding had this content")
    until: Timestamp | None = Field(description="When it was changed; null: it was not")
    ended_at: Timestamp | None
    recycle_until: Timestamp | None
    grace_until: Timestamp | None = Field(description="Once it has ended: so long its people are connected")
    order_ref: str | None


class CallView(BaseModel):
    """A call over the number, or between the people, asked for."""

    call_id: str
    customer_id: str | None
    binding_id: str | None
    state: State
    caller: Shown
    callee: Shown
    dialled: str
    displayed: str | None
    received_at: Timestamp
    answered_at: Timestamp | None
    ended_at: Timestamp | None
    reason: Reason | None
    recording: str | None


class NumberThenView(BaseModel):
    """The number itself; null what is not known, or not yours to know."""

    number: str
    state: str | None
    reason: str | None
    customer_id: str | None
    person: Shown
    known_since: Timestamp | None = Field(description="When it came to be so")


class AboutNumberView(BaseModel):
    """Who is behind a number now."""

    number: NumberThenView
    relations: list[RelationView]
    next: str | None = Field(description="Give it as `after` for further relations; null: there are none")
    live_calls: list[CallView] = Field(description="In progress now")


class EvidenceView(AboutNumberView):
    """Who was behind a number at a moment, and the calls over it around that moment. Numbers in full."""

    at: Timestamp
    calls: list[CallView] = Field(description="Ended calls, the oldest first")


class DialView(BaseModel):
    """A number that the person can dial, or could a short while ago."""

    number: str
    binding_id: str
    customer_id: str
    standing: Standing
    outcome: Outcome = Field(description="Of a call at this moment: `connect`, or why it is refused")
    barred: bool = Field(description="Against the binding's direction: not connected")
    reaches: Shown
    shows: str | None = Field(description="What stands on the other's display")
    valid_until: Timestamp | None
    quarantine_until: Timestamp | None


class AboutPersonView(BaseModel):
    """The numbers around a person, or between two."""

    own_numbers: list[str] = Field(description="Numbers that stand for this person alone")
    dials: list[DialView]
    relations: list[RelationView]
    live_calls: list[CallView]
    more: bool = Field(description="There are more than the 500 newest that are shown")


def router(lookups: Lookups, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("lookups")

    @routes.post("/v1/lookups/number", openapi_extra=ONLY_READS)
    async def look_up_number(key: AnyKey, body: NumberQuestion) -> AboutNumberView:
        """For whom a number stands now: live relations, those in quarantine, calls in progress."""
        cursors = Cursors(vault, f"lookup {key.customer_id} {body.number}")
        found = await lookups.number(key, body.number, _before(cursors, body), body.limit)
        return AboutNumberView(**_about(found, cursors, _for(key)))

    @routes.post("/v1/lookups/person", openapi_extra=ONLY_READS)
    async def look_up_person(key: AnyKey, body: PersonQuestion) -> AboutPersonView:
        """What a person can dial, over which numbers they are reached, their calls in progress."""
        return _person(await lookups.person(key, body.person), _for(key))

    @routes.post("/v1/lookups/pair", openapi_extra=ONLY_READS)
    async def look_up_pair(key: AnyKey, body: PairQuestion) -> AboutPersonView:
        """What joins two people: relations live or in quarantine, and calls in progress between them."""
        return _person(await lookups.pair(key, body.a, body.b), _for(key))

    @routes.post("/v1/lookups/evidence", openapi_extra=ONLY_READS)
    async def look_up_evidence(key: AnyKey, body: EvidenceQuestion) -> EvidenceView:
        """Who was behind a number at a moment, from complete history; goes into the audit log."""
        person = f" {body.person}" if body.person else ""
        cursors = Cursors(vault, f"evidence {key.customer_id} {body.number} {body.at}{person}")
        found = await lookups.evidence(
            key,
            body.number,
            body.at,
            body.window_s,
            body.reason,
            body.person,
            _before(cursors, body),
            body.limit,
        )
        calls = [_call(call, _in_full) for call in found.ended_calls]
        return EvidenceView(**_about(found, cursors, _in_full), at=rfc3339(body.at), calls=calls)

    return routes


def _before(cursors: Cursors, body: _Paged) -> int | None:
    position = cursors.position(body.after)
    return None if position is None else int(position)


def _for(key: Principal) -> Show:
    return _masked if key.is_operator else _in_full


def _masked(number: str | None) -> str | None:
    return None if number is None else masked(number)


def _in_full(number: str | None) -> str | None:
    return number


def _about(found: AboutNumber, cursors: Cursors, show: Show) -> dict[str, Any]:
    then = found.number
    return {
        "number": NumberThenView(
            number=then.number,
            state=then.state,
            reason=then.reason,
            customer_id=then.customer_id,
            person=show(then.person),
            known_since=rfc3339_or_none(then.known_since),
        ),
        "relations": [_relation(relation, show) for relation in found.relations],
        "next": None if found.more is None else cursors.at(found.more),
        "live_calls": [_call(call, show) for call in found.live_calls],
    }


def _person(found: AboutPerson, show: Show) -> AboutPersonView:
    return AboutPersonView(
        own_numbers=found.own_numbers,
        dials=[_dial(dial, show) for dial in found.dials],
        relations=[_relation(relation, show) for relation in found.relations],
        live_calls=[_call(call, show) for call in found.live_calls],
        more=found.more,
    )


def _relation(relation: Relation, show: Show) -> RelationView:
    return RelationView(
        binding_id=relation.binding_id,
        customer_id=relation.customer_id,
        mode=relation.mode,
        standing=relation.standing,
        stands_for=relation.stands_for,
        person=show(relation.person),
        a=show(relation.a),
        b=show(relation.b),
        x=relation.x,
        y=relation.y,
        extension=relation.extension,
        since=rfc3339(relation.since),
        until=rfc3339_or_none(relation.until),
        ended_at=rfc3339_or_none(relation.ended_at),
        recycle_until=rfc3339_or_none(relation.recycle_until),
        grace_until=rfc3339_or_none(relation.grace_until),
        order_ref=relation.order_ref,
    )


def _dial(dial: Dial, show: Show) -> DialView:
    return DialView(
        number=dial.number,
        binding_id=dial.binding_id,
        customer_id=dial.customer_id,
        standing=dial.standing,
        outcome=dial.outcome,
        barred=dial.barred,
        reaches=show(dial.reaches),
        shows=dial.shows,
        valid_until=rfc3339_or_none(dial.valid_until),
        quarantine_until=rfc3339_or_none(dial.quarantine_until),
    )


def _call(call: Call, show: Show) -> CallView:
    return CallView(
        call_id=call.id,
        customer_id=call.customer_id,
        binding_id=call.binding_id,
        state=call.state,
        caller=show(call.caller),
        callee=show(call.callee),
        dialled=call.dialled,
        displayed=call.displayed,
        received_at=rfc3339(call.received_at),
        answered_at=rfc3339_or_none(call.answered_at),
        ended_at=rfc3339_or_none(call.ended_at),
        reason=call.reason,
        recording=recording_path(call.id) if call.record and call.state is State.ENDED else None,
    )
