"""Two customers who share pools: nothing that one does shows in what the other one sees, but for success."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.api.conftest import created, inventory_entry
from tests.api.test_apart import ABSENT

from xiaohao.bindings.service import Bindings
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.digests.model import HOUR
from xiaohao.secrecy import Vault

A, B = "13800138000", "13900139000"
#: of the first customer only
C, D = "13500135000", "13600136000"
#: of the second customer only
E, F, G, H = "13700137000", "13700137001", "13700137002", "13700137003"
XS = [f"+8617000000{n:03d}" for n in range(6)]
YS = [f"+86106200{n:04d}" for n in range(100, 103)]
#: what a refusal of an exhausted pool says elsewhere
FIGURES = ("total", "usable", "assigned", "not_verified", "at_relation_limit")


@dataclass(frozen=True)
class Shared:
    """Pools of nobody."""

    xs: str
    ys: str

    def wish(self, a: str, b: str, **more: Any) -> dict[str, Any]:
        usual = {"a": a, "b": b, "x_pool": self.xs, "y_pool": self.ys, **more}
        for name in ("x", "y"):
            if name in more:
                usual.pop(f"{name}_pool")
        return usual


@pytest.fixture
async def shared(operator: httpx.AsyncClient) -> Shared:
    pools = []
    for name, numbers in (("xs", XS), ("ys", YS)):
        pool = (await created(operator, "/v1/pools", {"name": name, "recycle_s": 3600}))["id"]
        wanted = [inventory_entry(number, pool_id=pool) for number in numbers]
        await created(operator, "/v1/numbers", {"numbers": wanted})
        pools.append(pool)
    return Shared(*pools)


async def explained(client: httpx.AsyncClient, wish: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post("/v1/bindings:explain", json=wish)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    if document["problem"] is not None:
        document["problem"].pop("instance")
    return document


async def refused(client: httpx.AsyncClient, wish: dict[str, Any]) -> dict[str, Any]:
    """The same problem from every route that says it."""
    explanation = await explained(client, wish)
    document: dict[str, Any] = explanation["problem"]
    assert document is not None, explanation
    plain = (await client.post("/v1/bindings", json=wish)).json()
    row = (await client.post("/v1/bindings:batch", json={"bindings": [wish]})).json()["results"][0]["problem"]
    for other in (plain, row):
        other.pop("instance")
        assert other == document
    return document


async def seen(client: httpx.AsyncClient, shared: Shared, mine: dict[str, Any]) -> list[Any]:
    """Everything that this customer can find out without binding."""
    paths = [
        *(
            "/v1/bindings",
            "/v1/numbers",
            "/v1/calls",
            "/v1/cdrs",
            "/v1/events",
            "/v1/complaints",
            "/v1/pools",
        ),
        *(f"/v1/numbers/{number}" for number in (*XS, *YS)),
        *(f"/v1/numbers/{number}/history" for number in (*XS, *YS)),
        *(f"/v1/pools/{pool}{of}" for pool in (shared.xs, shared.ys) for of in ("", "/usage")),
    ]
    found: list[Any] = []
    for path in paths:
        answer = await client.get(path)
        document = answer.json()
        document.pop("instance", None)
        document.pop("next", None)  # a cursor never looks the same twice
        found.append((path, answer.status_code, document))
    for number in (mine["x"], mine["y"]):
        answer = await client.post("/v1/lookups/number", json={"number": number})
        found.append((number, answer.status_code, answer.json()))
    wishes = [
        shared.wish(A, B),  # bound already
        shared.wish(A, B, reuse=True),
        shared.wish(A, F, y=mine["y"]),  # a collision of one's own
        shared.wish(F, G, y_city="999"),
        shared.wish(E, H),  # E dials every Y
        shared.wish(A, F, x=mine["x"]),
    ]
    for wish in wishes:
        explanation = await explained(client, wish)
        for chosen in (explanation["x"], explanation["y"]):
            if chosen is not None and chosen["rule"] == "least_recently_used":
                chosen["number"] = "…"  # which one has rested longest is what success is
        found.append((wish, explanation))
    return found


async def planned(client: httpx.AsyncClient, shared: Shared) -> list[Any]:
    """What plans made from the pools' history say to this customer; each takes a second."""
    answers = [await client.get(f"/v1/pools/{pool}/plan?days=7") for pool in (shared.xs, shared.ys)]
    return [(answer.status_code, answer.json() | {"instance": None}) for answer in answers]


async def test_whatever_the_other_one_does(
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    shared: Shared,
    database: Database,
    vault: Vault,
) -> None:
    mine = await created(other, "/v1/bindings", shared.wish(A, B))
    for passenger in (F, G, B):
        await created(other, "/v1/bindings", shared.wish(E, passenger))
    before, plans = await seen(other, shared, mine), await planned(other, shared)
    told = [explanation for _, explanation in before[-6:]]
    assert told[2]["problem"]["detail"].startswith("A dials this number already")
    assert told[4]["problem"]["in_use_by_a"] == len(YS)
    for problem in (told[3]["problem"], told[4]["problem"]):
        assert problem["code"] == "number_pool_exhausted"
        assert [problem[name] for name in FIGURES] == [None] * len(FIGURES)
    first = await created(customer, "/v1/bindings", shared.wish(A, C))
    assert await seen(other, shared, mine) == before
    second = await created(customer, "/v1/bindings", shared.wish(C, D))
    await created(customer, "/v1/bindings", {"mode": "axe", "a": D, "x_pool": shared.xs})
    assert await seen(other, shared, mine) == before
    assert await planned(other, shared) == plans
    for binding in (first, second):
        await customer.delete(f"/v1/bindings/{binding['id']}")
        assert await seen(other, shared, mine) == before
    await Bindings(database, vault).purge(now_us() + 2 * HOUR)
    assert await seen(other, shared, mine) == before


async def test_a_pool_that_the_other_one_has_used_up(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, other: httpx.AsyncClient, shared: Shared
) -> None:
    """Why there is none left is not told: all reasons read alike."""
    taken = [await created(customer, "/v1/bindings", shared.wish(f"1340000000{n}", D)) for n in range(6)]
    lent = await refused(other, shared.wish(E, F))
    assert (lent["code"], lent["field"]) == ("number_pool_exhausted", "x_pool")
    for binding in taken:
        await customer.delete(f"/v1/bindings/{binding['id']}")
    assert await refused(other, shared.wish(E, F)) == lent
    y_only = {**shared.wish(A, F), "mode": "axb", "x_pool": shared.ys}
    y_only.pop("y_pool")
    for passenger in (B, C, D):
        await created(customer, "/v1/bindings", {**y_only, "b": passenger})
    dialled = await refused(other, y_only)
    assert (dialled["in_use_by_a"], dialled["total"], dialled["usable"]) == (0, None, None)
    await operator.patch(f"/v1/pools/{shared.ys}", json={"max_relations": 1})
    assert await refused(other, y_only) == dialled


async def test_a_named_number_that_somebody_dials_for_the_other_one(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, other: httpx.AsyncClient, shared: Shared
) -> None:
    own = (await created(operator, "/v1/pools", {"name": "own", "recycle_s": 60}))["id"]
    entry = inventory_entry("+8617000000900", pool_id=own)
    await created(operator, "/v1/numbers", {"numbers": [entry]})
    theirs = await created(customer, "/v1/bindings", shared.wish(A, B))
    wish = {"a": A, "b": F, "x_pool": own, "y": theirs["y"]}
    live = await refused(other, wish)
    assert (live["code"], live["field"]) == ("number_taken", "y")
    assert live["detail"].startswith("This number cannot be given to this pair")
    await customer.delete(f"/v1/bindings/{theirs['id']}")
    assert await refused(other, wish) == live
    # the other's X is as absent as one that is nobody's
    nobody = await refused(other, {**wish, "x": ABSENT["number"]} | {"x_pool": None})
    assert await refused(other, {**wish, "x": theirs["x"]} | {"x_pool": None}) == nobody
    # the same where a person is replaced
    changed = await created(other, "/v1/bindings", {"a": E, "b": F, "x_pool": own, "y": theirs["y"]})
    answer = await other.patch(f"/v1/bindings/{changed['id']}", json={"a": A})
    assert (answer.status_code, answer.json()["field"]) == (409, "a")
    assert answer.json()["detail"].startswith("This number cannot be given to this pair")
