"""The web process put together by hand: which room serves which routes, and what each of them is given."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from xiaohao import __version__
from xiaohao.announcer import http as stranger_routes
from xiaohao.announcer.strangers import Strangers
from xiaohao.api import docs, errors, health, metrics
from xiaohao.api.auth import Keys
from xiaohao.api.guard import Guard
from xiaohao.api.idempotency import Idempotency
from xiaohao.audit import http as audit_routes
from xiaohao.audit.service import Audit
from xiaohao.billing import http as billing_routes
from xiaohao.billing import invoice_http as invoice_routes
from xiaohao.billing import reconcile_http as reconcile_routes
from xiaohao.billing.closing import Closing
from xiaohao.billing.deeds import Deeds
from xiaohao.billing.invoices import Invoices
from xiaohao.billing.rater import Rater
from xiaohao.billing.reconcile import Reconciliations
from xiaohao.billing.rerating import Reratings
from xiaohao.billing.service import Billing
from xiaohao.bindings import batch_http as many_binding_routes
from xiaohao.bindings import http as binding_routes
from xiaohao.bindings.service import Bindings
from xiaohao.calls import export_http as cdr_routes
from xiaohao.calls import http as call_routes
from xiaohao.calls.corrections import Corrections
from xiaohao.calls.records import CallRecords
from xiaohao.calls.retention import Retention
from xiaohao.complaints import http as complaint_routes
from xiaohao.complaints.service import Complaints
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.digests import http as digest_routes
from xiaohao.digests.service import Digests
from xiaohao.edge.addresses import listeners
from xiaohao.inventory import http as inventory_routes
from xiaohao.ivr import http as graph_routes
from xiaohao.ivr.desk import GraphDesk
from xiaohao.lookups import http as lookup_routes
from xiaohao.lookups.service import Lookups
from xiaohao.notifications import http as notification_routes
from xiaohao.notifications.feed import Feed
from xiaohao.notifications.streams import Streams
from xiaohao.numbers import http as number_routes
from xiaohao.numbers.service import Numbers
from xiaohao.planning import http as planning_routes
from xiaohao.planning import page as planning_page
from xiaohao.planning.service import Planner
from xiaohao.policies import entries_http as policy_entry_routes
from xiaohao.policies import http as policy_routes
from xiaohao.policies.explaining import Explaining
from xiaohao.policies.service import Policies
from xiaohao.pools import http as pool_routes
from xiaohao.pools.service import Pools
from xiaohao.prompts import http as prompt_routes
from xiaohao.prompts.defaults import Defaults
from xiaohao.prompts.desk import PromptDesk
from xiaohao.recordings import http as recording_routes
from xiaohao.recordings import keeping_http as keeping_routes
from xiaohao.recordings.keeping import Keeping
from xiaohao.recordings.service import Recordings
from xiaohao.routing import http as routing_routes
from xiaohao.routing.service import Routing
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants import http as tenant_routes
from xiaohao.tenants.service import Tenants
from xiaohao.trace import http as trace_routes
from xiaohao.trace.service import CallTraces
from xiaohao.trunks import http as trunk_routes
from xiaohao.trunks.service import Trunks
from xiaohao.verifications import http as verification_routes
from xiaohao.verifications.service import Verifications

_FORGET_EVERY_S: Final = 600.0
_PARAMETER: Final = re.compile(r"\{\w+\}")


def create_app(settings: Settings, database: Database, vault: Vault) -> FastAPI:
    """The application. Whoever made `database` also migrates and closes it."""
    app = FastAPI(
        title="xiaohao",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    state = app.state
    state.settings, state.database, state.vault = settings, database, vault
    state.metrics = metrics.Metrics()
    state.idempotency = Idempotency(database, vault)
    state.api_routes = []
    _wire_rooms(app, settings, database, vault)
    for kind in errors.EXPECTED:
        app.add_exception_handler(kind, _answer)
    for path, serve in _PLAIN_ROUTES.items():
        app.add_route(path, serve, include_in_schema=False)
    app.add_middleware(Guard, metrics=state.metrics)
    app.openapi = partial(docs.openapi, app)  # type: ignore[method-assign]
    return app


async def _answer(request: Request, error: Exception) -> Response:
    response = errors.problem_of(error)
    if response.status_code == 405:
        # The framework names the methods of the first route only (RFC 9110 section 15.5.6: all).
        response.headers["Allow"] = ", ".join(_methods_at(request))
    return response


def _methods_at(request: Request) -> list[str]:
    routes: list[APIRoute] = request.app.state.api_routes
    path = request.url.path
    found = [route for route in routes if route.path_regex.match(path)]
    # `/v1/cdrs/search` is no call's id, and `/v1/bindings/{binding_id}:extend` no binding's
    most = max((len(_literal(route)) for route in found), default=0)
    named = [route for route in found if len(_literal(route)) == most]
    return sorted({method for route in named for method in route.methods or ()}) or ["GET", "HEAD"]


def _literal(route: APIRoute) -> str:
    return _PARAMETER.sub("", route.path)


def _wire_rooms(app: FastAPI, settings: Settings, database: Database, vault: Vault) -> None:
    tenants = Tenants(database, vault, allow_private_urls=settings.notifications.allow_private_urls)
    keys = app.state.keys = Keys(tenants)
    bindings, numbers = Bindings(database, vault, most_x=settings.bindings.most_x), Numbers(database, vault)
    audit = Audit(database, vault)
    prompts = PromptDesk(database, vault, audit)
    records = CallRecords(database, vault, audit)
    recordings = app.state.recordings = Recordings(database, vault, settings, audit)
    feed = Feed(database, vault)
    streams = app.state.streams = Streams(feed)
    policies, explaining = Policies(database, vault), Explaining(database, vault)
    for router in (
        audit_routes.router(audit, vault),
        *_billing(settings, database, vault, Deeds(database, audit)),
        binding_routes.router(bindings, vault),
        many_binding_routes.router(bindings),
        call_routes.router(records, vault),
        call_routes.cdr_router(records, vault),
        cdr_routes.router(
            records,
            Corrections(database, vault, audit, Rater(database, vault).correct),
            Retention(database, audit, settings.calls.cdr_days),
            vault,
        ),
        digest_routes.router(Digests(database, vault), vault),
        notification_routes.router(feed, streams, records, keys, vault),
        recording_routes.router(recordings, vault),
        keeping_routes.router(Keeping(database, vault, audit), vault),
        lookup_routes.router(Lookups(database, vault, audit), vault),
        inventory_routes.router(database, vault),
        number_routes.router(numbers, vault),
        verification_routes.router(Verifications(database, vault), vault),
        complaint_routes.router(Complaints(database, vault), vault),
        policy_routes.router(policies, explaining, vault),
        policy_entry_routes.router(policies, database, vault),
        pool_routes.router(Pools(database, vault), vault),
        routing_routes.router(Routing(database, vault, settings, explaining=explaining)),
        stranger_routes.router(Strangers(database, vault), Pools(database, vault), explaining),
        planning_routes.router(Planner(database, vault)),
        prompt_routes.router(prompts, Defaults(Path(settings.prompts.folder)), vault),
        graph_routes.router(GraphDesk(database, vault, audit, prompts), vault),
        trace_routes.router(CallTraces(database, vault, settings, audit)),
        tenant_routes.operator_router(tenants, keys, vault),
        tenant_routes.webhook_router(tenants),
        trunk_routes.router(Trunks(database, vault, frozenset(listeners(settings.edge))), vault),
    ):
        # included, each router would be asked about each request, and each route be built a second time
        app.router.routes.extend(router.routes)
        app.state.api_routes += [route for route in router.routes if isinstance(route, APIRoute)]


def _billing(settings: Settings, database: Database, vault: Vault, deeds: Deeds) -> list[APIRouter]:
    rater, invoices = Rater(database, vault), Invoices(database)
    closing = Closing(database, rater, settings.billing.seller)
    return [
        billing_routes.router(Billing(database, vault), deeds),
        invoice_routes.router(invoices, closing, vault, deeds),
        invoice_routes.rerating_router(Reratings(database, rater), vault, deeds),
        reconcile_routes.router(Reconciliations(database, vault), vault),
    ]


async def _to_docs(_request: Request) -> Response:
    return RedirectResponse("docs")


async def _openapi(request: Request) -> Response:
    return Response(msgspec.json.encode(request.app.openapi()), media_type="application/json")


_PLAIN_ROUTES: Final = {
    "/": _to_docs,
    "/docs": docs.page,
    "/docs/{name}": docs.file,
    "/openapi.json": _openapi,
    "/plan": planning_page.page,
    "/plan/{name}": planning_page.file,
    recording_routes.LINK_PATH: recording_routes.follow_link,
    "/healthz": health.alive,
    "/readyz": health.ready,
    "/metrics": metrics.show,
}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    forgetting = asyncio.create_task(_forget_old_keys(app.state.idempotency))
    try:
        yield
    finally:
        forgetting.cancel()
        with suppress(asyncio.CancelledError):
            await forgetting


async def _forget_old_keys(keys: Idempotency) -> None:
    while True:
        with suppress(DatabaseUnavailable):
            await keys.forget_old()
        await asyncio.sleep(_FORGET_EVERY_S)
