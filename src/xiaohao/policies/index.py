"""All policies in memory, so that a call asks nobody: tables of people and prefixes, compiled rules."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final, NamedTuple

from xiaohao.policies.calendar import DayKind
from xiaohao.policies.compiled import Days, RuleSet, compiled
from xiaohao.policies.model import EVERYBODY, Kind, List, Per, Rule, SetBy, Side

ScopeKey = tuple[SetBy, str]


class Listed(NamedTuple):
    """An entry of a list as a call meets it. `expires_at` 0: never."""

    black: bool
    side: Side
    expires_at: int
    id: str


class EntryRow(NamedTuple):
    """A row of `policy_entries` in the order in which `store.changed_entries` reads it."""

    id: str
    set_by: str
    customer_id: str
    list: str
    kind: str
    side: str
    person_key: bytes
    other_key: bytes
    prefix: str
    expires_at: int | None
    removed_at: int | None
    revision: int


class Block(NamedTuple):
    """Somebody's calls are refused until then. `number`: only those to this platform number."""

    set_by: str
    customer_id: str
    per: str
    subject_key: bytes
    until: int
    alarm_id: str
    number: str | None = None


class Scope:
    """What one layer says for one customer, or for all."""

    def __init__(self) -> None:
        self.persons: dict[bytes, Listed] = {}
        self.pairs: dict[bytes, Listed] = {}
        self.prefixes: dict[str, Listed] = {}
        #: of the prefixes, the longest first
        self.lengths: tuple[int, ...] = ()
        self.common = RuleSet()
        self.by_number: dict[str, RuleSet] = {}
        #: whose calls, and to which number (None: to any) → until when, by which alarm
        self.blocks: dict[tuple[Per, bytes, str | None], tuple[int, str]] = {}

    @property
    def has_lists(self) -> bool:
        """Whether there is any entry."""
        return bool(self.persons or self.pairs or self.prefixes)


def pair_key(one: bytes, other: bytes) -> bytes:
    """The key of two people, whoever comes first."""
    return one + other if one < other else other + one


_NOBODYS: Final = Scope()


class Index:
    """Every scope that says anything."""

    def __init__(self) -> None:
        self._scopes: dict[ScopeKey, Scope] = {}
        #: where each entry stands, because one that is changed may have stood elsewhere
        self._places: dict[str, tuple[ScopeKey, Kind, bytes | str]] = {}
        self.days = Days()

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return len(self._places)

    def scopes_of(self, set_by: SetBy, customer_id: str) -> tuple[Scope, ...]:
        """What a layer says about this customer's calls."""
        own = self._scopes.get((set_by, customer_id), _NOBODYS)
        if set_by is SetBy.CUSTOMER:
            return (own,)
        return (self._scopes.get((set_by, EVERYBODY), _NOBODYS), own)

    def _scope(self, set_by: str, customer_id: str) -> Scope:
        return self._scopes.setdefault((SetBy(set_by), customer_id), Scope())

    def take_entries(self, rows: Iterable[EntryRow]) -> None:
        """Put in what is new or changed, and take out what is removed."""
        touched: set[ScopeKey] = set()
        for row in rows:
            kind, place = Kind(row.kind), (SetBy(row.set_by), row.customer_id)
            if row.id in self._places:
                touched |= self._take_out(row.id)
            if row.removed_at is not None:
                continue
            listed = Listed(row.list == List.BLACK, Side(row.side), row.expires_at or 0, row.id)
            scope = self._scope(*place)
            key: bytes | str
            if kind is Kind.PREFIX:
                key = row.prefix
                scope.prefixes[key] = listed
                touched.add(place)
            elif kind is Kind.PAIR:
                key = pair_key(row.person_key, row.other_key)
                scope.pairs[key] = listed
            else:
                key = row.person_key
                scope.persons[key] = listed
            self._places[row.id] = (place, kind, key)
        for place in touched:
            scope = self._scopes[place]
            scope.lengths = tuple(sorted({len(prefix) for prefix in scope.prefixes}, reverse=True))

    def _take_out(self, entry_id: str) -> set[ScopeKey]:
        place, kind, key = self._places.pop(entry_id)
        scope = self._scopes[place]
        if kind is Kind.PREFIX:
            scope.prefixes.pop(str(key), None)
            return {place}
        table = scope.pairs if kind is Kind.PAIR else scope.persons
        table.pop(key, None)  # type: ignore[arg-type]
        return set()

    def take_rules(self, rules: Iterable[Rule]) -> None:
        """These are all rules there are."""
        by_scope: dict[ScopeKey, list[Rule]] = {}
        for rule in rules:
            by_scope.setdefault((rule.set_by, rule.customer_id), []).append(rule)
        for place, scope in self._scopes.items():
            if place not in by_scope:
                scope.common, scope.by_number = RuleSet(), {}
        for place, found in by_scope.items():
            scope = self._scope(*place)
            scope.common, scope.by_number = compiled(found)

    def take_days(self, said: Mapping[date, DayKind]) -> None:
        """These are all days of which the operator says anything."""
        self.days = Days(said)
        for scope in self._scopes.values():
            for rules in (scope.common, *scope.by_number.values()):
                rules.forget()

    def take_blocks(self, blocks: Iterable[Block]) -> None:
        """These are all blocks in force."""
        for scope in self._scopes.values():
            scope.blocks = {}
        for block in blocks:
            scope = self._scope(block.set_by, block.customer_id)
            key = (Per(block.per), block.subject_key, block.number)
            known = scope.blocks.get(key)
            if known is None or known[0] < block.until:
                scope.blocks[key] = (block.until, block.alarm_id)
