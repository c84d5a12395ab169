"""Bindings as slowly and obviously as they can be written: a list of everything that was ever bound."""

from dataclasses import dataclass, field

from xiaohao.bindings.model import Binding
from xiaohao.bindings.recognition import Outcome
from xiaohao.clock import SECOND


@dataclass
class Number:
    """A platform number: which pool, how long its keys rest, who may name it (None: everybody)."""

    pool: str
    recycle_s: int
    owner: str | None
    state: str = "available"
    #: (customer, person) whose fixed X it is
    fixed_to: tuple[str, str] | None = None


@dataclass
class Relation:
    """One binding that was made. `lost`: only the key that B had before another B came in their place."""

    binding: Binding
    released_at: int | None = None
    lost: bool = False

    @property
    def ended_at(self) -> int | None:
        ends = [end for end in (self.released_at, self.binding.expires_at) if end is not None]
        return min(ends, default=None)

    def pair(self) -> tuple[str, str, str]:
        whose = f"{self.binding.id} before" if self.lost else self.binding.customer_id
        return whose, self.binding.a, self.binding.b

    def legs(self) -> list[tuple[str, str]]:
        legs = [(self.binding.b, self.binding.x)]
        return legs if self.lost else [(self.binding.a, self.binding.y), *legs]


@dataclass
class Obvious:
    """All of it."""

    numbers: dict[str, Number] = field(default_factory=dict)
    suspended_customers: set[str] = field(default_factory=set)
    relations: list[Relation] = field(default_factory=list)
    now: int = 0

    def is_live(self, relation: Relation) -> bool:
        return relation.ended_at is None or relation.ended_at > self.now

    def is_resting(self, relation: Relation, dialled: str) -> bool:
        end = relation.ended_at
        if end is None or end > self.now:
            return False
        return end + self.numbers[dialled].recycle_s * SECOND > self.now

    def holder(self, caller: str, dialled: str) -> Relation | None:
        """Whose key this is: the newest live binding's that has it, else the newest one's in quarantine.

        By a change an older binding may have got a key that rests, or rested, from a newer one of its pair.
        """
        having = [one for one in reversed(self.relations) if (caller, dialled) in one.legs()]
        resting = [one for one in having if self.is_resting(one, dialled)]
        return next((one for one in (*filter(self.is_live, having), *resting)), None)

    def live_pair(self, customer: str, a: str, b: str) -> Relation | None:
        for relation in self.relations:
            if relation.pair() == (customer, a, b) and self.is_live(relation):
                return relation
        return None

    def change_b(self, relation: Relation, changed: Binding) -> None:
        """Another B: the key of the one before rests from now."""
        place = next(place for place, known in enumerate(self.relations) if known is relation)
        self.relations.insert(place, Relation(relation.binding, self.now, lost=True))
        relation.binding = changed

    def carries(self, number: str) -> tuple[int, int]:
        """At least and at most so many relations: what has expired counts until it is swept."""
        legs = [
            relation.released_at is None and (relation.binding.expires_at or self.now + 1) > self.now
            for relation in self.relations
            if not relation.lost and relation.released_at is None
            for _, dialled in relation.legs()
            if dialled == number
        ]
        return sum(legs), len(legs)

    def borrowers(self, x: str) -> set[tuple[str, str]]:
        """(customer, person) whose X this is: fixed, or because somebody's key leads to them through it."""
        fixed = self.numbers[x].fixed_to
        found = set() if fixed is None else {fixed}
        for relation in self.relations:
            if relation.binding.x == x and self.holder(relation.binding.b, x) is relation:
                found.add((relation.binding.customer_id, relation.binding.a))
        return found

    def had(self, customer: str, a: str) -> set[str]:
        """Every X that this person ever had."""
        return {
            relation.binding.x
            for relation in self.relations
            if (relation.binding.customer_id, relation.binding.a) == (customer, a)
        } | {number for number, facts in self.numbers.items() if facts.fixed_to == (customer, a)}

    def can_be_x(self, number: str, customer: str, a: str, b: str) -> bool:
        holder = self.holder(b, number)
        return (
            self.numbers[number].state == "available"
            and self.borrowers(number) <= {(customer, a)}
            and (holder is None or self.may_inherit(holder, customer, a, b))
        )

    def can_be_y(self, number: str, customer: str, a: str, b: str) -> bool:
        holder = self.holder(a, number)
        return (
            self.numbers[number].state == "available"
            and not self.borrowers(number)
            and (holder is None or self.may_inherit(holder, customer, a, b))
        )

    def may_inherit(self, holder: Relation, customer: str, a: str, b: str) -> bool:
        return holder.pair() == (customer, a, b) and not self.is_live(holder)

    def look_up(self, caller: str, dialled: str) -> tuple[set[Outcome], str | None, str | None]:
        """Outcomes that are right, and for a connection the callee and the display."""
        if dialled not in self.numbers:
            return {Outcome.UNKNOWN_NUMBER}, None, None
        if self.numbers[dialled].state != "available":
            return {Outcome.NUMBER_NOT_IN_SERVICE}, None, None
        relation = self.holder(caller, dialled)
        if relation is None:
            # A binding that expired so long ago that its quarantine is over, but nobody has swept it up yet.
            return {Outcome.UNKNOWN_CALLER, Outcome.BINDING_EXPIRED, Outcome.CUSTOMER_SUSPENDED}, None, None
        binding = relation.binding
        if binding.customer_id in self.suspended_customers:
            return {Outcome.CUSTOMER_SUSPENDED}, None, None
        if not self.is_live(relation):
            return {Outcome.BINDING_EXPIRED}, None, None
        by_a = (caller, dialled) == (binding.a, binding.y)
        callee, display = (binding.b, binding.x) if by_a else (binding.a, binding.y)
        if self.numbers[display].state != "available":
            return {Outcome.NUMBER_NOT_IN_SERVICE}, None, None
        return {Outcome.CONNECT}, callee, display
