"""Routes: the platform's numbers."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey, CustomerKey, OperatorKey
from xiaohao.api.fields import Id, Request, Timestamp
from xiaohao.api.fields import Number as NumberText
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.clock import rfc3339
from xiaohao.numbers.model import Kind, Number, NumberSpec, NumberState
from xiaohao.numbers.service import BATCH_MAX, Numbers
from xiaohao.secrecy import Vault, masked


class NewNumber(Request):
    """A number for the inventory."""

    number: NumberText
    pool_id: Id | None = None
    customer_id: Id | None = Field(None, description="null: the pool's customer, or shared")
    trunk_id: Id | None = Field(None, description="The trunk over which it may be displayed")


class NewNumbers(Request):
    """Numbers for the inventory: all of them are added or none."""

    numbers: list[NewNumber] = Field(min_length=1, max_length=BATCH_MAX)


class NumberView(BaseModel):
    """A number of the platform."""

    number: str
    kind: Kind
    city: str | None = Field(description="Area code without its 0")
    state: NumberState
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

    trunk_id: Id | None = Field(description="null: no trunk owns it")


class Person(Request):
    """The person whose fixed X a number shall be."""

    person: NumberText


class NumberQuery(PageQuery):
    """Which numbers. Customers get their own only, whatever `customer_id` and `trunk_id` say."""

    pool_id: Id | None = None
    state: NumberState | None = None
    kind: Kind | None = None
    city: Annotated[str, Field(pattern=r"^[0-9]{2,4}$")] | None = None

    customer_id: Id | None = None
    trunk_id: Id | None = None


def router(numbers: Numbers, vault: Vault) -> APIRouter:
    """The routes of numbers."""
    router = api_router("numbers")

    @router.post("/v1/numbers", status_code=201)
    async def add_numbers(_: OperatorKey, body: NewNumbers) -> NumberList:
        """Put up to 1000 numbers into the inventory. One that is there just so already is no error."""
        specs = [NumberSpec(n.number, n.pool_id, n.trunk_id, n.customer_id) for n in body.numbers]
        return NumberList(items=[_number(number, None) for number in await numbers.add_numbers(specs)])

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
            trunk_id=None if owner else query.trunk_id,
        )
        return cursors.page(found, query.limit, lambda n: _number(n, owner), lambda n: n.number)

    @router.get("/v1/numbers/{number}")
    async def get_number(key: AnyKey, number: str) -> NumberView:
        """One number."""
        return _number(await numbers.get_number(number, key.customer_id), key.customer_id)

    @router.patch("/v1/numbers/{number}")
    async def change_number(_: OperatorKey, number: str, body: NumberChange) -> NumberView:
        """Say which trunk owns a number."""
        return _number(await numbers.set_trunk(number, body.trunk_id), None)

    @router.put("/v1/numbers/{number}/person")
    async def assign_number(key: CustomerKey, number: str, body: Person) -> NumberView:
        """Make one of your numbers the fixed X of one person."""
        owner = str(key.customer_id)
        return _number(await numbers.assign(number, body.person, owner), owner)

    @router.delete("/v1/numbers/{number}/person")
    async def unassign_number(key: AnyKey, number: str) -> NumberView:
        """Take a fixed X away from its person: now, or when its last binding and quarantine are over."""
        return _number(await numbers.unassign(number, key.customer_id), key.customer_id)

    _add_state_routes(router, numbers)
    return router


def _add_state_routes(router: APIRouter, numbers: Numbers) -> None:
    @router.post("/v1/numbers/{number}/suspend")
    async def suspend_number(_: OperatorKey, number: str) -> NumberView:
        """Neither allocate nor display a number until it is resumed. Again is no error."""
        return _number(await numbers.suspend(number), None)

    @router.post("/v1/numbers/{number}/resume")
    async def resume_number(_: OperatorKey, number: str) -> NumberView:
        """Undo a suspension."""
        return _number(await numbers.resume(number), None)

    @router.post("/v1/numbers/{number}/retire")
    async def retire_number(_: OperatorKey, number: str) -> NumberView:
        """Take a number out of use for good. Again is no error."""
        return _number(await numbers.retire(number), None)


def _number(number: Number, customer_id: str | None) -> NumberView:
    return NumberView(
        number=number.number,
        kind=number.kind,
        city=number.city,
        state=number.state,
        customer_id=number.customer_id,
        pool_id=number.pool_id,
        trunk_id=number.trunk_id if customer_id is None else None,
        fixed=number.fixed,
        assigned_to=_person(number, customer_id),
        assigned_by=number.assigned_by,
        last_used_at=rfc3339(number.last_used_at) if number.last_used_at else None,
        created_at=rfc3339(number.created_at),
        updated_at=rfc3339(number.updated_at),
    )


def _person(number: Number, customer_id: str | None) -> str | None:
    if number.assigned_to is None:
        return None
    return number.assigned_to if number.assigned_by == customer_id else masked(number.assigned_to)
