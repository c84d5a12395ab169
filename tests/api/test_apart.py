"""What is another customer's looks exactly like what is not there, on every route.

The routes are taken from the application itself. A new one that customers may use is not tested by being
forgotten: what names things in its path, its query or its body must stand in one of the tables below.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import Engine, event, update
from tests.api.conftest import Inventory, created
from tests.api.facts import ended, journal_of, talking
from tests.ivr.graphs import MENU
from tests.prompts.sounds import tone_file

from xiaohao.api.auth import AUDIENCES
from xiaohao.billing import calendar
from xiaohao.billing.closing import Closing
from xiaohao.billing.invoices import Invoices
from xiaohao.billing.rater import Rater
from xiaohao.clock import now_us, rfc3339
from xiaohao.database.engine import Database
from xiaohao.database.schema import events
from xiaohao.digests.model import HOUR
from xiaohao.digests.service import Digests
from xiaohao.ids import new_id
from xiaohao.notifications.model import Kind, event_id
from xiaohao.policies import alarm_store
from xiaohao.secrecy import Vault

A, B = "13800138000", "13900139000"
#: real numbers that are nobody's here
C, D = "13500135000", "13600136000"
#: what a path's parameter, a filter or a body may name, and is nobody's
ABSENT = {
    "alarm_id": "alm_00000000000000000000000000000000",
    "binding_id": "bnd_00000000000000000000000000000000",
    "call_id": "01990000-0000-7000-8000-000000000000",
    "customer_id": "cus_00000000000000000000000000000000",
    "entry_id": "pen_00000000000000000000000000000000",
    "graph_id": "gra_00000000000000000000000000000000",
    "invoice_id": "inv_00000000000000000000000000000000",
    "key_id": "key_00000000000000000000000000000000",
    "parent_id": "bnd_00000000000000000000000000000000",
    "number": "+8617000009999",
    "prompt_id": "prm_00000000000000000000000000000000",
    "pool_id": "pool_00000000000000000000000000000000",
    "rule_id": "rul_00000000000000000000000000000000",
    "trunk_id": "trk_00000000000000000000000000000000",
    "verification_id": "ver_00000000000000000000000000000000",
}
#: filters of lists that name no thing of anybody
PLAIN_FILTERS = {
    *("after", "limit", "state", "kind", "city", "since", "until", "reason", "action", "order_ref"),
    *("month", "mode", "hang_up", "carrier", "verification", "days", "format", "language", "order", "calls"),
    "pixels",
    *("name", "languages", "version", "situation"),
    *("list", "replace", "dry_run", "numbers", "sip_code", "q850_cause"),
}
#: bodies that a route with an id in its path accepts, so that the id alone decides
BODIES: dict[str, dict[str, Any]] = {
    "/v1/numbers/{number}/person": {"person": D},
    "/v1/bindings/{binding_id}": {"record": False, "b": C},
    "/v1/bindings/{binding_id}:extend": {"expires_in_s": 60},
    "/v1/prompts/{prompt_id}/texts": {"texts": {"en": "Hello"}},
    "/v1/prompts/{prompt_id}:restore": {"version": 1},
    "/v1/policies/rules/{rule_id}": {"enabled": False},
    "/v1/graphs/{graph_id}": {"graph": MENU},
    "/v1/graphs/{graph_id}:simulate": {"events": []},
    "/v1/numbers/{number}/routing": {"routing": "bindings"},
    "/v1/pools/{pool_id}/routing": {"routing": "bindings"},
    "/v1/pools/{pool_id}/unknown-callers": {"treatment": "refuse"},
    "/v1/recordings/{call_id}/links": {"expires_in_s": 60},
    "/v1/recordings/{call_id}:delete": {"reason": "asked for"},
}
#: routes whose answer is about who asks, whatever is sent
ABOUT_ONESELF = {
    ("GET", "/v1/billing/account"),
    ("GET", "/v1/billing/terms"),
    ("GET", "/v1/billing/usage"),
    ("GET", "/v1/unknown-callers"),
    ("PUT", "/v1/unknown-callers"),
    ("DELETE", "/v1/unknown-callers"),
    ("GET", "/v1/webhook"),
    ("PUT", "/v1/webhook"),
    ("POST", "/v1/webhook/secret"),
    ("POST", "/v1/plans"),
    ("GET", "/v1/routing"),
    ("PUT", "/v1/routing"),
    ("POST", "/v1/routing/secret"),
    ("POST", "/v1/plans/picture"),
    ("POST", "/v1/prompts"),
    ("POST", "/v1/prompts:upload"),
    ("POST", "/v1/graphs"),
    ("POST", "/v1/graphs:check"),
    ("GET", "/v1/announcements"),
    ("GET", "/v1/dialogues"),
    ("GET", "/v1/announcements/audio"),
    ("POST", "/v1/policies/entries:import"),
}


@dataclass(frozen=True)
class Theirs:
    """Things of the first customer: for each name of a parameter, and numbers of the inventory."""

    ids: dict[str, list[str]]
    x: str
    y: str
    x_pool: str
    y_pool: str


#: lists that can be followed: `next` is there even where nothing is
FEEDS = ("/v1/events",)
#: has no end that could be waited for; test_streams.py shows whose events are in it
STREAM = "/v1/events:stream"

#: answers with a file, whose first line names its columns
FILES = ("/v1/cdrs:export",)

Body = dict[str, Any]


def _reserve(theirs: Theirs) -> list[tuple[Body, Body]]:
    base = {"a": A, "b": B}
    x, y = "+8617000009999", "+861062009999"
    pool = ABSENT["pool_id"]
    return [
        ({**base, "x": theirs.x, "y": theirs.y}, {**base, "x": x, "y": y}),
        (
            {**base, "x_pool": theirs.x_pool, "y_pool": theirs.y_pool},
            {**base, "x_pool": pool, "y_pool": pool},
        ),
    ]


def _about_whom(theirs: Theirs, body: Body) -> list[tuple[Body, Body]]:
    names = (theirs.ids["customer_id"][0], ABSENT["customer_id"])
    foreign, absent = ({**body, "customer_id": name} for name in names)
    return [(foreign, absent)]


def _evidence(theirs: Theirs) -> list[tuple[Body, Body]]:
    asked = {"at": rfc3339(now_us()), "reason": "a complaint"}
    return [
        ({"number": number, **asked, **more}, {"number": ABSENT["number"], **asked, **more})
        for number in (theirs.x, theirs.y)
        for more in ({}, {"person": A})
    ]


#: for each route that takes a body: bodies that name things of the first customer, and the same of nobody
NAMING: dict[tuple[str, str], Callable[[Theirs], list[tuple[Body, Body]]]] = {
    ("POST", "/v1/bindings"): _reserve,
    ("POST", "/v1/bindings/search"): lambda theirs: [
        ({"a": A}, {"a": C}),
        ({"b": B}, {"b": D}),
        ({"number": theirs.x}, {"number": ABSENT["number"]}),
    ],
    ("POST", "/v1/cdrs/search"): lambda theirs: [
        ({"person": A}, {"person": C}),
        *(
            ({name: theirs.ids[name][0]}, {name: ABSENT[name]})
            for name in ("number", "binding_id", "customer_id")
        ),
    ],
    ("POST", "/v1/cdrs:export"): lambda theirs: [
        ({"person": A}, {"person": C}),
        *(
            ({name: theirs.ids[name][0]}, {name: ABSENT[name]})
            for name in ("number", "binding_id", "customer_id")
        ),
    ],
    ("POST", "/v1/routing:test"): lambda theirs: [
        ({"dialled": number, **caller}, {"dialled": ABSENT["number"], **caller})
        for number in (theirs.x, theirs.y)
        for caller in ({}, {"caller": A})
    ],
    ("POST", "/v1/lookups/number"): lambda theirs: [
        ({"number": number}, {"number": ABSENT["number"]}) for number in (theirs.x, theirs.y)
    ],
    ("POST", "/v1/lookups/person"): lambda theirs: [({"person": A}, {"person": C})],
    ("POST", "/v1/lookups/pair"): lambda theirs: [({"a": A, "b": B}, {"a": C, "b": D})],
    ("POST", "/v1/lookups/evidence"): _evidence,
    ("POST", "/v1/verifications"): lambda theirs: [
        ({"number": theirs.x, "documents": ["1"]}, {"number": ABSENT["number"], "documents": ["1"]})
    ],
    ("POST", "/v1/verifications/search"): lambda theirs: [({"person": A}, {"person": C})],
    ("POST", "/v1/complaints"): lambda theirs: [
        ({"number": number}, {"number": ABSENT["number"]}) for number in (theirs.x, theirs.y)
    ],
    ("POST", "/v1/bindings:batch"): lambda theirs: [
        ({"bindings": [foreign]}, {"bindings": [absent]}) for foreign, absent in _reserve(theirs)
    ],
    ("POST", "/v1/events:replay"): lambda theirs: [
        (
            {"ids": [event_id(theirs.ids["call_id"][0], Kind.RECEIVED)], "dry_run": True},
            {"ids": [event_id(ABSENT["call_id"], Kind.RECEIVED)], "dry_run": True},
        ),
        (
            {"call_id": theirs.ids["call_id"][0], "dry_run": True},
            {"call_id": ABSENT["call_id"], "dry_run": True},
        ),
    ],
    ("POST", "/v1/bindings:explain"): _reserve,
    ("PUT", "/v1/announcements"): lambda theirs: [
        ({**said, name: theirs.ids[name][0]}, {**said, name: ABSENT[name]})
        for said in ({"situation": "whisper", "prompt_id": None},)
        for name in ("prompt_id", "pool_id", "customer_id")
    ],
    ("POST", "/v1/policies/rules"): lambda theirs: _about_whom(
        theirs, {"name": "listed", "rule": {"kind": "only_listed"}}
    ),
    ("POST", "/v1/policies/entries"): lambda theirs: _about_whom(
        theirs, {"entries": [{"list": "black", "person": C}]}
    ),
    ("POST", "/v1/policies/entries/search"): lambda theirs: [
        ({"person": A}, {"person": C}),
        *_about_whom(theirs, {"person": A}),
    ],
    ("POST", "/v1/policies:explain"): lambda theirs: _about_whom(
        theirs, {"caller": A, "callee": B, "dialled": theirs.y, "displayed": theirs.x}
    ),
    ("PUT", "/v1/dialogues"): lambda theirs: [
        ({**said, name: theirs.ids[name][0]}, {**said, name: ABSENT[name]})
        for said in ({"occasion": "unknown_caller", "graph_id": "last_digits"},)
        for name in ("graph_id", "pool_id", "number", "customer_id")
    ],
    ("POST", "/v1/bindings:release"): lambda theirs: [
        ({"ids": theirs.ids["binding_id"]}, {"ids": [ABSENT["binding_id"]]})
    ],
}
#: these make new things: the owner, asking the same, is refused what is there already
MAKING = (
    *("/v1/bindings", "/v1/bindings:batch", "/v1/bindings:explain"),
    *("/v1/verifications", "/v1/complaints"),
    *("/v1/policies/rules", "/v1/policies/entries", "/v1/policies:explain"),
)


def anonymous(response: httpx.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    document = response.json()
    document.pop("instance", None)
    return response.status_code, dict(response.headers), document


@pytest.fixture
async def theirs(
    customer: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    customer_id: str,
    inventory: Inventory,
    database: Database,
    vault: Vault,
) -> Theirs:
    wish = {"a": A, "b": B, "x_pool": inventory.x_pool, "y_pool": inventory.y_pool}
    binding = await created(customer, "/v1/bindings", wish)
    seen = {"dialled": binding["y"], "displayed": binding["x"], "binding_id": binding["id"]}
    async with journal_of(database, vault) as journal:
        live = await talking(journal, customer_id, **seen)
        over = await ended(journal, customer_id, record=True, **seen)
    wrong = {"sip_code": 486, "note": "a mistake"}
    await created(operator, f"/v1/cdrs/{over.id}/corrections", wrong)
    asked = await customer.put("/v1/routing", json={"url": "https://decides.invalid/", "deadline_ms": 100})
    assert asked.status_code == 200, asked.text
    proof = await created(customer, "/v1/verifications", {"person": A, "documents": ["archive 1"]})
    await created(customer, "/v1/complaints", {"number": binding["x"]})
    async with database.begin() as connection:
        await connection.execute(update(events).values(state="delivered"))
    hours_later = now_us() + 2 * HOUR
    await Digests(database, vault, clock=lambda: hours_later).make_due()
    await customer.post("/v1/lookups/number", json={"number": binding["x"]})
    listed = {"entries": [{"list": "black", "person": A}]}
    policy = {"name": "night", "rule": {"kind": "hours", "times": [{"since": "08:00", "until": "20:00"}]}}
    listing = (await created(customer, "/v1/policies/entries", listed))["items"][0]
    rule = await created(customer, "/v1/policies/rules", policy)
    alarm_id = await suspected(database, vault, customer_id, rule["id"])
    (entry,) = (await customer.get("/v1/audit")).json()["items"]
    graph = await created(customer, "/v1/graphs", {"name": "menu", "graph": MENU})
    choice = {"occasion": "unknown_caller", "graph_id": graph["id"]}
    assert (await customer.put("/v1/dialogues", json=choice)).status_code == 200
    upload = await customer.post("/v1/prompts:upload?name=welcome", content=tone_file())
    ids = {
        "alarm_id": [alarm_id],
        "entry_id": [listing["id"]],
        "rule_id": [rule["id"]],
        "binding_id": [binding["id"]],
        "parent_id": [binding["id"]],
        "call_id": [live.id, over.id],
        "customer_id": [customer_id],
        "graph_id": [graph["id"]],
        "invoice_id": [await invoiced(database, vault, customer_id)],
        "key_id": [entry["key_id"]],
        "number": [binding["x"], binding["y"]],
        "pool_id": [inventory.x_pool],
        "prompt_id": [upload.json()["id"]],
        "trunk_id": [inventory.trunk_id],
        "verification_id": [proof["id"]],
    }
    return Theirs(ids, binding["x"], binding["y"], inventory.x_pool, inventory.y_pool)


async def suspected(database: Database, vault: Vault, customer_id: str, rule_id: str) -> str:
    """An alarm as a worker would raise it."""
    now = now_us()
    alarm = {
        "id": new_id("alm"),
        "rule_id": rule_id,
        "set_by": "customer",
        "customer_id": customer_id,
        "per": "caller",
        "subject_key": vault.index(A),
        "subject_sealed": vault.seal(A),
        "at": now,
        "quiet_until": now,
        "found": "{}",
    }
    async with database.begin() as connection:
        await alarm_store.add(connection, alarm)
    return str(alarm["id"])


async def invoiced(database: Database, vault: Vault, customer_id: str) -> str:
    """The issued invoice of this month, as the next month would make it."""

    def later() -> int:
        return calendar.end_of(calendar.month_of(now_us()))

    closing = Closing(database, Rater(database, vault, later), clock=later)
    invoice_id = str(await closing.close(customer_id, calendar.month_of(now_us())))
    return (await Invoices(database).issue(invoice_id)).id


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that the database is given, but for those that recognise the key."""
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "api_keys" not in statement:
            statements.append(statement)

    engines: set[Engine] = {database._writer.sync_engine, database._reader.sync_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def routes_for_customers(app: FastAPI) -> list[tuple[str, APIRoute]]:
    found = []
    for route in app.state.api_routes:
        audience = next(AUDIENCES[d.call] for d in route.dependant.dependencies if d.call in AUDIENCES)
        if audience.customer:
            found += [(method, route) for method in route.methods]
    return found


def test_every_route_is_in_a_table(app: FastAPI) -> None:
    routes = routes_for_customers(app)
    assert len(routes) >= 22
    for method, route in routes:
        place = (method, route.path)
        parameters = {parameter.name for parameter in route.dependant.path_params}
        assert parameters <= ABSENT.keys(), f"{place}: say what a foreign {parameters} is"
        filters = {field.name for field in query_fields(route)}
        assert filters <= {*ABSENT, *PLAIN_FILTERS}, f"{place}: say what a foreign {filters} is"
        if route.body_field is not None and place not in ABOUT_ONESELF:
            known = place in NAMING or route.path in BODIES
            assert known, f"{place}: say with which bodies another customer could ask for what is not theirs"
        if route.body_field is None and not parameters and place not in ABOUT_ONESELF:
            assert method == "GET", f"{place}: no list, and names nothing: is it about who asks?"


def query_fields(route: APIRoute) -> list[Any]:
    """The filters of a list: the fields of the model that its query string is read into."""
    found = []
    for parameter in route.dependant.query_params:
        annotation = parameter.field_info.annotation
        fields = getattr(annotation, "model_fields", None)
        found += [_Named(name) for name in fields] if fields is not None else [_Named(parameter.name)]
    return found


@dataclass(frozen=True)
class _Named:
    name: str


async def test_every_route_with_a_foreign_id_in_its_path(
    app: FastAPI, other: httpx.AsyncClient, theirs: Theirs, database: Database
) -> None:
    tried = 0
    for method, route in routes_for_customers(app):
        for parameter in (p.name for p in route.dependant.path_params):
            body = BODIES.get(route.path)

            async def ask(
                identity: str,
                method: str = method,
                path: str = route.path,
                name: str = parameter,
                body: Body | None = body,
            ) -> tuple[httpx.Response, int]:
                with counted(database) as statements:
                    answer = await other.request(method, path.replace(f"{{{name}}}", identity), json=body)
                return answer, len(statements)

            absent, work = await ask(ABSENT[parameter])
            assert absent.status_code == 404, (method, route.path, absent.text)
            for identity in theirs.ids[parameter]:
                answer, its_work = await ask(identity)
                place = (method, route.path, identity)
                assert its_work == work, place
                tried += 1
                if method == "HEAD":
                    assert (answer.status_code, answer.headers) == (404, absent.headers), place
                else:
                    assert anonymous(answer) == anonymous(absent), place
    assert tried >= 12


async def test_every_route_with_foreign_things_in_its_body(
    other: httpx.AsyncClient, theirs: Theirs, database: Database
) -> None:
    for (method, path), bodies in NAMING.items():
        for foreign, absent in bodies(theirs):
            answers = []
            for body in (foreign, absent):
                with counted(database) as statements:
                    answer = await other.request(method, path, json=body)
                # what is asked for comes back in the answer of some: the very same for both
                shown = answer.text.replace(str(body.get("number")), "…")
                shown = re.sub(r"urn:uuid:[0-9a-f-]{36}", "…", shown)
                answers.append((answer.status_code, dict(answer.headers), shown, len(statements)))
            headers = [{**a[1], "content-length": ""} for a in answers]
            assert headers[0] == headers[1], (path, foreign)
            assert [a[0] for a in answers] in ([200, 200], [404, 404]), (path, foreign, answers)
            assert answers[0][2:] == answers[1][2:], (path, foreign)


async def test_every_list_with_every_filter(
    app: FastAPI, customer: httpx.AsyncClient, other: httpx.AsyncClient, theirs: Theirs
) -> None:
    lists = [
        route
        for method, route in routes_for_customers(app)
        if method == "GET" and not route.dependant.path_params and ("GET", route.path) not in ABOUT_ONESELF
        if route.path != STREAM
    ]
    assert len(lists) >= 6
    for route in lists:
        assert (await customer.get(route.path)).json()["items"] != [], f"{route.path}: nothing to be hidden"
        filters = {field.name for field in query_fields(route)} & theirs.ids.keys()
        for query in ("", *(f"?{name}={value}" for name in filters for value in quoted(theirs.ids[name]))):
            answer = await other.get(route.path + query)
            assert answer.status_code == 200, (route.path, query, answer.text)
            found = answer.json()
            if route.path in FEEDS:
                found["next"] = None
            assert found == {"items": [], "next": None}, (route.path, query)


def quoted(values: list[str]) -> list[str]:
    return [value.replace("+", "%2B") for value in values]


async def test_the_owner_reaches_them(customer: httpx.AsyncClient, theirs: Theirs) -> None:
    """The other tests would pass, too, if these ids were wrong."""
    live, over = theirs.ids["call_id"]
    for path in (
        f"/v1/bindings/{theirs.ids['binding_id'][0]}",
        f"/v1/calls/{live}",
        f"/v1/cdrs/{over}",
        f"/v1/recordings/{over}",
        f"/v1/numbers/{theirs.x}",
        f"/v1/pools/{theirs.x_pool}",
        f"/v1/prompts/{theirs.ids['prompt_id'][0]}",
        f"/v1/graphs/{theirs.ids['graph_id'][0]}",
    ):
        response = await customer.get(path)
        assert response.status_code == 200, (path, response.text)
    for (method, path), bodies in NAMING.items():
        if path in MAKING:
            continue
        for body, _ in bodies(theirs):
            answer = await customer.request(method, path, json=body)
            assert answer.status_code == 200, (path, answer.text)
            if path in FILES:
                assert len(answer.text.splitlines()) > 1, (path, body)
                continue
            found = answer.json()
            shown = (
                found.get("items") or found.get("relations") or found.get("count") or found.get("attempts")
            )
            assert shown or found["results"][0]["binding"], (path, body)


async def test_a_cursor_of_another_customer(
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    customer_id: str,
    theirs: Theirs,
    database: Database,
    vault: Vault,
) -> None:
    async with journal_of(database, vault) as journal:
        for _ in range(2):
            await ended(journal, customer_id)
    await customer.post("/v1/lookups/person", json={"person": A})
    for path in ("/v1/cdrs", "/v1/audit"):
        cursor = (await customer.get(f"{path}?limit=1")).json()["next"]
        assert (await customer.get(f"{path}?after={cursor}")).status_code == 200
        foreign = await other.get(f"{path}?after={cursor}")
        made_up = await other.get(f"{path}?after={cursor[:-2]}")
        assert foreign.status_code == 422
        assert anonymous(foreign) == anonymous(made_up)


async def test_the_same_idempotency_key(
    customer: httpx.AsyncClient, other: httpx.AsyncClient, theirs: Theirs
) -> None:
    """Two customers number their orders from 1: neither gets the other's answer, nor learns of it."""
    wish = {"a": C, "b": D, "x_pool": theirs.x_pool, "y_pool": theirs.y_pool}
    headers = {"Idempotency-Key": "order-1"}
    first = await customer.post("/v1/bindings", json=wish, headers=headers)
    assert first.status_code == 201
    taken = await other.post("/v1/bindings", json=wish, headers=headers)
    fresh = await other.post("/v1/bindings", json=wish, headers={"Idempotency-Key": "order-2"})
    assert taken.status_code == 404
    assert anonymous(taken) == anonymous(fresh)


def test_ids_cannot_be_guessed() -> None:
    """122 random bits (RFC 9562 version 4), nothing of a counter or a clock."""
    ids = [int(new_id("bnd").removeprefix("bnd_"), 16) for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert {(number >> 76) & 0xF for number in ids} == {4}
    for bit in set(range(128)) - {76, 77, 78, 79, 62, 63}:
        ones = sum(number >> bit & 1 for number in ids)
        assert 800 < ones < 1200, bit  # nine standard deviations
