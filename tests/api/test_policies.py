"""Policies over HTTP: what is set comes back, what cannot be used is refused, what would be is explained."""

import httpx
from tests.api.conftest import created

from xiaohao.policies.calendar import PUBLISHED_UNTIL

A, B = "+8613800138000", "+8613900139000"
CALL = {"caller": A, "callee": B, "dialled": "+861062000100", "displayed": "+8617000000001"}
HOURS = {"kind": "hours", "times": [{"since": "22:00", "until": "06:00", "days": ["day_off"]}]}


async def test_rules_of_every_kind_come_back(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    rules = [
        {"kind": "frequency", "per": "pair", "limit": 3, "every": "day", "window": "clock"},
        {"kind": "concurrent", "per": "customer", "limit": 30},
        HOURS,
        {"kind": "direction", "roles": ["a"]},
        {"kind": "only_listed"},
        {"kind": "destinations", "international": ["+852"]},
        {"kind": "fraud", "window_s": 600, "numbers": 30, "answer_ratio": 0.1, "block_s": 3600},
    ]
    for rule in rules:
        made = await created(customer, "/v1/policies/rules", {"name": rule["kind"], "rule": rule})
        assert made["set_by"] == "customer"
        assert rule.items() <= made["rule"].items() or rule is HOURS
        assert (await customer.get(f"/v1/policies/rules/{made['id']}")).json() == made
        assert (await operator.get(f"/v1/policies/rules/{made['id']}")).status_code == 404
    listed = (await customer.get("/v1/policies/rules")).json()["items"]
    assert [item["rule"]["kind"] for item in listed] == [rule["kind"] for rule in rules]
    changed = await customer.patch(f"/v1/policies/rules/{made['id']}", json={"enabled": False})
    assert (changed.status_code, changed.json()["enabled"], changed.json()["name"]) == (200, False, "fraud")
    assert (await customer.delete(f"/v1/policies/rules/{made['id']}")).status_code == 204
    assert (await operator.get("/v1/policies/rules")).json()["items"] == []


async def test_a_hotline_that_the_rules_bar_is_told(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    hotline = {"treatment": "hotline", "hotline": "+85221234567"}
    put = (await customer.put("/v1/unknown-callers", json=hotline)).json()
    assert put == {**hotline, "inherited": False, "hotline_barred": "international_barred"}
    opened = {"kind": "destinations", "international": ["+852"]}
    await created(operator, "/v1/policies/rules", {"name": "Hong Kong", "rule": opened})
    assert (await customer.get("/v1/unknown-callers")).json()["hotline_barred"] is None
    put = (await customer.put("/v1/unknown-callers", json={"treatment": "refuse"})).json()
    assert (put["hotline"], put["hotline_barred"]) == (None, None)


async def test_a_rule_about_a_number_that_is_not_ours(customer: httpx.AsyncClient) -> None:
    body = {"name": "r", "rule": {"kind": "direction", "roles": ["a"]}, "number": "+8613911111111"}
    answer = await customer.post("/v1/policies/rules", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


NO_RULES: list[dict[str, object]] = [
    {"kind": "frequency", "per": "trunk", "limit": 1, "every": "day"},
    {"kind": "concurrent", "per": "trunk", "limit": 1},
    {"kind": "concurrent", "per": "caller", "limit": 1, "trunk_id": "trk_1"},
    {"kind": "hours", "times": [{"since": "25:00"}]},
    {"kind": "hours", "times": [{"since": "9:00"}]},
    {"kind": "hours", "times": [{}], "zone": "../etc/passwd"},
    {"kind": "destinations", "international": ["852"]},
    {"kind": "fraud", "window_s": 600},
    {"kind": "mystery"},
]
NO_ENTRIES: list[dict[str, object]] = [
    {},
    {"person": A, "prefix": "+86"},
    {"person": A, "other": A},
    {"prefix": "86"},
    {"other": A},
]


async def test_what_cannot_be_a_rule(customer: httpx.AsyncClient) -> None:
    for rule in NO_RULES:
        answer = await customer.post("/v1/policies/rules", json={"name": "rule", "rule": rule})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), rule


async def test_a_rule_about_a_trunk_that_there_is_not(operator: httpx.AsyncClient) -> None:
    spec = {"kind": "concurrent", "per": "trunk", "limit": 1}
    rule = await created(operator, "/v1/policies/rules", {"name": "lines", "rule": spec})
    wrong = {"name": "lines", "rule": spec | {"trunk_id": "trk_1"}}
    for answer in (
        await operator.post("/v1/policies/rules", json=wrong),
        await operator.patch(f"/v1/policies/rules/{rule['id']}", json=wrong),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "rule.trunk_id")


async def test_what_cannot_be_an_entry(customer: httpx.AsyncClient) -> None:
    for entry in NO_ENTRIES:
        body = {"entries": [{"list": "black", **entry}]}
        answer = await customer.post("/v1/policies/entries", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), entry
        assert A not in answer.text


async def test_a_file_and_what_it_would_do(customer: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    text = f"list,person,side,expires_at\nblack,{A},caller,\nwhite,{B},,2099-01-01T00:00:00Z\n"
    headers = {"Content-Type": "text/csv"}
    path = "/v1/policies/entries:import"
    tried = await customer.post(f"{path}?dry_run=true", content=text, headers=headers)
    assert (tried.json()["rows"], tried.json()["written"]) == (2, 0)
    done = await customer.post(path, content=text, headers=headers)
    assert (done.status_code, done.json()["written"]) == (200, 2)
    found = (await customer.post("/v1/policies/entries/search", json={"person": A})).json()["items"]
    assert [(item["list"], item["person"], item["side"]) for item in found] == [("black", A, "caller")]
    # two equally exact ones: black counts
    told = (await customer.post("/v1/policies:explain", json=CALL)).json()
    assert (told["allowed"], told["reason"]) == (False, "caller_blacklisted")
    assert told["findings"][0]["by"] == found[0]["id"]
    assert (await customer.delete(f"/v1/policies/entries/{found[0]['id']}")).status_code == 204
    told = (await customer.post("/v1/policies:explain", json=CALL)).json()
    assert (told["allowed"], [item["what"] for item in told["findings"]]) == (True, ["white_list"])
    # the operator's entry is not told, only that there is one
    await created(operator, "/v1/policies/entries", {"entries": [{"list": "black", "person": B}]})
    told = (await customer.post("/v1/policies:explain", json=CALL)).json()
    assert (told["reason"], told["findings"][0]["by"]) == ("callee_blacklisted", None)
    wrong = await customer.post(path, content="list,person\ngrey,12\n", headers=headers)
    assert (wrong.json()["written"], wrong.json()["faults"][0]["line"]) == (0, 2)
    unnamed = await customer.post(path, content="a,b\n1,2\n", headers=headers)
    assert (unnamed.status_code, unnamed.json()["code"]) == (400, "file_malformed")
    # an upload that failed takes nobody off a list; what a file would take off is told before
    empty = await customer.post(f"{path}?replace=white", content="", headers=headers)
    assert (empty.status_code, empty.json()["code"]) == (400, "file_malformed")
    for query, removed in (("replace=white&dry_run=true", 1), ("replace=white", 1)):
        left = await customer.post(f"{path}?{query}", content=f"list,person\nblack,{A}\n", headers=headers)
        assert left.json()["removed"] == removed


async def test_days_that_the_operator_says(operator: httpx.AsyncClient, customer: httpx.AsyncClient) -> None:
    day = {"kind": "holiday", "name": "春节"}
    assert (await operator.put("/v1/policies/days/2027-02-08", json=day)).status_code == 200
    told = (await operator.get("/v1/policies/days")).json()
    assert told == {"published_until": PUBLISHED_UNTIL, "items": [{"day": "2027-02-08", **day}]}
    await created(customer, "/v1/policies/rules", {"name": "nights of days off", "rule": HOURS})
    for at, allowed in (
        ("2027-02-08T23:00:00+08:00", True),
        # the hours after midnight belong to the day before
        ("2027-02-09T05:59:00+08:00", True),
        ("2027-02-09T06:00:00+08:00", False),
        ("2027-02-09T23:00:00+08:00", False),
    ):
        told = (await customer.post("/v1/policies:explain", json={**CALL, "at": at})).json()
        assert told["allowed"] is allowed, at
    assert (await operator.delete("/v1/policies/days/2027-02-08")).status_code == 204
    assert (await operator.delete("/v1/policies/days/2027-02-08")).status_code == 404
