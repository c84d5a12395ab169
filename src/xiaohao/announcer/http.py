"""Routes: what becomes of callers whom no binding knows."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from xiaohao.announcer.model import USUAL, Terms, Treatment
from xiaohao.announcer.strangers import Strangers
from xiaohao.api.auth import AnyKey, CustomerKey
from xiaohao.api.fields import Number, Request
from xiaohao.api.route import api_router
from xiaohao.calls.model import Reason
from xiaohao.errors import not_found
from xiaohao.policies.explaining import Explaining
from xiaohao.pools.model import Pool
from xiaohao.pools.service import Pools
from xiaohao.tenants.model import Principal


class UnknownCallers(Request):
    """What becomes of them."""

    treatment: Treatment = Field(strict=False)
    hotline: Number | None = Field(None, description="Who is called then, with `treatment` hotline only")


class UnknownCallersView(BaseModel):
    """What becomes of callers whom no binding knows."""

    treatment: Treatment
    hotline: str | None
    inherited: bool = Field(description="Nothing is set here: this is what holds all the same")
    hotline_barred: Reason | None = Field(
        description="For this reason calls to the hotline would be refused now, by the rules for all of the"
        " customer's numbers; null: they would not"
    )


def router(strangers: Strangers, pools: Pools, explaining: Explaining) -> APIRouter:
    """The routes of callers whom no binding knows."""
    router = api_router("bindings")

    async def holding(customer_id: str | None) -> UnknownCallersView:
        terms = await strangers.get(customer_id) if customer_id else None
        return await view(customer_id or "", terms or USUAL, inherited=terms is None)

    async def view(customer_id: str, terms: Terms, *, inherited: bool) -> UnknownCallersView:
        barred = None
        if terms.hotline is not None:
            barred = await explaining.barred(customer_id, terms.hotline)
        return UnknownCallersView(
            treatment=terms.treatment, hotline=terms.hotline, inherited=inherited, hotline_barred=barred
        )

    @router.get("/v1/unknown-callers")
    async def get_unknown_callers(key: CustomerKey) -> UnknownCallersView:
        """What becomes of callers whom no binding knows, where their pool says nothing else."""
        return await holding(key.customer_id)

    @router.put("/v1/unknown-callers")
    async def set_unknown_callers(key: CustomerKey, body: UnknownCallers) -> UnknownCallersView:
        """Choose it; in force within a second."""
        assert key.customer_id is not None  # noqa: S101 – a customer's key
        await strangers.put(key.customer_id, key.customer_id, Terms(body.treatment, body.hotline))
        return await holding(key.customer_id)

    @router.delete("/v1/unknown-callers", status_code=204)
    async def forget_unknown_callers(key: CustomerKey) -> None:
        """Choose nothing: they are told that nobody is bound to their number."""
        assert key.customer_id is not None  # noqa: S101 – a customer's key
        await strangers.remove(key.customer_id)

    async def own(key: Principal, pool_id: str) -> tuple[Pool, str]:
        """The customer's own pool, or (for the operator) anybody's, and its customer."""
        pool = await pools.get(pool_id, key.customer_id)
        if pool.customer_id is None:
            raise not_found("pool of a customer's own")
        return pool, pool.customer_id

    @router.get("/v1/pools/{pool_id}/unknown-callers")
    async def get_unknown_callers_of_pool(key: AnyKey, pool_id: str) -> UnknownCallersView:
        """The same for the numbers of one pool."""
        pool, customer_id = await own(key, pool_id)
        terms = await strangers.get(pool.id)
        if terms is not None:
            return await view(customer_id, terms, inherited=False)
        return (await holding(customer_id)).model_copy(update={"inherited": True})

    @router.put("/v1/pools/{pool_id}/unknown-callers")
    async def set_unknown_callers_of_pool(
        key: AnyKey, pool_id: str, body: UnknownCallers
    ) -> UnknownCallersView:
        """Choose it for the numbers of one pool; in force within a second."""
        pool, customer_id = await own(key, pool_id)
        terms = Terms(body.treatment, body.hotline)
        await strangers.put(pool.id, customer_id, terms)
        return await view(customer_id, terms, inherited=False)

    @router.delete("/v1/pools/{pool_id}/unknown-callers", status_code=204)
    async def forget_unknown_callers_of_pool(key: AnyKey, pool_id: str) -> None:
        """Choose nothing for the pool: what the customer has chosen holds."""
        pool, _ = await own(key, pool_id)
        await strangers.remove(pool.id)

    return router
