"""Routes: pools."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import CityCode, Id, Name, NotNull, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.clock import rfc3339
from xiaohao.numbers.model import Kind
from xiaohao.pools.model import POLICY_COLUMNS, Choice, CityRule, Policy, Pool
from xiaohao.pools.service import CITIES_MAX, COUNT_MAX, LONGEST_S, Pools
from xiaohao.secrecy import Vault

Cities = Annotated[list[CityCode], Field(min_length=1, max_length=CITIES_MAX)]

_GRACE: Final = "So many seconds of `recycle_s` an ended binding still connects its pair (lost property)"
_CITIES: Final = "Area codes of the only cities whose numbers are taken; null: any"
_FALLBACK: Final = "Cities tried in this order where `city_rule` is nearest; null: the provincial capital"
_RELATIONS: Final = "Legs that one number may carry; null: as many as fit"
_COMPLAINTS: Final = "So many complaints within `complaint_rest_s` suspend a number; null: never"
_REST: Final = "Seconds for which it rests after the last of them"


class NewPool(Request):
    """A pool to make."""

    name: Name
    recycle_s: int = Field(ge=0, le=LONGEST_S, description="Seconds for which keys rest after use")
    customer_id: Id | None = Field(None, description="null: all customers share it")
    grace_s: int = Field(0, ge=0, le=LONGEST_S, description=_GRACE)
    kind: Kind | None = Field(None, strict=False, description="The only kind of number taken; null: any")
    cities: Cities | None = Field(None, description=_CITIES)
    city_rule: CityRule = Field(CityRule.STRICT, strict=False)
    fallback_cities: Cities | None = Field(None, description=_FALLBACK)
    choice: Choice = Field(Choice.LEAST_RECENTLY_USED, strict=False)
    max_relations: int | None = Field(None, ge=1, le=COUNT_MAX, description=_RELATIONS)
    complaints_limit: int | None = Field(None, ge=1, le=COUNT_MAX, description=_COMPLAINTS)
    complaint_rest_s: int | None = Field(None, ge=1, le=LONGEST_S, description=_REST)


class PoolChange(Request):
    """What to change; a field that is not sent stays as it is. Null only where its meaning is told."""

    name: Annotated[Name | None, NotNull] = None
    recycle_s: Annotated[int | None, NotNull] = Field(None, ge=0, le=LONGEST_S)
    grace_s: Annotated[int | None, NotNull] = Field(None, ge=0, le=LONGEST_S)
    kind: Kind | None = Field(None, strict=False, description="null: any")
    cities: Cities | None = Field(None, description=_CITIES)
    city_rule: Annotated[CityRule | None, NotNull] = Field(None, strict=False)
    fallback_cities: Cities | None = Field(None, description=_FALLBACK)
    choice: Annotated[Choice | None, NotNull] = Field(None, strict=False)
    max_relations: int | None = Field(None, ge=1, le=COUNT_MAX, description=_RELATIONS)
    complaints_limit: int | None = Field(None, ge=1, le=COUNT_MAX, description=_COMPLAINTS)
    complaint_rest_s: int | None = Field(None, ge=1, le=LONGEST_S, description=_REST)


class PoolView(BaseModel):
    """Numbers for one purpose."""

    id: str
    customer_id: str | None = Field(description="null: shared")
    name: str
    recycle_s: int
    grace_s: int = Field(description=_GRACE)
    kind: Kind | None
    cities: list[str] | None
    city_rule: CityRule
    fallback_cities: list[str] | None
    choice: Choice
    max_relations: int | None
    complaints_limit: int | None
    complaint_rest_s: int | None
    created_at: Timestamp
    updated_at: Timestamp


def router(pools: Pools, vault: Vault) -> APIRouter:
    """The routes of pools."""
    router = api_router("numbers")

    @router.post("/v1/pools", status_code=201)
    async def create_pool(_: OperatorKey, body: NewPool) -> PoolView:
        """Make a pool."""
        return _pool(await pools.create(body.name, Policy(**_policy_fields(body)), body.customer_id))

    @router.get("/v1/pools")
    async def list_pools(key: AnyKey, query: Annotated[PageQuery, Query()]) -> Page[PoolView]:
        """The pools: all of them for the operator, its own and the shared ones for a customer."""
        cursors = Cursors(vault, f"pools {key.customer_id}")
        found = await pools.page(cursors.position(query.after) or "", query.limit + 1, key.customer_id)
        return cursors.page(found, query.limit, _pool, lambda pool: pool.id)

    @router.get("/v1/pools/{pool_id}")
    async def get_pool(key: AnyKey, pool_id: str) -> PoolView:
        """One pool."""
        return _pool(await pools.get(pool_id, key.customer_id))

    @router.patch("/v1/pools/{pool_id}")
    async def change_pool(_: OperatorKey, pool_id: str, body: PoolChange) -> PoolView:
        """Rename a pool, or change its policy for what happens from now on."""
        policy = {
            name: value for name, value in _policy_fields(body).items() if name in body.model_fields_set
        }
        return _pool(await pools.change(pool_id, name=body.name, policy=policy))

    return router


def _policy_fields(body: NewPool | PoolChange) -> dict[str, Any]:
    values = {name: getattr(body, name) for name in POLICY_COLUMNS}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _pool(pool: Pool) -> PoolView:
    policy: dict[str, Any] = {name: getattr(pool.policy, name) for name in POLICY_COLUMNS}
    lists = {name: list(value) for name, value in policy.items() if isinstance(value, tuple)}
    return PoolView(
        id=pool.id,
        customer_id=pool.customer_id,
        name=pool.name,
        **{**policy, **lists},
        created_at=rfc3339(pool.created_at),
        updated_at=rfc3339(pool.updated_at),
    )
