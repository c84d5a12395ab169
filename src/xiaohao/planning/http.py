"""Routes: plans, and how pools stand."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Timestamp
from xiaohao.api.presence import while_there
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.planning.service import History, Planner
from xiaohao.planning.wire import PlanRequest, PlanView, usage_document
from xiaohao.planning.words import Language

_MEDIA_TYPES: Final = {"svg": "image/svg+xml", "png": "image/png"}
_PICTURES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The picture",
        "content": {
            name: {"schema": {"type": "string", "format": "binary"}} for name in _MEDIA_TYPES.values()
        },
    }
}
_FORMATS: Final = "^(svg|png)$"


class PictureQuery(BaseModel):
    """What the picture is to be like."""

    format: str = Field("svg", pattern=_FORMATS, json_schema_extra={"enum": list(_MEDIA_TYPES)})
    language: Language = Language.ENGLISH


class HistoryQuery(BaseModel):
    """How far back."""

    days: int = Field(7, ge=1, le=92)


class BusiestView(BaseModel):
    """What one person would have held."""

    recycle_s: float
    held: int = Field(description="Numbers, of living and resting relations at the same moment")


class HistoryPlanView(BaseModel):
    """What a pool was needed for, and what such days need."""

    pool_id: str
    days: int
    bindings: int
    people_share: float = Field(description="Of all people, those who were looked at: 1, less in huge pools")
    busiest: list[BusiestView] = Field(description="The busiest person, under this and other recycle periods")
    request: PlanRequest = Field(description="The busiest day as a request for /v1/plans, to be changed")
    plan: PlanView


class UsageView(BaseModel):
    """How a pool stands."""

    pool_id: str
    at: Timestamp
    total: int
    usable: int = Field(description="In a state that can be used")
    assigned: int = Field(description="X of somebody")
    used: int = Field(description="With a live relation")
    resting: int = Field(description="With relations that all rest")
    free: int = Field(description="Usable, nobody's X, and without any relation")
    peak: int = Field(description="The most numbers, live and resting, that one person holds")
    days_left: float | None = Field(
        description="Until `assigned` and `peak` make up `usable`, at the trend of the last days; null: they"
        " do not grow, or too little is known yet"
    )


def router(planner: Planner) -> APIRouter:
    """The routes of this room."""
    routes = api_router("planning")

    @routes.post("/v1/plans", openapi_extra=ONLY_READS)
    async def plan_numbers(key: AnyKey, request: Request, body: PlanRequest) -> PlanView:
        """How many numbers drivers and passengers need."""
        return await while_there(request, planner.plan(body, key.customer_id))

    @routes.post("/v1/plans/picture", openapi_extra=ONLY_READS, response_class=Response, responses=_PICTURES)
    async def draw_plan(
        key: AnyKey, request: Request, body: PlanRequest, query: Annotated[PictureQuery, Query()]
    ) -> Response:
        """The same as a picture: whose X, which Y for whom, the totals, and other recycle periods."""
        drawing = planner.picture(body, key.customer_id, query.format, query.language)
        picture = await while_there(request, drawing)
        return Response(picture, media_type=_MEDIA_TYPES[query.format])

    @routes.get("/v1/pools/{pool_id}/plan")
    async def plan_pool(
        key: AnyKey, request: Request, pool_id: str, query: Annotated[HistoryQuery, Query()]
    ) -> HistoryPlanView:
        """What days like the busiest of the last ones need, from the bindings of your people."""
        history = await planner.history(pool_id, key.customer_id, query.days)
        plan = await while_there(request, planner.plan(history.request, key.customer_id))
        return _history(pool_id, query.days, history, plan)

    @routes.get("/v1/pools/{pool_id}/usage")
    async def pool_usage(key: AnyKey, pool_id: str) -> UsageView:
        """How many numbers are used, rest and are free, and for how many days they will do."""
        return UsageView(**usage_document(pool_id, await planner.usage(pool_id, key.customer_id)))

    return routes


def _history(pool_id: str, days: int, history: History, plan: PlanView) -> HistoryPlanView:
    return HistoryPlanView(
        pool_id=pool_id,
        days=days,
        bindings=history.bindings,
        people_share=history.share,
        busiest=[BusiestView(recycle_s=one.recycle_s, held=one.held) for one in history.busiest],
        request=history.request,
        plan=plan,
    )
