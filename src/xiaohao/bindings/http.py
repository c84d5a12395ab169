"""Routes: a customer's own bindings."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response

from xiaohao.api.auth import CustomerKey
from xiaohao.api.paging import Cursors, Page
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.bindings.bodies import (
    BindingChange,
    BindingQuery,
    BindingSearch,
    BindingView,
    NewBinding,
    NewEnd,
    shown,
    view,
)
from xiaohao.bindings.service import Bindings
from xiaohao.clock import now_us
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal

_HangUp = Annotated[bool, Query(description="End live calls of the binding, too; else they go on")]


def router(bindings: Bindings, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("bindings")

    @routes.post("/v1/bindings", status_code=201, response_model=BindingView)
    async def reserve(key: CustomerKey, body: NewBinding) -> Response:
        """Let two people call each other; the answer's `dial` is what A dials."""
        reserved = await bindings.reserved(_customer(key), body.reservation(now_us()))
        where = {"Location": f"/v1/bindings/{reserved.binding.id}"}
        document = msgspec.json.encode(shown(reserved.binding))
        return Response(document, 201 if reserved.fresh else 200, where, media_type="application/json")

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
        return view(await bindings.get(_customer(key), binding_id))

    @routes.patch("/v1/bindings/{binding_id}")
    async def change_binding(key: CustomerKey, binding_id: str, body: BindingChange) -> BindingView:
        """Change what is named, also A's or B's real number, X or Y; the mode stays as it is.

        A person whose number is replaced reaches nobody by it any more, and sees nobody else: the key rests.
        So it does where X or Y is another number from now on. Sent again it changes nothing more.
        """
        changes = body.changes(now_us())
        return view(await bindings.change(_customer(key), binding_id, changes, key.key_id))

    @routes.post("/v1/bindings/{binding_id}:extend")
    async def extend_binding(key: CustomerKey, binding_id: str, body: NewEnd) -> BindingView:
        """Let a binding live until this moment at least: one that ends later, or never, stays so."""
        now = now_us()
        expires_at = body.end(now) or now
        return view(await bindings.extend(_customer(key), binding_id, expires_at, key.key_id))

    @routes.delete("/v1/bindings/{binding_id}")
    async def release(key: CustomerKey, binding_id: str, hang_up: _HangUp = False) -> BindingView:
        """End a binding and the pairs that came about by it. Again is no error."""
        return view(await bindings.release(_customer(key), binding_id, hang_up=hang_up))

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
            mode=query.mode,
            a=a,
            b=b,
            number=query.number,
            city=query.city,
            order_ref=query.order_ref,
            parent_id=query.parent_id,
        )
        return cursors.page(found, query.limit, view, lambda binding: binding.seq)

    return routes


def _customer(key: Principal) -> str:
    return str(key.customer_id)
