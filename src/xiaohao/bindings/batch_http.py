"""Routes: many bindings at once, with a result a row; and what a binding would come to."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, WithJsonSchema
from starlette.responses import Response

from xiaohao.api.auth import CustomerKey
from xiaohao.api.errors import Problem, document_of
from xiaohao.api.fields import Id, Request
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.bindings.bodies import BindingView, NewBinding, shown
from xiaohao.bindings.choice import How
from xiaohao.bindings.explain import Chosen, Explanation
from xiaohao.bindings.jobs import Reserved
from xiaohao.bindings.model import Binding, Reservation
from xiaohao.bindings.service import Bindings
from xiaohao.clock import now_us
from xiaohao.errors import Refusal
from xiaohao.numbers.model import Kind

_ROWS_MAX: Final = 1000
_ITEM: Final = TypeAdapter(NewBinding)

# Each row is checked by itself: one that is anything else is refused in its own result.
_Row = Annotated[Any, WithJsonSchema({"anyOf": [{"$ref": "#/components/schemas/NewBinding"}, {}]})]


class NewBindings(Request):
    """Many bindings; each is made or refused by itself."""

    bindings: list[_Row] = Field(min_length=1, max_length=_ROWS_MAX)


class EndedBindings(Request):
    """Which bindings are to end."""

    ids: list[Id] = Field(min_length=1, max_length=_ROWS_MAX)
    hang_up: bool = Field(False, description="End their live calls, too; else they go on")


class RowResult(BaseModel):
    """What became of one row."""

    status: int = Field(description="As if the row had been a request of its own", examples=[201])
    binding: BindingView | None = Field(description="Where the status is 200 or 201")
    problem: Problem | None = Field(description="Where it is not")


class BatchResult(BaseModel):
    """What became of each row, in the order of the request."""

    results: list[RowResult]


class ChosenView(BaseModel):
    """A number that would be taken, and why it is this one."""

    number: str
    kind: Kind
    city: str | None
    pool_id: str | None
    rule: How = Field(
        description="named: by the request; own: A's X already; last_time: by which the pair met before;"
        " least_recently_used: it has rested longest of those that are free"
    )
    fallback: bool = Field(description="The city wished for has none left: this is one of the next")
    candidates: int | None = Field(
        description="From so many of its pool (and city, where one is wished for); null: without choice,"
        " or from a pool that customers share"
    )


class ExplanationView(BaseModel):
    """What a request for a binding would come to at this moment."""

    possible: bool
    x: ChosenView | None
    y: ChosenView | None
    extension: str | None = Field(description="Mode axe: what was named, or one that is free")
    binding: BindingView | None = Field(description="The live binding that would be given back, by `reuse`")
    problem: Problem | None = Field(description="Why it is not possible: the answer that it would get")


def router(bindings: Bindings) -> APIRouter:
    """The routes of this room that take many rows, and those that only explain."""
    routes = api_router("bindings")

    @routes.post("/v1/bindings:batch", response_model=BatchResult)
    async def reserve_many(key: CustomerKey, body: NewBindings) -> Response:
        """Make up to 1,000 bindings. The answer is 200 whatever becomes of each: look at the results.

        Rows are carried out in their order, and one that is refused does not harm the others. With `reuse`
        the same request may be sent again until every row is there.
        """
        now = now_us()
        rows = [_reservation(item, now) for item in body.bindings]
        good = [row for row in rows if isinstance(row, Reservation)]
        outcomes = iter(await bindings.reserve_all(str(key.customer_id), good))
        return _answer([next(outcomes) if isinstance(row, Reservation) else row for row in rows])

    @routes.post("/v1/bindings:release", response_model=BatchResult)
    async def release_many(key: CustomerKey, body: EndedBindings) -> Response:
        """End up to 1,000 bindings. One that has ended already is given as it is."""
        customer_id = str(key.customer_id)
        return _answer(await bindings.release_all(customer_id, body.ids, hang_up=body.hang_up))

    @routes.post("/v1/bindings:explain", openapi_extra=ONLY_READS, response_model=ExplanationView)
    async def explain(key: CustomerKey, body: NewBinding) -> Response:
        """What would be chosen and why, or the refusal with its reasons; nothing is bound.

        Somebody else may be quicker: the same request is not certain to come to the same a moment later.
        """
        try:
            wanted = body.reservation(now_us())
        except Refusal as refused:
            return _explained(Explanation(refusal=refused))
        return _explained(await bindings.explain(str(key.customer_id), wanted))

    return routes


def _explained(explanation: Explanation) -> Response:
    refusal, existing = explanation.refusal, explanation.existing
    document = {
        "possible": refusal is None,
        "x": _chosen(explanation.x),
        "y": _chosen(explanation.y),
        "extension": explanation.extension,
        "binding": None if existing is None else shown(existing),
        "problem": None if refusal is None else document_of(refusal),
    }
    return Response(msgspec.json.encode(document), media_type="application/json")


def _chosen(chosen: Chosen | None) -> dict[str, Any] | None:
    if chosen is None:
        return None
    facts = chosen.found.facts
    return {
        "number": facts.number,
        "kind": facts.kind,
        "city": facts.city,
        "pool_id": facts.pool_id,
        "rule": chosen.found.how,
        "fallback": chosen.found.fallback,
        "candidates": chosen.candidates,
    }


def _reservation(item: Any, now: int) -> Reservation | Refusal | RequestValidationError:
    try:
        return _ITEM.validate_python(item).reservation(now)
    except ValidationError as error:
        # The framework's own faults begin with the part of the request that they are in.
        faults = error.errors(include_url=False, include_input=False)
        return RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults])
    except Refusal as refused:
        return refused


_Outcome = Reserved | Binding | Refusal | RequestValidationError


def _answer(outcomes: Sequence[_Outcome]) -> Response:
    # Written as it is: checking a thousand rows once more would cost more than making them.
    results = [_result(outcome) for outcome in outcomes]
    return Response(msgspec.json.encode({"results": results}), media_type="application/json")


def _result(outcome: _Outcome) -> dict[str, Any]:
    if isinstance(outcome, Reserved):
        return {"status": 201 if outcome.fresh else 200, "binding": shown(outcome.binding), "problem": None}
    if isinstance(outcome, Binding):
        return {"status": 200, "binding": shown(outcome), "problem": None}
    problem = document_of(outcome)
    return {"status": problem["status"], "binding": None, "problem": problem}
