"""Routes: a customer's own bindings."""

from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, model_validator

from xiaohao.api.auth import CustomerKey
from xiaohao.api.fields import Id, Moment, Number, Reference, Request, Timestamp, UserData
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.bindings.model import Binding, BindingState, Mode, Reservation
from xiaohao.bindings.service import Bindings
from xiaohao.clock import SECOND, now_us, rfc3339
from xiaohao.errors import validation_failed
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal

_LONGEST_LIFE_S = 10 * 366 * 86_400


class NewBinding(Request):
    """A and B shall be able to call each other."""

    a: Number = Field(description="Real number of A, e.g. the driver")
    b: Number = Field(description="Real number of B, e.g. the passenger")
    x: Number | None = Field(
        None, description="Platform number that stands for A; else A's own, or one of x_pool"
    )
    y: Number | None = Field(None, description="Platform number that stands for B; else one of y_pool")
    x_pool: Id | None = None
    y_pool: Id | None = None
    expires_in_s: int | None = Field(
        None, ge=1, le=_LONGEST_LIFE_S, description="Seconds from now; neither this nor expires_at: no end"
    )
    expires_at: Moment | None = Field(None, description="Rounded up to whole seconds from now")
    record: bool = True
    max_duration_s: int | None = Field(None, ge=1, le=86_400, description="Ends each call after so long")
    order_ref: Reference | None = None
    user_data: UserData | None = Field(None, description="Comes back in events and records")
    reuse: bool = Field(
        False, description="Give back the pair's live binding if it has the same content, with status 200"
    )

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        if self.expires_in_s is not None and self.expires_at is not None:
            raise ValueError("expires_in_s and expires_at exclude each other")
        return self


class BindingView(BaseModel):
    """A and B can call each other while it is live."""

    id: str
    mode: Mode
    state: BindingState
    dial: str = Field(description="What A dials to reach B: the same as y", examples=["+861062000001"])
    a: str
    b: str
    x: str = Field(description="Stands for A: B sees it and dials it")
    y: str = Field(description="Stands for B: A sees it and dials it")
    expires_at: Timestamp | None
    ended_at: Timestamp | None
    recycle_until: Timestamp | None = Field(description="Until then nobody else gets the same keys")
    record: bool
    max_duration_s: int | None
    order_ref: str | None
    user_data: str | None
    created_at: Timestamp
    updated_at: Timestamp


class BindingQuery(PageQuery):
    """Which bindings."""

    state: BindingState | None = None
    number: Number | None = Field(None, description="A platform number (X or Y), never a real one")
    order_ref: Reference | None = None


class BindingSearch(Request):
    """Which bindings, by real numbers, too."""

    a: Number | None = None
    b: Number | None = None
    number: Number | None = Field(None, description="A platform number (X or Y)")
    state: BindingState | None = Field(None, strict=False)
    order_ref: Reference | None = None
    after: Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_-]*$")] | None = None
    limit: int = Field(100, ge=1, le=500)


def router(bindings: Bindings, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("bindings")

    @routes.post("/v1/bindings", status_code=201)
    async def reserve(key: CustomerKey, body: NewBinding, response: Response) -> BindingView:
        """Let two people call each other; the answer's `dial` is what A dials."""
        asked_at = now_us()
        binding = await bindings.reserve(_customer(key), _reservation(body, asked_at))
        if binding.created_at < asked_at:
            response.status_code = 200
        response.headers["Location"] = f"/v1/bindings/{binding.id}"
        return _view(binding)

    @routes.get("/v1/bindings")
    async def list_bindings(key: CustomerKey, query: Annotated[BindingQuery, Query()]) -> Page[BindingView]:
        """Your bindings, the newest first."""
        return await _page(key, query)

    @routes.post("/v1/bindings/search", openapi_extra=ONLY_READS)
    async def search_bindings(key: CustomerKey, body: BindingSearch) -> Page[BindingView]:
        """Your bindings by real numbers, which must not stand in a URL; the newest first."""
        return await _page(key, body, body.a, body.b)

    @routes.get("/v1/bindings/{binding_id}")
    async def get_binding(key: CustomerKey, binding_id: str) -> BindingView:
        """One binding."""
        return _view(await bindings.get(_customer(key), binding_id))

    @routes.delete("/v1/bindings/{binding_id}")
    async def release(key: CustomerKey, binding_id: str) -> BindingView:
        """End a binding; calls that talk go on. Again is no error."""
        return _view(await bindings.release(_customer(key), binding_id))

    async def _page(
        key: Principal, query: BindingQuery | BindingSearch, a: str | None = None, b: str | None = None
    ) -> Page[BindingView]:
        cursors = Cursors(vault, f"bindings {key.customer_id}")
        position = cursors.position(query.after)
        found = await bindings.page(
            _customer(key),
            None if position is None else int(position),
            query.limit + 1,
            state=query.state,
            a=a,
            b=b,
            number=query.number,
            order_ref=query.order_ref,
        )
        return cursors.page(found, query.limit, _view, lambda binding: binding.seq)

    return routes


def _customer(key: Principal) -> str:
    return str(key.customer_id)


def _reservation(body: NewBinding, now: int) -> Reservation:
    life_s = body.expires_in_s
    if body.expires_at is not None:
        life_s = -((now - body.expires_at) // SECOND)
        if not 1 <= life_s <= _LONGEST_LIFE_S:
            raise validation_failed("expires_at", "must be in the future, and at most ten years away")
    return Reservation(
        a=body.a,
        b=body.b,
        x=body.x,
        y=body.y,
        x_pool=body.x_pool,
        y_pool=body.y_pool,
        expires_in_s=life_s,
        record=body.record,
        max_duration_s=body.max_duration_s,
        order_ref=body.order_ref,
        user_data=body.user_data,
        reuse=body.reuse,
    )


def _view(binding: Binding) -> BindingView:
    return BindingView(
        id=binding.id,
        mode=binding.mode,
        state=binding.state,
        dial=binding.y,
        a=binding.a,
        b=binding.b,
        x=binding.x,
        y=binding.y,
        expires_at=_moment(binding.expires_at),
        ended_at=_moment(binding.ended_at),
        recycle_until=_moment(binding.recycle_until),
        record=binding.record,
        max_duration_s=binding.max_duration_s,
        order_ref=binding.order_ref,
        user_data=binding.user_data,
        created_at=rfc3339(binding.created_at),
        updated_at=rfc3339(binding.updated_at),
    )


def _moment(us: int | None) -> str | None:
    return None if us is None else rfc3339(us)
