"""The API does what its OpenAPI description says, whatever is sent (Schemathesis).

On PostgreSQL, the stricter of the two databases about what text and numbers it takes. `make fuzz` sends more:
every boundary of every field, some 80 requests a route.
"""

import asyncio
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import (
    CoveragePhaseConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from tests.api.facts import ended, journal_of, talking
from tests.api.server import serving
from tests.ivr.graphs import MENU
from tests.postgresql import Cluster

from xiaohao.api.app import create_app
from xiaohao.database.engine import Database
from xiaohao.notifications.model import CDR_BATCH, Kind
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.service import Tenants

MASTER_KEY = bytes(range(32))
DESCRIPTION = create_app(Settings(), Database("sqlite:///nowhere.db"), Vault(MASTER_KEY)).openapi()

load_all_checks()


@schemathesis.serializer("audio/wav", "audio/mpeg", "audio/ogg")
def a_file(_context: Any, value: Any) -> bytes:
    """What is sent for a file is any bytes."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


THOROUGHLY = bool(os.environ.get("XIAOHAO_FUZZ"))
PHASES = PhasesConfig(coverage=CoveragePhaseConfig(enabled=THOROUGHLY))
CONFIG = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(phases=PHASES)))
# A stream has no end that could be waited for: test_streams.py is about it.
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION, config=CONFIG).exclude(
    path="/v1/events:stream", method="GET"
)
WANTED = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "negative_data_rejection",
        "unsupported_method",
        "allow_header_conformance",
    )
]


@dataclass(frozen=True)
class Target:
    url: str
    keys: dict[str, str]
    #: an existing thing for each name of a path's parameter
    ids: dict[str, str]


@pytest.fixture(scope="module")
def target(postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    postgresql.create("described", template="template_xiaohao")
    url = postgresql.url("described")
    with (
        serving(tmp_path_factory.mktemp("described"), url, MASTER_KEY) as server,
        ThreadPoolExecutor(1) as executor,
    ):
        yield executor.submit(asyncio.run, furnish(server.url, url)).result()
    postgresql.drop("described")


async def furnish(url: str, database_url: str) -> Target:
    database, vault = Database(database_url), Vault(MASTER_KEY)
    tenants = Tenants(database, vault)
    customer_id = (await tenants.create_customer("Sougu")).id
    keys = {
        "operatorKey": await tenants.bootstrap_operator_key(),
        "customerKey": (await tenants.create_key(customer_id, "test"))[1],
    }
    async with journal_of(database, vault) as journal:
        live = await talking(journal, customer_id)
        await ended(journal, customer_id, record=True)
    await database.close()
    headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    async with httpx.AsyncClient(base_url=url) as client:

        async def made(path: str, body: Any, who: str = "operatorKey") -> Any:
            response = await client.post(path, json=body, headers=headers[who])
            assert response.status_code == 201, response.text
            return response.json()

        spec = {"carrier": "c", "targets": [{"host": "192.0.2.1"}]}
        pool = (await made("/v1/pools", {"name": "p", "recycle_s": 1, "customer_id": customer_id}))["id"]
        numbers = [{"number": f"+8610620001{n:02d}", "pool_id": pool} for n in range(20)]
        await made("/v1/numbers", {"numbers": numbers})
        wish = {"a": "13800138000", "b": "13900139000", "x_pool": pool, "y_pool": pool}
        binding = await made("/v1/bindings", wish, "customerKey")
        spare = await made("/v1/customers", {"name": "spare"})
        ids = {
            "binding_id": binding["id"],
            "call_id": live.id,
            "customer_id": spare["id"],
            "key_id": (await made(f"/v1/customers/{spare['id']}/keys", {"label": "l"}))["id"],
            "number": numbers[-1]["number"],
            "pool_id": pool,
            "prompt_id": (await made("/v1/prompts", {"name": "p", "texts": {"en": "Hello"}}, "operatorKey"))[
                "id"
            ],
            "graph_id": (await made("/v1/graphs", {"name": "g", "graph": MENU}))["id"],
            "verification_id": (
                await made("/v1/verifications", {"person": "13700137000", "documents": ["1"]}, "customerKey")
            )["id"],
            "trunk_id": (await made("/v1/trunks", {"name": "t", "spec": spec}))["id"],
        }
    return Target(url, keys, ids)


@SCHEMA.parametrize()
@settings(
    max_examples=100 if THOROUGHLY else 8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_description(case: Case, target: Target) -> None:
    # A key that opens the route, so that what is behind it is tested and not the door.
    schemes = {name for entry in case.operation.definition.raw["security"] for name in entry}
    headers = {"Authorization": f"Bearer {target.keys[sorted(schemes)[0]]}"}
    with requests.Session() as session:
        case.call_and_validate(base_url=target.url, session=session, headers=headers, checks=WANTED)
        if case.path_parameters and set(case.path_parameters) <= set(target.ids):
            case.path_parameters = {name: target.ids[name] for name in case.path_parameters}
            response = case.call(base_url=target.url, session=session, headers=headers)
            case.validate_response(response, checks=WANTED[:5])


def test_errors_are_described_as_problems_only() -> None:
    assert DESCRIPTION["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in json.dumps(DESCRIPTION)
    for path, operations in DESCRIPTION["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (method, path, status)


def test_names_are_those_that_a_code_generator_wants() -> None:
    names, usual = list(DESCRIPTION["components"]["schemas"]), r"[A-Z][A-Za-z0-9]*"
    assert [name for name in names if not re.fullmatch(f"{usual}(_{usual}_)?", name)] == []
    assert {"CallsReason", "NumbersReason", "BindingView", "Page_BindingView_", "Problem"} <= {*names}
    text = json.dumps(DESCRIPTION)
    assert {*re.findall(r'"#/components/schemas/(.+?)"', text)} <= {*names}
    used = {tag for ops in DESCRIPTION["paths"].values() for one in ops.values() for tag in one["tags"]}
    assert used <= {tag["name"] for tag in DESCRIPTION["tags"]}


def test_every_event_is_described() -> None:
    assert set(DESCRIPTION["webhooks"]) == {*(kind.value for kind in Kind), CDR_BATCH}
    for kind, operations in DESCRIPTION["webhooks"].items():
        schema = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        assert name in DESCRIPTION["components"]["schemas"], kind
