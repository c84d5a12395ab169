"""Graphs over the API: made, checked, drawn, tried without a phone, and chosen for calls."""

import copy
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from tests.api.conftest import Inventory, created
from tests.api.test_problems import problem
from tests.ivr.graphs import MENU

from xiaohao.database.engine import Database
from xiaohao.ivr.builtin import BUILT_IN
from xiaohao.ivr.model import Connect, Graph, Occasion
from xiaohao.ivr.service import Dialogues
from xiaohao.secrecy import Vault

UNKNOWN, EXTENSION = Occasion.UNKNOWN_CALLER, Occasion.EXTENSION_NEEDED
END = {"end": {"do": "hang_up", "reason": "unknown_caller"}}


def playing(prompt: str) -> dict[str, Any]:
    """A graph that plays one prompt."""
    return {"start": "say", "nodes": {"say": {"do": "play", "prompt": prompt, "next": "end"}, **END}}


async def made(client: httpx.AsyncClient, name: str, graph: Any = MENU, **more: Any) -> str:
    return str((await created(client, "/v1/graphs", {"name": name, "graph": graph, **more}))["id"])


async def test_a_graph_is_made_shown_and_drawn(customer: httpx.AsyncClient, customer_id: str) -> None:
    graph_id = await made(customer, "menu")
    shown = (await customer.get(f"/v1/graphs/{graph_id}")).json()
    assert (shown["name"], shown["customer_id"], shown["built_in"]) == ("menu", customer_id, False)
    # what was left out stands there as it holds
    assert shown["graph"]["nodes"]["ask"]["first_ms"] == 5000
    assert shown["graph"]["nodes"]["hotline"] == {"do": "connect", "to": "+864008001234"}
    picture = await customer.get(f"/v1/graphs/{graph_id}/picture")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert len(list(ElementTree.fromstring(picture.text).iter("{http://www.w3.org/2000/svg}g"))) == 9
    assert (await customer.get("/v1/graphs/axe")).json()["built_in"]
    audit = (await customer.get("/v1/audit?action=graph")).json()["items"]
    assert [entry["details"] for entry in audit] == [{"did": "created", "graph": "menu"}]


async def test_what_is_wrong_is_named(customer: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    wrong = copy.deepcopy(MENU)
    wrong["nodes"]["menu"]["prompt"] = "welcome"
    wrong["nodes"]["island"] = {"do": "connect", "to": "+864008001234"}
    answer = await customer.post("/v1/graphs", json={"name": "menu", "graph": wrong})
    refused = problem(answer, 422, "graph_not_valid")
    assert {(one["field"], one["code"]) for one in refused["errors"]} == {
        ("nodes.menu.prompt", "prompt_missing"),
        ("nodes.island", "unreachable"),
    }
    checked = await customer.post("/v1/graphs:check", json={"graph": wrong})
    assert {(one["node"], one["code"]) for one in checked.json()["faults"]} == {
        ("menu", "prompt_missing"),
        ("island", "unreachable"),
    }
    # a prompt of one's own makes it right, for oneself
    await created(customer, "/v1/prompts", {"name": "welcome", "texts": {"en": "Welcome"}})
    for client, count in ((customer, 0), (other, 1)):
        checked = await client.post("/v1/graphs:check", json={"graph": playing("welcome")})
        assert len(checked.json()["faults"]) == count
    assert (await customer.get("/v1/graphs")).json()["items"] == []


async def test_a_trial_without_a_phone(customer: httpx.AsyncClient) -> None:
    graph_id = await made(customer, "menu")

    async def trial(*events: dict[str, Any], graph: str = graph_id) -> Any:
        answer = await customer.post(f"/v1/graphs/{graph}:simulate", json={"events": list(events)})
        return answer.json()

    told = await trial({"event": "digits", "keys": "2"}, {"event": "digits", "keys": "123"})
    assert [[one["action"] for one in step["actions"]] for step in told["steps"]] == [
        ["play"],
        ["stop", "play"],
        ["stop", "collect", "collect", "look"],
    ]
    assert told["steps"][2]["actions"][-1] == {
        "action": "look",
        "kind": "extension",
        "digits": "123",
        "step": 5,
    }
    assert (told["at"], told["over"]) == ("find", False)
    told = await trial(
        {"event": "started", "keys": "12"}, {"event": "looked", "result": "found"}, graph="axe"
    )
    assert told["steps"][-1]["actions"] == [{"action": "connect", "to": None}]
    assert told["over"]
    wrong = await trial({"event": "played"}, {"event": "sneezed"})
    assert wrong["errors"][0]["field"] == "events.1"


async def test_changing_and_deleting(customer: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    graph_id = await made(customer, "menu")
    path = f"/v1/graphs/{graph_id}"
    answer = await customer.put(path, json={"graph": playing("goodbye")})
    assert set(answer.json()["graph"]["nodes"]) == {"say", "end"}
    problem(await customer.put(path, json={"graph": {"start": "x", "nodes": {}}}), 422, "graph_not_valid")
    problem(await customer.post("/v1/graphs", json={"name": "menu", "graph": MENU}), 409, "graph_name_taken")
    choice = {"occasion": "unknown_caller", "graph_id": graph_id}
    await customer.put("/v1/dialogues", json=choice)
    problem(await customer.delete(path), 409, "graph_in_use")
    await customer.put("/v1/dialogues", json={**choice, "graph_id": None})
    assert (await customer.delete(path)).status_code == 204
    problem(await customer.get(path), 404, "not_found")
    assert await made(customer, "menu") != graph_id
    for builtin in BUILT_IN:
        problem(await operator.delete(f"/v1/graphs/{builtin}"), 404, "not_found")


@pytest.fixture
def dialogues(database: Database, vault: Vault) -> Dialogues:
    return Dialogues(database, vault)


async def test_the_nearest_choice_holds(
    customer: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    customer_id: str,
    other_id: str,
    inventory: Inventory,
    dialogues: Dialogues,
) -> None:
    number = inventory.xs[0]

    async def chosen(dialled: str = number, pool: str | None = inventory.x_pool, by: str = "") -> str | None:
        await dialogues.load()
        graph = dialogues.chosen(by or customer_id, pool, dialled, UNKNOWN)
        return None if graph is None else str(getattr(graph.nodes["say"], "prompt", None))

    async def choose(client: httpx.AsyncClient, graph: str | None, **where: Any) -> None:
        body = {"occasion": UNKNOWN.value, "graph_id": graph, **where}
        answer = await client.put("/v1/dialogues", json=body)
        assert answer.status_code == 200, answer.text

    assert await chosen() is None
    names = ("goodbye", "whisper", "please_wait", "recorded")
    of_all = await made(operator, "all", playing("goodbye"))
    own, pool, one = [await made(customer, name, playing(name)) for name in names[1:]]
    await choose(operator, of_all)
    assert await chosen() == await chosen(by=other_id) == "goodbye"
    await choose(customer, own)
    assert await chosen() == "whisper"
    assert await chosen(by=other_id) == "goodbye"
    await choose(customer, pool, pool_id=inventory.x_pool)
    await choose(customer, one, number=number)
    assert await chosen() == "recorded"
    assert await chosen(inventory.xs[1]) == "please_wait"
    assert await chosen(inventory.ys[0], inventory.y_pool) == "whisper"
    shown = (await customer.get("/v1/dialogues")).json()["items"]
    assert [(item["pool_id"], item["number"], item["graph_id"]) for item in shown] == [
        (None, None, own),
        (None, number, one),
        (inventory.x_pool, None, pool),
    ]
    await customer.put(f"/v1/graphs/{one}", json={"graph": playing("goodbye")})
    assert await chosen() == "goodbye"
    await choose(customer, None, number=number)
    assert await chosen() == "please_wait"
    body = {"occasion": UNKNOWN.value, "graph_id": own}
    for where in ({"number": number, "pool_id": pool}, {"occasion": "whenever"}):
        problem(await customer.put("/v1/dialogues", json={**body, **where}), 422, "validation_failed")


async def test_what_is_built_in(customer: httpx.AsyncClient, customer_id: str, dialogues: Dialogues) -> None:
    await dialogues.load()
    assert dialogues.chosen(customer_id, None, "+8617000000000", EXTENSION) is BUILT_IN["axe"]
    for name in ("last_digits", "order_code"):
        body = {"occasion": UNKNOWN.value, "graph_id": name}
        assert (await customer.put("/v1/dialogues", json=body)).status_code == 200
        await dialogues.load()
        assert dialogues.chosen(customer_id, None, "+8617000000000", UNKNOWN) is BUILT_IN[name]
    problem(await customer.put("/v1/graphs/axe", json={"graph": MENU}), 404, "not_found")


async def test_a_number_in_a_graph_is_sealed(
    customer: httpx.AsyncClient, customer_id: str, database: Database, dialogues: Dialogues
) -> None:
    graph_id = await made(customer, "menu")
    body = {"occasion": UNKNOWN.value, "graph_id": graph_id}
    await customer.put("/v1/dialogues", json=body)
    async with database.read() as connection:
        rows = (await connection.exec_driver_sql("SELECT * FROM graphs")).all()
    assert b"4008001234" not in b"".join(bytes(v) for row in rows for v in row if isinstance(v, bytes))
    await dialogues.load()
    graph = dialogues.chosen(customer_id, None, "+8617000000000", UNKNOWN)
    assert isinstance(graph, Graph)
    assert graph.nodes["hotline"] == Connect("+864008001234")
