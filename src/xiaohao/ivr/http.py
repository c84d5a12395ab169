"""Routes: announcement graphs, and which one callers are led through."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Id, Number, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import ONLY_READS, PROBLEM_CONTENT, api_router
from xiaohao.clock import rfc3339
from xiaohao.ivr import drawing, wire
from xiaohao.ivr.builtin import BUILT_IN
from xiaohao.ivr.desk import GraphDesk, KeptGraph, place_of
from xiaohao.ivr.model import Found, Occasion
from xiaohao.prompts.http import PromptName
from xiaohao.secrecy import Vault

_FOR: Final = "For the operator: of or for this customer; without it, for all customers"
_GRAPH: Final = "A graph as docs/graph.schema.json describes it"
_ABSENT: Final[dict[int | str, dict[str, Any]]] = {
    404: {
        "description": "There is no such thing, or it is another customer's",
        "content": PROBLEM_CONTENT,
    }
}
_SVG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The picture", "content": {"image/svg+xml": {"schema": {"type": "string"}}}}
}
_NO_CODE: Final = "default-src 'none'; style-src 'unsafe-inline'"
Document = dict[str, Any]


class NewGraph(Request):
    """A graph to make."""

    name: PromptName
    graph: Document = Field(description=_GRAPH)
    customer_id: Id | None = Field(None, description=_FOR)


class GraphBody(Request):
    """A graph."""

    graph: Document = Field(description=_GRAPH)


class TrialStep(Request):
    """Something that happens."""

    event: str = Field(
        max_length=20,
        description="`started`, `played` (a prompt ended), `digits`, `timeout` (no key came), `looked`",
    )
    keys: str = Field("", max_length=64, description="Of `digits` and `started`: the keys in their order")
    result: Found | None = Field(None, strict=False, description="Of `looked`")


class Trial(Request):
    """What happens in a trial; the caller's listening is added where it does not come first."""

    events: list[TrialStep] = Field(max_length=wire.EVENTS_MOST)


class GraphChoice(Request):
    """Which graph callers are led through."""

    occasion: Occasion = Field(strict=False)
    graph_id: Id | None = Field(description=f"`gra_…`, or one of {', '.join(BUILT_IN)}; null: no longer")
    pool_id: Id | None = Field(None, description="Only where a number of this pool is dialled")
    number: Number | None = Field(None, description="Only where this number is dialled")
    customer_id: Id | None = Field(None, description=_FOR)


class ChoiceQuery(BaseModel):
    """Whose choices."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Annotated[Id | None, Field(description=_FOR)] = None


class GraphView(BaseModel):
    """A dialogue with callers."""

    id: str = Field(description="`gra_…`; of a built-in graph its name")
    customer_id: str | None = Field(description="null: the operator's, or built in: for all")
    name: str
    built_in: bool
    graph: Document = Field(description=_GRAPH)
    created_by: str | None
    created_at: Timestamp | None
    updated_at: Timestamp | None


class FaultView(BaseModel):
    """Something that is wrong with a graph."""

    field: str = Field(description="Where, as a path in the document", examples=["nodes.ask.prompt"])
    node: str | None
    code: str
    detail: str


class CheckView(BaseModel):
    """What is wrong with a graph; nothing, where it can be used."""

    faults: list[FaultView]


class TrialView(BaseModel):
    """What the dialogue did."""

    steps: list[Document] = Field(description="Each event with the `actions` that follow from it")
    at: str = Field(description="The node that the dialogue is at")
    over: bool


class GraphChoiceView(BaseModel):
    """Which graph was chosen."""

    occasion: Occasion
    pool_id: str | None
    number: str | None
    graph_id: str
    updated_at: Timestamp


class GraphChoiceList(BaseModel):
    """What was chosen; the number comes before its pool, and that before the rest."""

    items: list[GraphChoiceView]


def router(desk: GraphDesk, vault: Vault) -> APIRouter:
    """The routes of graphs."""
    routes = api_router("graphs")

    @routes.post("/v1/graphs", status_code=201)
    async def create_graph(key: AnyKey, body: NewGraph) -> GraphView:
        """Make a graph. Its errors name node and field."""
        return _graph(await desk.create(key, body.customer_id, body.name, body.graph))

    @routes.get("/v1/graphs")
    async def list_graphs(key: AnyKey, query: Annotated[PageQuery, Query()]) -> Page[GraphView]:
        """Your graphs, and those that the operator made for all; for the operator, everybody's."""
        cursors = Cursors(vault, f"graphs {key.customer_id}")
        found = await desk.page(key, cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _graph, lambda graph: graph.id)

    @routes.post("/v1/graphs:check", openapi_extra=ONLY_READS)
    async def check_graph(key: AnyKey, body: GraphBody) -> CheckView:
        """Say everything that is wrong with a graph, without keeping it."""
        return CheckView(
            faults=[
                FaultView(field=place_of(one), node=one.node, code=one.code, detail=one.detail)
                for one in await desk.faults(key, body.graph)
            ]
        )

    @routes.get("/v1/graphs/{graph_id}")
    async def get_graph(key: AnyKey, graph_id: str) -> GraphView:
        """One graph, a built-in one by its name."""
        return _graph(await desk.get(key, graph_id))

    @routes.put("/v1/graphs/{graph_id}")
    async def replace_graph(key: AnyKey, graph_id: str, body: GraphBody) -> GraphView:
        """Put another graph in its place, for calls that come from now on."""
        return _graph(await desk.replace(key, graph_id, body.graph))

    @routes.delete("/v1/graphs/{graph_id}", status_code=204)
    async def delete_graph(key: AnyKey, graph_id: str) -> None:
        """Delete a graph that is not chosen."""
        await desk.delete(key, graph_id)

    @routes.get("/v1/graphs/{graph_id}/picture", response_class=Response, responses=_SVG)
    async def draw_graph(key: AnyKey, graph_id: str) -> Response:
        """The graph as a picture (SVG)."""
        picture = drawing.draw((await desk.get(key, graph_id)).graph)
        headers = {"Content-Security-Policy": _NO_CODE}
        return Response(picture, media_type="image/svg+xml", headers=headers)

    @routes.post("/v1/graphs/{graph_id}:simulate", openapi_extra=ONLY_READS)
    async def simulate_graph(key: AnyKey, graph_id: str, body: Trial) -> TrialView:
        """Try a graph without a phone: what it does when all this happens."""
        steps = [wire.Step(one.event, one.keys, one.result) for one in body.events]
        return TrialView(**await desk.simulate(key, graph_id, steps))

    @routes.get("/v1/dialogues", responses=_ABSENT)
    async def list_dialogues(key: AnyKey, query: Annotated[ChoiceQuery, Query()]) -> GraphChoiceList:
        """Which graphs are chosen."""
        return await _choices(key, query.customer_id)

    @routes.put("/v1/dialogues")
    async def choose_graph(key: AnyKey, body: GraphChoice) -> GraphChoiceList:
        """Choose the graph that callers are led through. It is in force within a second."""
        await desk.choose(
            key, body.customer_id, body.occasion, body.graph_id, pool_id=body.pool_id, number=body.number
        )
        return await _choices(key, body.customer_id)

    async def _choices(key: AnyKey, customer_id: str | None) -> GraphChoiceList:
        return GraphChoiceList(
            items=[
                GraphChoiceView(
                    occasion=one.occasion,
                    pool_id=one.pool_id,
                    number=one.number,
                    graph_id=one.graph_id,
                    updated_at=rfc3339(one.updated_at),
                )
                for one in await desk.choices(key, customer_id)
            ]
        )

    return routes


def _graph(kept: KeptGraph) -> GraphView:
    built_in = kept.id in BUILT_IN
    return GraphView(
        id=kept.id,
        customer_id=kept.customer_id,
        name=kept.name,
        built_in=built_in,
        graph=msgspec.to_builtins(kept.graph),
        created_by=kept.created_by,
        created_at=None if built_in else rfc3339(kept.created_at),
        updated_at=None if built_in else rfc3339(kept.updated_at),
    )
