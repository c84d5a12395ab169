"""Whether a call is let through: a pure function of the policies, the call and the moment.

The order is that of the table in `docs/policies.md`: the operator's layer, then the customer's, in each of
them lists, direction, suspicion, white-list-only, hours, destinations; then everything that is counted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from xiaohao.bindings.model import Role
from xiaohao.calls.model import Reason
from xiaohao.numbers.model import is_foreign
from xiaohao.policies.compiled import Limit, RuleSet, covers
from xiaohao.policies.destinations import is_premium
from xiaohao.policies.index import Index, Listed, Scope, pair_key
from xiaohao.policies.model import EVERYBODY, Per, SetBy, Side

_PAIR, _PERSON, _PREFIX = 1000, 999, 0
_TOO_OFTEN: Final = {
    Per.CALLER: Reason.CALLER_TOO_OFTEN,
    Per.CALLEE: Reason.CALLEE_TOO_OFTEN,
    Per.PAIR: Reason.PAIR_TOO_OFTEN,
    Per.DISPLAYED: Reason.NUMBER_TOO_OFTEN,
}
_FULL: Final = {
    Per.CUSTOMER: Reason.CUSTOMER_CALLS_FULL,
    Per.TRUNK: Reason.TRUNK_CALLS_FULL,
    Per.DISPLAYED: Reason.NUMBER_CALLS_FULL,
    Per.CALLER: Reason.CALLER_CALLS_FULL,
    Per.CALLEE: Reason.CALLEE_CALLS_FULL,
}
_OF_THE_CALLER: Final = (Per.CUSTOMER, Per.TRUNK, Per.CALLER)
#: what `rule_id` says where nobody has made a rule: other countries and premium numbers are barred
BUILT_IN: Final = "built_in"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a call that could be connected. `caller` None: withheld.

    `trunk_out`: the trunk that owns the number displayed.
    """

    customer_id: str
    caller: str | None = field(repr=False)
    callee: str = field(repr=False)
    dialled: str
    displayed: str
    role: Role | None
    at: int
    trunk_in: str | None = None
    trunk_out: str | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """A limit that a call meets, and whose calls count. `place` tells apart what one call takes twice."""

    subject: bytes
    limit: Limit
    set_by: SetBy
    reason: Reason
    place: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that had a say. `by`: the entry, rule or alarm."""

    set_by: SetBy
    what: str
    by: str
    reason: Reason | None


@dataclass(slots=True)
class Verdict:
    """What the policies in memory say; where `reason` is None, what is counted must still have room."""

    reason: Reason | None = None
    findings: list[Finding] = field(default_factory=list)
    hits: list[Counted] = field(default_factory=list)
    seats: list[Counted] = field(default_factory=list)


class _Refusal(Exception):
    pass


class _Call:
    """A call on its way through the layers."""

    def __init__(self, index: Index, facts: Facts, key_of: Callable[[str], bytes]) -> None:
        self.index, self.facts, self.key_of = index, facts, key_of
        self.verdict = Verdict()
        self._caller_key: bytes | None = None
        self._callee_key: bytes | None = None

    @property
    def caller_key(self) -> bytes | None:
        if self._caller_key is None and self.facts.caller is not None:
            self._caller_key = self.key_of(self.facts.caller)
        return self._caller_key

    @property
    def callee_key(self) -> bytes:
        if self._callee_key is None:
            self._callee_key = self.key_of(self.facts.callee)
        return self._callee_key

    def note(self, set_by: SetBy, what: str, by: str, reason: Reason | None = None) -> None:
        self.verdict.findings.append(Finding(set_by, what, by, reason))
        if reason is not None:
            self.verdict.reason = reason
            raise _Refusal

    # One layer

    def pass_layer(self, set_by: SetBy) -> None:
        scopes = self.index.scopes_of(set_by, self.facts.customer_id)
        freed = self._pass_lists(set_by, scopes)
        rule_sets = [rules for scope in scopes for rules in self._rules(scope)]
        for rules in rule_sets:
            if rules.roles is not None and self.facts.role is not None and self.facts.role not in rules.roles:
                self.note(set_by, "direction", rules.direction_id, Reason.DIRECTION_BARRED)
        if not freed:
            self._pass_blocks(set_by, scopes)
            for rules in rule_sets:
                if rules.only_listed_id is not None:
                    self.note(set_by, "only_listed", rules.only_listed_id, Reason.NOT_WHITELISTED)
            for rules in rule_sets:
                closed = rules.closed(self.facts.at, self.index.days)
                if closed is not None:
                    self.note(set_by, "hours", closed, Reason.OUTSIDE_HOURS)
            self._pass_destinations(set_by, rule_sets)
        self._collect(set_by, scopes, freed)

    def _rules(self, scope: Scope) -> Iterator[RuleSet]:
        yield scope.common
        if scope.by_number and (mine := scope.by_number.get(self.facts.dialled)) is not None:
            yield mine

    def _pass_lists(self, set_by: SetBy, scopes: tuple[Scope, ...]) -> bool:
        """Whether the layer's white list frees the call from the layer's other rules."""
        best: tuple[int, bool, Listed, Reason] | None = None
        for scope in scopes:
            if not scope.has_lists:
                continue
            for weight, listed, reason in self._entries(scope):
                if listed.expires_at and listed.expires_at <= self.facts.at:
                    continue
                if best is None or (weight, listed.black) > best[:2]:
                    best = (weight, listed.black, listed, reason)
        if best is None:
            return False
        _, black, listed, reason = best
        self.note(set_by, "black_list" if black else "white_list", listed.id, reason if black else None)
        return True

    def _entries(self, scope: Scope) -> Iterator[tuple[int, Listed, Reason]]:
        caller_key, callee_key = self.caller_key, self.callee_key
        if scope.pairs and caller_key is not None:
            listed = scope.pairs.get(pair_key(caller_key, callee_key))
            if listed is not None:
                yield _PAIR, listed, Reason.PAIR_BLACKLISTED
        people = (
            (Side.CALLEE, caller_key, self.facts.caller, Reason.CALLER_BLACKLISTED),
            (Side.CALLER, callee_key, self.facts.callee, Reason.CALLEE_BLACKLISTED),
        )
        for wrong_side, key, number, reason in people:
            if key is None or number is None:
                continue
            listed = scope.persons.get(key)
            if listed is not None and listed.side is not wrong_side:
                yield _PERSON, listed, reason
            for length in scope.lengths:
                listed = scope.prefixes.get(number[:length])
                if listed is not None and listed.side is not wrong_side:
                    yield _PREFIX + length, listed, reason

    def _pass_blocks(self, set_by: SetBy, scopes: tuple[Scope, ...]) -> None:
        for scope in scopes:
            if not scope.blocks:
                continue
            subjects = ((Per.CALLER, self.caller_key), (Per.DISPLAYED, self.key_of(self.facts.displayed)))
            for per, key in subjects:
                if key is None:
                    continue
                for number in (None, self.facts.dialled):
                    block = scope.blocks.get((per, key, number))
                    if block is not None and block[0] > self.facts.at:
                        self.note(set_by, "fraud", block[1], Reason.FRAUD_SUSPECTED)

    def _pass_destinations(self, set_by: SetBy, rule_sets: list[RuleSet]) -> None:
        callee = self.facts.callee
        if not is_foreign(callee):
            return  # no Chinese number that the platform dials is a premium one: see numbers.model
        ruled = next((r.destinations_id for r in rule_sets if r.destinations_id is not None), None)
        if ruled is None:
            if set_by is SetBy.CUSTOMER:
                return  # the customer bars nothing
            ruled = BUILT_IN
        if is_premium(callee):
            if not any(covers(rules.premium, callee) for rules in rule_sets):
                self.note(set_by, "destinations", ruled, Reason.PREMIUM_BARRED)
        elif not any(covers(rules.international, callee) for rules in rule_sets):
            self.note(set_by, "destinations", ruled, Reason.INTERNATIONAL_BARRED)

    # What is counted

    def _collect(self, set_by: SetBy, scopes: tuple[Scope, ...], freed: bool) -> None:
        for place, scope in enumerate(scopes):
            # the operator's rules for all customers count the calls of all of them together
            owner = EVERYBODY if set_by is SetBy.OPERATOR and place == 0 else self.facts.customer_id
            numbers = (("", scope.common), (self.facts.dialled, scope.by_number.get(self.facts.dialled)))
            for number, rules in numbers:
                if rules is None:
                    continue
                if not freed:
                    for limit in rules.limits:
                        subject = self._subject(limit.per)
                        if subject is not None:
                            key = self.key_of(f"{owner}\n{number}\n{limit.per.value}\n{subject}")
                            reason = _TOO_OFTEN[limit.per]
                            self.verdict.hits.append(Counted(key, limit, set_by, reason))
                for limit in rules.at_a_time:
                    for seat, subject in enumerate(self._seats(limit)):
                        if subject is not None:
                            key = self.key_of(f"{owner}\n{number}\ncalls\n{limit.per.value}\n{subject}")
                            self.verdict.seats.append(Counted(key, limit, set_by, _FULL[limit.per], seat))

    def _subject(self, per: Per) -> str | None:
        facts = self.facts
        if per is Per.CALLER:
            return facts.caller
        if per is Per.CALLEE:
            return facts.callee
        if per is Per.PAIR:
            return None if facts.caller is None else " ".join(sorted((facts.caller, facts.callee)))
        return facts.displayed

    def _seats(self, limit: Limit) -> tuple[str | None, ...]:
        if limit.per is Per.CUSTOMER:
            return (self.facts.customer_id,)
        if limit.per is not Per.TRUNK:
            return (self._subject(limit.per),)
        trunks = (self.facts.trunk_in, self.facts.trunk_out)
        return tuple(t if limit.trunk_id in (None, t) else None for t in trunks)


def seats_of_waiting(index: Index, facts: Facts, key_of: Callable[[str], bytes]) -> list[Counted]:
    """What a caller takes who is not connected yet: no callee of `facts` nor number displayed counts."""
    call = _Call(index, facts, key_of)
    for set_by in (SetBy.OPERATOR, SetBy.CUSTOMER):
        call._collect(set_by, index.scopes_of(set_by, facts.customer_id), freed=True)
    return [seat for seat in call.verdict.seats if seat.limit.per in _OF_THE_CALLER]


def decide(index: Index, facts: Facts, key_of: Callable[[str], bytes]) -> Verdict:
    """What the policies say. `key_of` gives a number's blind index."""
    call = _Call(index, facts, key_of)
    try:
        call.pass_layer(SetBy.OPERATOR)
        call.pass_layer(SetBy.CUSTOMER)
    except _Refusal:
        call.verdict.hits, call.verdict.seats = [], []
    return call.verdict
