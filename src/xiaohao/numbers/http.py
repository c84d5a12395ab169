"""Routes: the platform's numbers."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey, CustomerKey, OperatorKey
from xiaohao.api.fields import CityCode, Documents, Id, Moment, Name, Note, Request, Timestamp
from xiaohao.api.fields import Number as NumberText
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.clock import rfc3339
from xiaohao.numbers.lifecycle import Entry, Reason
from xiaohao.numbers.model import DialledBy, Kind, Number, NumberSpec, NumberState, Verification
from xiaohao.numbers.service import BATCH_MAX, Numbers
from xiaohao.secrecy import Vault, masked


class Proof(Request):
    """What proves the real name behind a mobile number."""

    documents: Documents
    valid_until: Moment | None = Field(None, description="null: for good")


class NewNumber(Request):
    """A number for the inventory."""

    number: NumberText
    pool_id: Id | None = None
    customer_id: Id | None = Field(None, description="null: the pool's customer, or shared")
    trunk_id: Id | None = Field(None, description="The trunk over which it may be displayed")
    city: CityCode | None = Field(None, description="Where the number does not say it")
    carrier: Name | None = Field(None, description="Whose network it is of")
    state: NumberState = Field(NumberState.AVAILABLE, strict=False, description="in_stock or available")
    displayable: bool | None = Field(None, description="null: unless it is a 400 number")
    displayed_as: NumberText | None = Field(
        None, description="Shown instead: another number of the customer's"
    )
    dialled_by: DialledBy | None = Field(None, strict=False, description="null: by its kind")
    verification: Proof | None = Field(None, description="By it a mobile number is verified; else it waits")


class NewNumbers(Request):
    """Numbers for the inventory: all of them are added or none."""

    numbers: list[NewNumber] = Field(min_length=1, max_length=BATCH_MAX)


class NumberView(BaseModel):
    """A number of the platform."""

    number: str
    kind: Kind
    city: str | None = Field(description="Area code without its 0")
    carrier: str | None
    state: NumberState
    state_reason: str | None
    state_at: Timestamp | None
    suspended_until: Timestamp | None = Field(description="null: until it is resumed")
    displayable: bool
    displayed_as: str | None
    dialled_by: DialledBy
    verification: Verification = Field(description="none: not needed")
    verified_until: Timestamp | None = Field(description="null: for good")
    customer_id: str | None = Field(description="null: shared")
    pool_id: str | None
    trunk_id: str | None = Field(description="For the operator only")
    fixed: bool = Field(description="It stays its person's when no binding is left")
    assigned_to: str | None = Field(
        description="The person whose X it is: in full for that person's customer, masked for the operator"
    )
    assigned_by: str | None
    last_used_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp


class NumberList(BaseModel):
    """The numbers as they are now."""

    items: list[NumberView]


class NumberChange(Request):
    """What to change; a field that is not sent stays as it is."""

    pool_id: Id | None = Field(None, description="Another pool, while nobody uses the number; null: none")
    trunk_id: Id | None = Field(None, description="null: no trunk owns it")
    city: CityCode | None = None
    carrier: Name | None = None
    displayable: bool | None = Field(None, description="null: unless it is a 400 number")
    displayed_as: NumberText | None = None
    dialled_by: DialledBy | None = Field(None, strict=False, description="null: by its kind")


class Person(Request):
    """The person whose fixed X a number shall be."""

    person: NumberText


class NumberQuery(PageQuery):
    """Which numbers. Customers get their own only, whatever `customer_id` and `trunk_id` say."""

    pool_id: Id | None = None
    state: NumberState | None = None
    kind: Kind | None = None
    city: Annotated[str, Field(pattern=r"^[0-9]{2,4}$")] | None = None
    carrier: Name | None = None
    verification: Verification | None = None

    customer_id: Id | None = None
    trunk_id: Id | None = None


class Suspension(Request):
    """Why a number is suspended, and for how long."""

    reason: Reason = Field(
        Reason.OPERATOR, strict=False, description="operator, carrier, complaint, real_name"
    )
    until: Moment | None = Field(None, description="null: until it is resumed")
    note: Note | None = None


class Remark(Request):
    """A note for the history."""

    note: Note | None = None


class EntryView(BaseModel):
    """A change in a number's life."""

    at: Timestamp
    from_state: NumberState | None = Field(description="null: it came into the inventory")
    to_state: NumberState
    reason: Reason
    changed_by: str | None = Field(description="For the operator: whose key; null: the platform itself")
    note: str | None = Field(description="For the operator only")
    customer_id: str | None
    person: str | None = Field(description="Whose X it was from then on; masked for the operator")


def router(numbers: Numbers, vault: Vault) -> APIRouter:
    """The routes of numbers."""
    router = api_router("numbers")

    @router.post("/v1/numbers", status_code=201)
    async def add_numbers(key: OperatorKey, body: NewNumbers) -> NumberList:
        """Put up to 1000 numbers into the inventory. One that is there just so already is no error."""
        added = await numbers.add_numbers([_spec(number) for number in body.numbers], key.key_id)
        return NumberList(items=[_number(number, None) for number in added])

    @router.get("/v1/numbers")
    async def list_numbers(key: AnyKey, query: Annotated[NumberQuery, Query()]) -> Page[NumberView]:
        """The numbers: all of them for the operator, its own for a customer."""
        owner = key.customer_id
        cursors = Cursors(vault, f"numbers {owner}")
        found = await numbers.page_numbers(
            cursors.position(query.after) or "",
            query.limit + 1,
            customer_id=owner or query.customer_id,
            pool_id=query.pool_id,
            state=query.state,
            kind=query.kind,
            city=query.city,
            carrier=query.carrier,
            verification=query.verification,
            trunk_id=None if owner else query.trunk_id,
        )
        return cursors.page(found, query.limit, lambda n: _number(n, owner), lambda n: n.number)

    @router.get("/v1/numbers/{number}")
    async def get_number(key: AnyKey, number: str) -> NumberView:
        """One number."""
        return _number(await numbers.get_number(number, key.customer_id), key.customer_id)

    @router.patch("/v1/numbers/{number}")
    async def change_number(key: OperatorKey, number: str, body: NumberChange) -> NumberView:
        """Say something else of a number, or move it to another pool while nobody uses it."""
        values = {name: getattr(body, name) for name in body.model_fields_set}
        return _number(await numbers.change_number(number, values, key.key_id), None)

    @router.put("/v1/numbers/{number}/person")
    async def assign_number(key: CustomerKey, number: str, body: Person) -> NumberView:
        """Make one of your numbers the fixed X of one person."""
        owner = str(key.customer_id)
        return _number(await numbers.assign(number, body.person, owner, key.key_id), owner)

    @router.delete("/v1/numbers/{number}/person")
    async def unassign_number(key: AnyKey, number: str) -> NumberView:
        """Take a fixed X away from its person: now, or when its last binding and quarantine are over."""
        return _number(await numbers.unassign(number, key.customer_id, key.key_id), key.customer_id)

    _add_state_routes(router, numbers)
    _add_history_route(router, numbers, vault)
    return router


def _add_state_routes(router: APIRouter, numbers: Numbers) -> None:
    @router.post("/v1/numbers/{number}/suspend")
    async def suspend_number(key: OperatorKey, number: str, body: Suspension | None = None) -> NumberView:
        """Neither allocate nor display a number until then, or until it is resumed. Again is no error."""
        wanted = body or Suspension.model_validate({})
        return _number(
            await numbers.suspend(number, wanted.reason, wanted.until, key.key_id, wanted.note), None
        )

    @router.post("/v1/numbers/{number}/resume")
    async def resume_number(key: OperatorKey, number: str, body: Remark | None = None) -> NumberView:
        """Undo a suspension."""
        return _number(await numbers.resume(number, key.key_id, _note(body)), None)

    @router.post("/v1/numbers/{number}/retire")
    async def retire_number(key: OperatorKey, number: str, body: Remark | None = None) -> NumberView:
        """Take a number out of use for good. Again is no error."""
        return _number(await numbers.retire(number, key.key_id, _note(body)), None)

    @router.post("/v1/numbers/{number}/take-to-stock")
    async def take_number_to_stock(key: OperatorKey, number: str, body: Remark | None = None) -> NumberView:
        """Put a number that nobody uses back on the shelf. Again is no error."""
        return _number(await numbers.take_to_stock(number, key.key_id, _note(body)), None)

    @router.post("/v1/numbers/{number}/release")
    async def release_number(key: OperatorKey, number: str, body: Remark | None = None) -> NumberView:
        """Take a number from the shelf into use. Again is no error."""
        return _number(await numbers.release(number, key.key_id, _note(body)), None)


def _add_history_route(router: APIRouter, numbers: Numbers, vault: Vault) -> None:
    @router.get("/v1/numbers/{number}/history")
    async def number_history(
        key: AnyKey, number: str, query: Annotated[PageQuery, Query()]
    ) -> Page[EntryView]:
        """What has become of a number, newest first; for a customer, while it was the customer's."""
        owner = key.customer_id
        cursors = Cursors(vault, f"history {number} {owner}")
        position = cursors.position(query.after)
        before = None if position is None else int(position)
        found = await numbers.history(number, before, query.limit + 1, owner)
        return cursors.page(found, query.limit, lambda entry: _entry(entry, owner), lambda entry: entry.seq)


def _note(body: Remark | None) -> str | None:
    return None if body is None else body.note


def _spec(new: NewNumber) -> NumberSpec:
    return NumberSpec(
        number=new.number,
        pool_id=new.pool_id,
        trunk_id=new.trunk_id,
        customer_id=new.customer_id,
        city=new.city,
        carrier=new.carrier,
        state=new.state,
        displayable=new.displayable,
        displayed_as=new.displayed_as,
        dialled_by=new.dialled_by,
        documents=tuple(new.verification.documents) if new.verification else (),
        valid_until=new.verification.valid_until if new.verification else None,
    )


def _number(number: Number, customer_id: str | None) -> NumberView:
    return NumberView(
        number=number.number,
        kind=number.kind,
        city=number.city,
        carrier=number.carrier,
        state=number.state,
        state_reason=number.state_reason,
        state_at=_moment(number.state_at),
        suspended_until=_moment(number.suspended_until),
        displayable=number.displayable,
        displayed_as=number.displayed_as,
        dialled_by=number.dialled_by,
        verification=number.verification,
        verified_until=_moment(number.verified_until),
        customer_id=number.customer_id,
        pool_id=number.pool_id,
        trunk_id=number.trunk_id if customer_id is None else None,
        fixed=number.fixed,
        assigned_to=_person(number, customer_id),
        assigned_by=number.assigned_by,
        last_used_at=_moment(number.last_used_at),
        created_at=rfc3339(number.created_at),
        updated_at=rfc3339(number.updated_at),
    )


def _entry(entry: Entry, customer_id: str | None) -> EntryView:
    operators = customer_id is None
    return EntryView(
        at=rfc3339(entry.at),
        from_state=entry.from_state,
        to_state=entry.to_state,
        reason=entry.reason,
        changed_by=entry.changed_by if operators else None,
        note=entry.note if operators else None,
        customer_id=entry.customer_id,
        person=masked(entry.person) or None if operators else entry.person,
    )


def _moment(us: int | None) -> str | None:
    return rfc3339(us) if us else None


def _person(number: Number, customer_id: str | None) -> str | None:
    if number.assigned_to is None:
        return None
    return number.assigned_to if number.assigned_by == customer_id else masked(number.assigned_to)
