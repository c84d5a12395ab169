"""What can be done with policies.

Where an `Owner` says who asks, the operator may mean all customers, one of them, or (reading) everything; a
customer means its own layer and never learns of another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, RowMapping

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.database.policy_tables import policy_alarms, policy_entries, policy_rules
from xiaohao.errors import Refusal, conflict, not_found, validation_failed
from xiaohao.ids import ordered_id
from xiaohao.numbers.model import canonical
from xiaohao.policies import alarm_store, store
from xiaohao.policies.calendar import DayKind
from xiaohao.policies.model import (
    EVERYBODY,
    Alarm,
    Entry,
    Kind,
    List,
    Per,
    Rule,
    SetBy,
    Side,
    Spec,
    faults,
    is_prefix,
)
from xiaohao.policies.table import rule_of
from xiaohao.secrecy import Vault
from xiaohao.trunks import store as trunk_store

#: of one customer, or of the operator for one customer or for all: more slow the loading down, not calls
RULES_MAX: Final = 1000
ENTRIES_MAX: Final = 500_000
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose policies: `customer_id` None stands for all of the operator's, '' for those about everybody."""

    set_by: SetBy
    customer_id: str | None

    @classmethod
    def of(cls, asking: str | None, about: str | None) -> "Owner":
        """The policies that who asks (None: the operator) means, where they name the customer `about`."""
        return cls(SetBy.OPERATOR, about) if asking is None else cls(SetBy.CUSTOMER, asking)

    def where(self, columns: Any) -> list[ColumnElement[bool]]:
        """The condition on a table's columns."""
        found: list[ColumnElement[bool]] = [columns.set_by == self.set_by.value]
        if self.customer_id is not None:
            found.append(columns.customer_id == self.customer_id)
        return found


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to put on a list: one of `person`, `person` with `other`, or `prefix`."""

    list: List
    person: str | None = None
    other: str | None = None
    prefix: str | None = None
    side: Side = Side.ANY
    expires_at: int | None = None
    note: str | None = None

    @property
    def kind(self) -> Kind:
        """What it is about. Raises Refusal where that is nothing, or several things."""
        if self.prefix is not None:
            if self.person is not None or self.other is not None:
                raise validation_failed("prefix", "goes without a person")
            if not is_prefix(self.prefix):
                raise validation_failed("prefix", "is a beginning with its country code, as +86170 is")
            return Kind.PREFIX
        if self.person is None:
            raise validation_failed("person", "is missing: give a person, two, or a prefix")
        if self.other is None:
            return Kind.PERSON
        if self.other == self.person:
            raise validation_failed("other", "is the same person")
        if self.side is not Side.ANY:
            raise validation_failed("side", "a pair counts whoever of the two calls")
        return Kind.PAIR


def entry_row(
    entry: NewEntry, owner: Owner, vault: Vault, now: int, by: str | None, revision: int
) -> dict[str, Any]:
    """The row of an entry, its columns named. Raises Refusal: `validation_failed`."""
    kind = entry.kind
    if entry.expires_at is not None and entry.expires_at <= now:
        raise validation_failed("expires_at", "is over")
    person, other = entry.person, entry.other
    if kind is Kind.PAIR:
        person, other = sorted((str(person), str(other)))
    return {
        "id": ordered_id("pen"),
        "set_by": owner.set_by.value,
        "customer_id": owner.customer_id or EVERYBODY,
        "list": entry.list.value,
        "kind": kind.value,
        "side": entry.side.value,
        "person_key": b"" if person is None else vault.index(person),
        "person_sealed": None if person is None else vault.seal(person),
        "other_key": b"" if other is None else vault.index(other),
        "other_sealed": None if other is None else vault.seal(other),
        "prefix": entry.prefix or "",
        "expires_at": entry.expires_at,
        "note_sealed": None if entry.note is None else vault.seal(entry.note),
        "created_by": by,
        "created_at": now,
        "updated_at": now,
        "revision": revision,
    }


def list_full() -> Refusal:
    """More entries than the switches are to keep in their memory."""
    return conflict("list_full", "The lists are full", f"At most {ENTRIES_MAX} entries.")


class Policies:
    """Lists, rules, days and alarms. `clock` gives microseconds since the epoch."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    # Lists

    async def put_entries(
        self, owner: Owner, entries: Sequence[NewEntry], by: str | None = None
    ) -> list[Entry]:
        """Put people on lists, all or nobody; an entry about the same people is replaced.

        Raises Refusal: `validation_failed`, `not_found`, `list_full`.
        """
        async with self._database.begin() as connection:
            await self._check_names(connection, owner)
            revision = await store.begin_change(connection, entries=True)
            mine = Owner(owner.set_by, owner.customer_id or EVERYBODY).where(policy_entries.c)
            if await store.count_entries(connection, mine) + len(entries) > ENTRIES_MAX:
                raise list_full()
            rows = [entry_row(entry, owner, self._vault, self._clock(), by, revision) for entry in entries]
            return [self._entry(await store.put_entry(connection, row)) for row in rows]

    async def check_owner(self, owner: Owner) -> None:
        """Raises Refusal: `not_found` where the operator names a customer who is not there."""
        async with self._database.read() as connection:
            await self._check_names(connection, owner)

    async def remove_entry(self, owner: Owner, entry_id: str) -> None:
        """Take somebody off a list. Raises Refusal: `not_found`."""
        where = [policy_entries.c.id == entry_id, *owner.where(policy_entries.c)]
        async with self._database.begin() as connection:
            if await store.find_entry(connection, where) is None:
                raise not_found("entry")
            revision = await store.begin_change(connection, entries=True)
            await store.remove_entries(connection, where, revision, self._clock())

    async def entry(self, owner: Owner, entry_id: str) -> Entry:
        """One entry. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            where = [policy_entries.c.id == entry_id, *owner.where(policy_entries.c)]
            row = await store.find_entry(connection, where)
        if row is None:
            raise not_found("entry")
        return self._entry(row)

    async def entries(
        self,
        owner: Owner,
        after: str,
        limit: int,
        which: List | None = None,
        kind: Kind | None = None,
        person: str | None = None,
    ) -> list[Entry]:
        """At most `limit` entries whose ids come after `after`; `person` is one of whom they are about."""
        where = owner.where(policy_entries.c)
        where += [policy_entries.c.list == which.value] if which else []
        where += [policy_entries.c.kind == kind.value] if kind else []
        if person is not None:
            key = self._vault.index(person)
            where.append((policy_entries.c.person_key == key) | (policy_entries.c.other_key == key))
        async with self._database.read() as connection:
            return [self._entry(row) for row in await store.page_entries(connection, after, limit, where)]

    def _entry(self, row: Mapping[Any, Any]) -> Entry:
        def opened(name: str) -> str | None:
            return None if row[name] is None else self._vault.open(row[name])

        return Entry(
            id=row["id"],
            set_by=SetBy(row["set_by"]),
            customer_id=row["customer_id"],
            list=List(row["list"]),
            kind=Kind(row["kind"]),
            side=Side(row["side"]),
            person=opened("person_sealed"),
            other=opened("other_sealed"),
            prefix=row["prefix"] or None,
            expires_at=row["expires_at"],
            note=opened("note_sealed"),
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )

    # Rules

    async def add_rule(
        self,
        owner: Owner,
        name: str,
        spec: Spec,
        number: str | None = None,
        enabled: bool = True,
        by: str | None = None,
    ) -> Rule:
        """Make a rule. Raises Refusal: `validation_failed`, `not_found`, `too_many_rules`."""
        _check(spec, owner.set_by)
        now = self._clock()
        rule = Rule(
            ordered_id("rul"),
            owner.set_by,
            owner.customer_id or EVERYBODY,
            name,
            _platform_number(number),
            enabled,
            spec,
            now,
            now,
        )
        row = {**self._columns(rule, now), "id": rule.id, "created_by": by, "created_at": now}
        row |= {"set_by": rule.set_by.value, "customer_id": rule.customer_id}
        async with self._database.begin() as connection:
            await self._check_names(connection, owner, spec)
            if rule.number and not await store.may_name(connection, rule.number, owner.customer_id):
                raise not_found("number")
            await store.begin_change(connection)
            mine = Owner(rule.set_by, rule.customer_id).where(policy_rules.c)
            if await store.count_rules(connection, mine) >= RULES_MAX:
                raise conflict("too_many_rules", "There are too many rules", f"At most {RULES_MAX}.")
            await store.add_rule(connection, row)
        return rule

    async def change_rule(
        self,
        owner: Owner,
        rule_id: str,
        name: str | None = None,
        spec: Spec | None = None,
        enabled: bool | None = None,
    ) -> Rule:
        """Change a rule; None leaves as it is. Raises Refusal: `not_found`, `validation_failed`."""
        if spec is not None:
            _check(spec, owner.set_by)
        values: dict[str, Any] = {"updated_at": self._clock()}
        if name is not None:
            values["name"] = name
        if spec is not None:
            values["spec"] = _encode(spec).decode()
        if enabled is not None:
            values["enabled"] = enabled
        async with self._database.begin() as connection:
            where = [policy_rules.c.id == rule_id, *owner.where(policy_rules.c)]
            row = await store.change_rule(connection, where, values)
            if row is None:
                raise not_found("rule")
            await self._check_names(connection, owner, spec)
            await store.begin_change(connection)
        return rule_of(row)

    async def remove_rule(self, owner: Owner, rule_id: str) -> None:
        """Take a rule away. Raises Refusal: `not_found`."""
        async with self._database.begin() as connection:
            where = [policy_rules.c.id == rule_id, *owner.where(policy_rules.c)]
            if not await store.remove_rules(connection, where):
                raise not_found("rule")
            await store.begin_change(connection)

    async def rule(self, owner: Owner, rule_id: str) -> Rule:
        """One rule. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            where = [policy_rules.c.id == rule_id, *owner.where(policy_rules.c)]
            row = await store.find_rule(connection, where)
        if row is None:
            raise not_found("rule")
        return rule_of(row)

    async def rules(self, owner: Owner, after: str, limit: int) -> list[Rule]:
        """At most `limit` rules whose ids come after `after`."""
        async with self._database.read() as connection:
            rows = await store.page_rules(connection, after, limit, owner.where(policy_rules.c))
        return [rule_of(row) for row in rows]

    def _columns(self, rule: Rule, now: int) -> dict[str, Any]:
        return {
            "name": rule.name,
            "number": rule.number,
            "enabled": rule.enabled,
            "spec": _encode(rule.spec).decode(),
            "updated_at": now,
        }

    # Days

    async def days(self) -> list[tuple[str, DayKind, str]]:
        """What the operator says of days: (day, kind, name)."""
        async with self._database.read() as connection:
            rows = await store.days(connection)
        return [(row["day"], DayKind(row["kind"]), row["name"]) for row in rows]

    async def set_day(self, day: date, kind: DayKind, name: str) -> None:
        """Say what a day is, whatever is published."""
        async with self._database.begin() as connection:
            await store.begin_change(connection)
            row = {"day": day.isoformat(), "kind": kind.value, "name": name, "updated_at": self._clock()}
            await store.put_day(connection, row)

    async def unset_day(self, day: date) -> None:
        """Go back to what is published of a day. Raises Refusal: `not_found`."""
        async with self._database.begin() as connection:
            if not await store.remove_day(connection, day.isoformat()):
                raise not_found("day")
            await store.begin_change(connection)

    # Alarms

    async def alarms(self, owner: Owner, after: str, limit: int) -> list[Alarm]:
        """At most `limit` suspicions of fraud whose ids come after `after`."""
        where = owner.where(policy_alarms.c)
        async with self._database.read() as connection:
            return [self._alarm(row) for row in await alarm_store.page(connection, after, limit, where)]

    async def lift_block(self, owner: Owner, alarm_id: str) -> Alarm:
        """Let calls through again that an alarm blocks. Raises Refusal: `not_found`."""
        where = [policy_alarms.c.id == alarm_id, *owner.where(policy_alarms.c)]
        async with self._database.begin() as connection:
            row = await alarm_store.lift(connection, where, self._clock())
            if row is None:
                raise not_found("alarm")
            await store.begin_change(connection)
        return self._alarm(row)

    def _alarm(self, row: RowMapping) -> Alarm:
        return Alarm(
            id=row["id"],
            rule_id=row["rule_id"],
            set_by=SetBy(row["set_by"]),
            customer_id=row["customer_id"],
            per=Per(row["per"]),
            subject=self._vault.open(row["subject_sealed"]),
            at=row["at"],
            found=msgspec.json.decode(row["found"]),
            blocked_until=row["blocked_until"],
            lifted_at=row["lifted_at"],
        )

    async def _check_names(self, connection: Any, owner: Owner, spec: Spec | None = None) -> None:
        named = owner.customer_id if owner.set_by is SetBy.OPERATOR else None
        if named and not await store.customer_exists(connection, named):
            raise not_found("customer")
        if (trunk := getattr(spec, "trunk_id", None)) and not await trunk_store.is_there(connection, trunk):
            raise validation_failed("rule.trunk_id", "there is no such trunk")


def _check(spec: Spec, set_by: SetBy) -> None:
    found = faults(spec, set_by)
    if found:
        raise Refusal(
            "validation_failed",
            "The request is not valid",
            "The rule cannot be used.",
            422,
            {"errors": [{"field": f"rule.{name}", "detail": detail} for name, detail in found]},
        )


def _platform_number(number: str | None) -> str | None:
    if number is None:
        return None
    found = canonical(number)
    if found is None:
        raise validation_failed("number", "is no telephone number")
    return found
