"""Routes: rules, the days of the calendar, alarms, and what the policies would say of a call."""

from datetime import date
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.responses import Response

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Id, Moment, Name, NotNull, Number, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.bindings.model import Role
from xiaohao.calls.model import Reason
from xiaohao.clock import now_us, rfc3339, rfc3339_or_none
from xiaohao.errors import not_found, validation_failed
from xiaohao.policies.calendar import PUBLISHED_UNTIL, DayKind
from xiaohao.policies.decision import Facts
from xiaohao.policies.explaining import Explaining, Explanation
from xiaohao.policies.model import Alarm, Per, Rule, SetBy
from xiaohao.policies.rules_http import AnyRule, spec_of
from xiaohao.policies.service import Owner, Policies
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal

_ABOUT: Final = "The operator: whose calls; null: everybody's. A customer's own rules are about its own calls"
#: days of which anybody would say something
_YEARS: Final = range(2000, 2101)

Day = Annotated[str, PathParameter(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", examples=["2027-02-08"])]


class NewRule(Request):
    """A rule to make."""

    name: Name
    rule: AnyRule
    number: Number | None = Field(None, description="For calls to this platform number only; null: to all")
    customer_id: Id | None = Field(None, description=_ABOUT)
    enabled: bool = True


class RuleChange(Request):
    """What to change; a field that is not sent stays as it is, and none is ever null."""

    name: Annotated[Name | None, NotNull] = None
    rule: Annotated[AnyRule | None, NotNull] = None
    enabled: Annotated[bool | None, NotNull] = None


class RuleView(BaseModel):
    """A rule."""

    id: str
    set_by: SetBy
    customer_id: str | None = Field(description="null: for all customers")
    name: str
    number: str | None
    enabled: bool
    rule: dict[str, Any]
    created_at: Timestamp
    updated_at: Timestamp


class PolicyQuery(PageQuery):
    """Which of them. A customer gets its own."""

    customer_id: Id | None = Field(None, description="The operator: those about this customer only")


class AlarmView(BaseModel):
    """A suspicion of fraud."""

    id: str
    rule_id: str
    set_by: SetBy
    customer_id: str | None = Field(description="null: of all customers' calls")
    per: Per
    subject: str = Field(description="The caller, or the number displayed")
    at: Timestamp
    found: dict[str, float] = Field(description="What was counted")
    blocked_until: Timestamp | None
    lifted_at: Timestamp | None


class DayChange(Request):
    """What a day is."""

    kind: DayKind = Field(strict=False)
    name: Name


class DayView(BaseModel):
    """What the operator says of a day."""

    day: str
    kind: DayKind
    name: str


class DaysView(BaseModel):
    """What is known of days."""

    published_until: int = Field(description="The last year whose holidays are known without being entered")
    items: list[DayView]


class Question(Request):
    """A call that is not made."""

    caller: Number | None = Field(None, description="null: withheld")
    callee: Number
    dialled: Number
    displayed: Number
    role: Literal["a", "b"] | None = Field(None, description="Which of the binding's two calls")
    at: Moment | None = Field(None, description="null: now")
    trunk_in: Id | None = None
    trunk_out: Id | None = Field(None, description="The trunk of the number displayed")
    customer_id: Id | None = Field(None, description="The operator: whose call it is")


class FindingView(BaseModel):
    """Something that had a say, in the order in which it was asked."""

    set_by: SetBy
    what: str
    by: str | None = Field(
        description="The entry, rule or alarm; null: the operator's, which customers do not see"
    )
    reason: Reason | None = Field(description="null: it lets the call through")


class LimitView(BaseModel):
    """How a limit stands."""

    set_by: SetBy
    rule_id: str | None
    what: str
    count: int | None = Field(description="null: the operator's")
    limit: int | None
    reason: Reason | None


class ExplanationView(BaseModel):
    """What would become of the call."""

    allowed: bool
    reason: Reason | None
    findings: list[FindingView]
    limits: list[LimitView]


def router(policies: Policies, explaining: Explaining, vault: Vault) -> APIRouter:
    """The routes of rules, alarms and explanations."""
    router = api_router("policies")

    @router.post("/v1/policies/rules", status_code=201)
    async def add_policy_rule(key: AnyKey, body: NewRule) -> RuleView:
        """Make a rule; it is in force within a second."""
        owner = owner_of(key, body.customer_id)
        spec = spec_of(body.rule)
        return _rule(await policies.add_rule(owner, body.name, spec, body.number, body.enabled, key.key_id))

    @router.get("/v1/policies/rules")
    async def list_policy_rules(key: AnyKey, query: Annotated[PolicyQuery, Query()]) -> Page[RuleView]:
        """The rules: a customer's own, or the operator's."""
        owner = Owner.of(key.customer_id, query.customer_id)
        cursors = Cursors(vault, f"policy rules {key.customer_id}")
        found = await policies.rules(owner, cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _rule, lambda rule: rule.id)

    @router.get("/v1/policies/rules/{rule_id}")
    async def get_policy_rule(key: AnyKey, rule_id: str) -> RuleView:
        """One rule."""
        return _rule(await policies.rule(Owner.of(key.customer_id, None), rule_id))

    @router.patch("/v1/policies/rules/{rule_id}")
    async def change_policy_rule(key: AnyKey, rule_id: str, body: RuleChange) -> RuleView:
        """Change a rule; it is in force within a second."""
        spec = None if body.rule is None else spec_of(body.rule)
        owner = Owner.of(key.customer_id, None)
        return _rule(await policies.change_rule(owner, rule_id, body.name, spec, body.enabled))

    @router.delete("/v1/policies/rules/{rule_id}", status_code=204)
    async def remove_policy_rule(key: AnyKey, rule_id: str) -> Response:
        """Take a rule away."""
        await policies.remove_rule(Owner.of(key.customer_id, None), rule_id)
        return Response(status_code=204)

    @router.get("/v1/policies/alarms")
    async def list_fraud_alarms(key: AnyKey, query: Annotated[PolicyQuery, Query()]) -> Page[AlarmView]:
        """Suspicions of fraud, the oldest first: by a customer's own rules, or by the operator's."""
        owner = Owner.of(key.customer_id, query.customer_id)
        cursors = Cursors(vault, f"policy alarms {key.customer_id}")
        found = await policies.alarms(owner, cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _alarm, lambda alarm: alarm.id)

    @router.post("/v1/policies/alarms/{alarm_id}/lift")
    async def lift_fraud_block(key: AnyKey, alarm_id: str) -> AlarmView:
        """Let the calls through again that an alarm blocks, within a second."""
        return _alarm(await policies.lift_block(Owner.of(key.customer_id, None), alarm_id))

    @router.post("/v1/policies:explain", openapi_extra=ONLY_READS)
    async def explain_policies(key: AnyKey, body: Question) -> ExplanationView:
        """What the policies would say of a call, and why. Nothing is counted."""
        about = _customer(key, body.customer_id) or key.customer_id
        if about is None:
            raise validation_failed("customer_id", "is missing: whose call is it?")
        facts = Facts(
            customer_id=about,
            caller=body.caller,
            callee=body.callee,
            dialled=body.dialled,
            displayed=body.displayed,
            role=None if body.role is None else Role(body.role),
            at=now_us() if body.at is None else body.at,
            trunk_in=body.trunk_in,
            trunk_out=body.trunk_out,
        )
        return _explanation(await explaining.explain(facts), key)

    _add_days(router, policies)
    return router


def _date(day: str) -> date:
    try:
        found = date.fromisoformat(day)
    except ValueError:
        raise validation_failed("day", "is no day of the calendar") from None
    if found.year not in _YEARS:
        raise validation_failed("day", f"must lie within the years {_YEARS[0]} to {_YEARS[-1]}")
    return found


def _add_days(router: APIRouter, policies: Policies) -> None:
    @router.get("/v1/policies/days")
    async def list_policy_days(_: OperatorKey) -> DaysView:
        """What the operator says of days beside what the State Council publishes."""
        items = [DayView(day=day, kind=kind, name=name) for day, kind, name in await policies.days()]
        return DaysView(published_until=PUBLISHED_UNTIL, items=items)

    @router.put("/v1/policies/days/{day}")
    async def set_policy_day(_: OperatorKey, day: Day, body: DayChange) -> DayView:
        """Say what a day is, as soon as it is known."""
        await policies.set_day(_date(day), body.kind, body.name)
        return DayView(day=day, kind=body.kind, name=body.name)

    @router.delete("/v1/policies/days/{day}", status_code=204)
    async def unset_policy_day(_: OperatorKey, day: Day) -> Response:
        """Go back to what is published."""
        await policies.unset_day(_date(day))
        return Response(status_code=204)


def owner_of(key: Principal, about: str | None) -> Owner:
    """Whose policies a body means. Raises Refusal: `not_found` where a customer names another one."""
    return Owner.of(key.customer_id, _customer(key, about))


def _customer(key: Principal, about: str | None) -> str | None:
    if key.customer_id is not None and about not in (None, key.customer_id):
        raise not_found("customer")
    return about


def _rule(rule: Rule) -> RuleView:
    return RuleView(
        id=rule.id,
        set_by=rule.set_by,
        customer_id=rule.customer_id or None,
        name=rule.name,
        number=rule.number,
        enabled=rule.enabled,
        rule=msgspec.to_builtins(rule.spec),
        created_at=rfc3339(rule.created_at),
        updated_at=rfc3339(rule.updated_at),
    )


def _alarm(alarm: Alarm) -> AlarmView:
    return AlarmView(
        id=alarm.id,
        rule_id=alarm.rule_id,
        set_by=alarm.set_by,
        customer_id=alarm.customer_id or None,
        per=alarm.per,
        subject=alarm.subject,
        at=rfc3339(alarm.at),
        found=alarm.found,
        blocked_until=rfc3339_or_none(alarm.blocked_until),
        lifted_at=rfc3339_or_none(alarm.lifted_at),
    )


def _explanation(found: Explanation, key: Principal) -> ExplanationView:
    def shown(set_by: SetBy) -> bool:
        return key.customer_id is None or set_by is SetBy.CUSTOMER

    findings = [
        FindingView(set_by=f.set_by, what=f.what, by=f.by if shown(f.set_by) else None, reason=f.reason)
        for f in found.findings
        if shown(f.set_by) or f.reason is not None
    ]
    limits = [
        LimitView(
            set_by=s.set_by,
            rule_id=s.rule_id if shown(s.set_by) else None,
            what=s.what,
            count=s.count if shown(s.set_by) else None,
            limit=s.most if shown(s.set_by) else None,
            reason=s.reason,
        )
        for s in found.limits
        if shown(s.set_by) or s.reason is not None
    ]
    return ExplanationView(
        allowed=found.reason is None, reason=found.reason, findings=findings, limits=limits
    )
