"""Whatever goes wrong is a problem document, and none repeats what was sent."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.api.conftest import Inventory, created

from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.tenants.service import Tenants

REAL = "13800138000"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:xiaohao:problem:{code}"
    assert document["title"] and document["detail"] and str(document["instance"]).startswith("urn:uuid:")
    assert REAL not in response.text
    return document


async def test_what_is_not_there(operator: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    problem(await stranger.get("/v1/nothing"), 404, "not_found")
    problem(await stranger.get(f"/{REAL}"), 404, "not_found")
    problem(await stranger.get("/docs/nothing"), 404, "not_found")
    problem(await operator.get("/v1/customers/cus_0"), 404, "not_found")
    problem(await operator.get("/v1/customers/%00"), 404, "not_found")
    problem(await operator.get("/v1/customers/%ff"), 404, "not_found")


async def test_wrong_method_names_all_right_ones(stranger: httpx.AsyncClient) -> None:
    response = await stranger.put("/v1/customers")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"
    response = await stranger.post("/healthz")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD"


async def test_no_usable_key(stranger: httpx.AsyncClient) -> None:
    for header in (None, "", "Bearer", "Bearer ", "Basic eDp5", "Bearer xk_cus_0", "Bearer ü"):
        headers = {} if header is None else {"Authorization": header.encode()}
        response = await stranger.get("/v1/customers", headers=headers)
        problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_key_for_something_else(operator: httpx.AsyncClient, customer: httpx.AsyncClient) -> None:
    problem(await customer.get("/v1/customers"), 403, "operator_key_required")
    problem(await customer.get("/v1/customers/cus_0"), 403, "operator_key_required")
    problem(await operator.get("/v1/webhook"), 403, "customer_key_required")


async def test_the_key_is_asked_for_first(stranger: httpx.AsyncClient, customer: httpx.AsyncClient) -> None:
    problem(await stranger.post("/v1/customers", content=b"{"), 401, "unauthenticated")
    problem(await customer.post("/v1/customers", content=b"{"), 403, "operator_key_required")


DEEP = b"[" * 500_000
TOO_LARGE = b'{"name":"' + b"x" * 1_000_000 + b'"}'


BODIES = [
    (b"{", 400, "json_malformed"),
    (b'{"name":NaN}', 400, "json_malformed"),
    (b'{"name":"\xff"}', 400, "json_malformed"),
    (b'{"name":"\\ud800"}', 400, "json_malformed"),
    (b'\xef\xbb\xbf{"name":"x"}', 400, "json_malformed"),
    (DEEP, 400, "json_malformed"),
    (TOO_LARGE, 413, "body_too_large"),
    (b"", 422, "validation_failed"),
    (b"null", 422, "validation_failed"),
    (b"[]", 422, "validation_failed"),
    (b"1" * 400, 422, "validation_failed"),
    (b'"13800138000"', 422, "validation_failed"),
    (b'{"name":"x","name":"y"}', 400, "json_name_twice"),
    (b'{"name":"x","13800138000":1,"13800138000":2}', 400, "json_name_twice"),
    (b'{"name":"a:b","na\\u006de":"y"}', 400, "json_name_twice"),
    (b'{"name":"x","extra":[{"a":{"b":1,"b":1}}]}', 400, "json_name_twice"),
    (b'{"name":"x","extra":[{"a":1},{"a":":"}]}', 422, "validation_failed"),
    (b'{"name":"\\u0000"}', 422, "validation_failed"),
    (b'{"name":13800138000}', 422, "validation_failed"),
    (b'{"name":"x","13800138000":1}', 422, "validation_failed"),
    (b'{"name":"x","webhook_url":"13800138000"}', 422, "validation_failed"),
    (b'{"name":"x","webhook_url":"http://:99999999/13800138000"}', 422, "validation_failed"),
]


async def test_bodies(operator: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for content, status, code in BODIES:
        response = await operator.post("/v1/customers", content=content, headers=headers)
        assert response.status_code == status, (content[:80], response.text)
        problem(response, status, code)


async def test_what_is_wrong_is_said_in_plain_words(customer: httpx.AsyncClient) -> None:
    async def detail(path: str, content: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        document = (await customer.post(path, content=content, headers=headers)).json()
        return str(
            document["detail"] if "detail" in document else document["results"][0]["problem"]["detail"]
        )

    for content in (b"[]", b"1", b'"x"'):
        assert await detail("/v1/bindings", content) == "must be a JSON object"
        rows = b'{"bindings":[' + content + b"]}"
        assert await detail("/v1/bindings:batch", rows) == "must be a JSON object"
    assert await detail("/v1/bindings", b'{"prompts":[1]}') == "prompts: must be a JSON object"
    rows = b'{"bindings":[{"a":"1","order_ref":5}]}'
    wanted = "a: must have 3 characters at least; order_ref: must be text"
    assert await detail("/v1/bindings:batch", rows) == wanted
    for half in (rb"\ud800", rb"\ud83dx", rb"\udc00", rb"\\\ud83d", rb"\ud83d\ude00\ude00"):
        assert "half a surrogate pair" in await detail("/v1/bindings", b'{"a":"' + half + b'"}'), half
    for other in (rb"\ud83d\ude00", rb"\\ud800"):
        assert "half" not in await detail("/v1/bindings", b'{"a":"' + other + b'"}'), other


#: of forms, files and queries, too: what is asked, and what is said of which field
FAULTS = [
    ("POST", "/v1/customers", {"name": ""}, {"name": "must not be empty"}),
    ("POST", "/v1/customers", {"name": "a\nb"}, {"name": "must be one line, without control characters"}),
    ("POST", "/v1/customers", {"webhook_url": "x"}, {
        "name": "is missing", "webhook_url": "must be an http or https URL",
    }),
    ("POST", "/v1/pools", {"name": 1, "recycle_s": "1", "kind": "x", "cities": "10"}, {
        "name": "must be text", "recycle_s": "must be a whole number", "cities": "must be a list",
        "kind": "must be one of '400', 'landline', 'mobile', '95', '700', 'foreign'",
    }),
    ("POST", "/v1/pools", {"name": "p", "recycle_s": -1, "cities": []}, {
        "recycle_s": "must be 0 or more", "cities": "must not be empty",
    }),
    ("POST", "/v1/prompts:upload", None, {"name": "is missing"}),
    ("POST", "/v1/prompts:upload?name=Welcome&languages=fr", None, {
        "name": "must be small letters, digits, _, . and -, 64 at most",
        "languages.0": "must be one of 'zh', 'en'",
    }),
    ("POST", "/v1/numbers:import?format=pdf&rows=perhaps&x=1", None, {
        "format": "must be one of 'csv', 'xlsx'", "rows": "must be true or false",
        "x": "there is no such field",
    }),
    ("GET", "/v1/customers?limit=many", None, {"limit": "must be a whole number"}),
    ("GET", "/v1/customers?limit=501", None, {"limit": "must be 500 or less"}),
    ("GET", "/v1/cdrs?since=2026-02-30T00:00:00Z", None, {"since": "there is no such day or time"}),
    ("GET", "/v1/cdrs?since=0000-01-01T00:00:00Z&until=10000-01-01T00:00:00Z", None, dict.fromkeys(
        ("since", "until"), "must lie within the years 2000 to 9999",
    )),
    ("GET", "/v1/cdrs?since=2026-01-01T00:00:00+08:00", None, {
        "since": "not a date-time: the + of an offset is written %2B in a URL",
    }),
    ("PUT", "/v1/policies/days/0001-01-01", {"kind": "holiday", "name": "x"}, {
        "day": "must lie within the years 2000 to 2100",
    }),
    ("PATCH", "/v1/customers/cus_0", {"name": None, "state": None}, dict.fromkeys(
        ("name", "state"), "cannot be null: leave it out, and it stays as it is",
    )),
    ("PATCH", "/v1/pools/pool_0", {"name": None, "recycle_s": None, "choice": None}, dict.fromkeys(
        ("name", "recycle_s", "choice"), "cannot be null: leave it out, and it stays as it is",
    )),
    ("POST", "/v1/prompts", {"name": "w", "texts": {"13800138000": "x", "fr": "x"}}, {
        "texts.?": "must be one of 'zh', 'en'", "texts.fr": "must be one of 'zh', 'en'",
    }),
    ("POST", "/v1/policies/rules", {"name": "x", "rule": {}}, {"rule": "'kind' is missing"}),
    ("POST", "/v1/policies/rules", {"name": "x", "rule": {"kind": "mystery"}}, {
        "rule": "'kind' must be one of 'frequency', 'concurrent', 'hours', 'direction', 'only_listed',"
        " 'destinations', 'fraud'",
    }),
    ("POST", "/v1/trunks", {"name": "x", "spec": {"carrier": "c", "sources": ["a b"]}}, {
        "spec.sources.0": "must be an address, or a network as in 192.0.2.0/24",
    }),
    ("POST", "/v1/trunks", {"name": "x", "spec": {"carrier": "c", "sources": ["::ffff:192.0.2.1"]}}, {
        "spec.sources": "'::ffff:192.0.2.1' must be written as the IPv4 address that it is",
    }),
    ("POST", "/v1/customers/cus_0/payments", {"amount": "1e5", "note": "x"}, {
        "amount": "must be an amount as text, as in 1000.00",
    }),
    ("PUT", "/v1/customers/cus_0/limits", {"spending_limit": "-5"}, {
        "spending_limit": "must be an amount as text, 0 or more, as in 1000.00",
    }),
    ("PATCH", "/v1/policies/rules/rul_0", {"enabled": None}, {
        "enabled": "cannot be null: leave it out, and it stays as it is",
    }),
]  # fmt: skip


async def test_every_fault_is_said_in_our_own_words(operator: httpx.AsyncClient) -> None:
    for method, path, body, wanted in FAULTS:
        answer = (
            await operator.request(method, path, json=body) if body else await operator.request(method, path)
        )
        document = problem(answer, 422, "validation_failed")
        assert {fault["field"]: fault["detail"] for fault in document["errors"]} == wanted, path


async def test_a_body_that_never_ends(operator: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> object:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 100_000

    headers = {"Content-Type": "application/json"}
    response = await operator.post("/v1/customers", content=endless(), headers=headers)
    problem(response, 413, "body_too_large")
    assert sent <= 12


async def test_other_media_types(operator: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
        response = await operator.post("/v1/customers", content=b"{}", headers={"Content-Type": kind})
        problem(response, 415, "media_type_not_supported")
    response = await operator.post(
        "/v1/customers", content=b'{"name":"x"}', headers={"Content-Type": "Application/JSON; charset=utf-8"}
    )
    assert response.status_code == 201


async def test_files_that_come_as_something_else(operator: httpx.AsyncClient) -> None:
    table = b"number\n+861062000001\n"
    for path in ("/v1/numbers:import", "/v1/policies/entries:import", "/v1/prompts:upload?name=w"):
        refused = problem(await operator.post(path, files={"file": table}), 415, "media_type_not_supported")
        assert "the file itself" in str(refused["detail"])
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        refused = problem(
            await operator.post(path, content=table, headers=headers), 415, "media_type_not_supported"
        )
        assert "curl" in str(refused["detail"])
        problem(await operator.post(path, content=table, headers={"Content-Type": "image/png"}), 415,
                "media_type_not_supported")  # fmt: skip
    for headers in ({}, {"Content-Type": "application/octet-stream"}):
        read = await operator.post("/v1/numbers:import?dry_run=true", content=table, headers=headers)
        assert (read.json()["rows"], read.json()["added"]) == (1, 1)
        sheet = (await operator.get("/v1/numbers:export?format=xlsx")).content
        read = await operator.post("/v1/numbers:import?dry_run=true", content=sheet, headers=headers)
        assert read.json()["rows"] == 0
    said = {"Content-Type": "text/csv"}
    answer = await operator.post("/v1/numbers:import", content=sheet, headers=said)
    assert "ZIP" in str(problem(answer, 400, "file_malformed")["detail"])


async def test_digits_of_chinese_keyboards(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    pools = {"x_pool": inventory.x_pool, "y_pool": inventory.y_pool}
    people = {"a": "１３８００１３８０００", "b": "＋８６　１３９－００１３－９０００"}
    made = await created(customer, "/v1/bindings", {**people, **pools})
    assert (made["a"], made["b"]) == ("+8613800138000", "+8613900139000")
    entry = {"list": "black", "prefix": "＋８６１７０"}
    listed = await created(customer, "/v1/policies/entries", {"entries": [entry]})
    assert listed["items"][0]["prefix"] == "+86170"


async def test_query_strings(operator: httpx.AsyncClient) -> None:
    for query in ("limit=0", "limit=501", "limit=x", f"limt={REAL}", "after=%00", f"after={REAL}", "after=ü"):
        document = problem(await operator.get(f"/v1/customers?{query}"), 422, "validation_failed")
        assert document["errors"]


async def test_a_defect_tells_nothing(
    app: FastAPI,
    operator: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError(f"cannot insert {REAL}")

    monkeypatch.setattr(Tenants, "create_customer", broken)
    response = await operator.post("/v1/customers", json={"name": "x"})
    document = problem(response, 500, "internal_error")
    written = capsys.readouterr()
    log = written.out + written.err
    assert str(document["instance"]) in log
    assert "RuntimeError" in log
    assert "http.py" in log
    assert REAL not in log


async def test_database_away(operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnavailable("locked")

    monkeypatch.setattr(Database, "begin", away)
    monkeypatch.setattr(Database, "read", away)
    response = await operator.post("/v1/customers", json={"name": "x"})
    problem(response, 503, "database_unavailable")
    assert int(response.headers["retry-after"]) > 0
    response = await operator.get("/readyz")
    assert response.status_code == 503
    assert response.json()["parts"]["database"] == "unreachable"
    assert (await operator.get("/healthz")).status_code == 200


async def test_answers_are_not_kept_by_anybody(operator: httpx.AsyncClient) -> None:
    response = await operator.get("/v1/customers")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert json.loads(response.content) == {"items": [], "next": None}
