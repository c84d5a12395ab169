"""Trunks as data: kept sealed, described in full over HTTP, never showing a password."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import select
from tests.api.conftest import client_of, created
from tests.api.test_pages import walk
from tests.api.test_problems import problem

from xiaohao.api.app import create_app
from xiaohao.database.engine import Database
from xiaohao.database.schema import trunks as table
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.service import Tenants
from xiaohao.trunks.http import DigestBody, TargetBody, TrunkSpecBody
from xiaohao.trunks.model import Digest, Target, Transport, TrunkSpec
from xiaohao.trunks.service import Trunks, TrunkState


def spec(**more: Any) -> TrunkSpec:
    return TrunkSpec(**{"carrier": "East", "targets": [Target("192.0.2.1")], **more})


@pytest.fixture
def trunks(database: Database, vault: Vault) -> Trunks:
    return Trunks(database, vault)


@pytest.fixture
async def operator(database: Database, vault: Vault) -> AsyncIterator[httpx.AsyncClient]:
    key = await Tenants(database, vault).bootstrap_operator_key()
    settings = Settings()
    settings.edge.listen.append("tls:127.0.0.1:5061")
    async with client_of(create_app(settings, database, vault), key) as client:
        yield client


async def test_the_life_of_a_trunk(trunks: Trunks) -> None:
    assert await trunks.version() == 0
    made = await trunks.create("east", spec(channels=30))
    assert await trunks.get(made.id) == made
    assert await trunks.active() == [made]
    versions = [await trunks.version()]
    changed = await trunks.replace(made.id, "far east", spec(channels=60), TrunkState.DISABLED)
    assert await trunks.get(made.id) == changed
    assert await trunks.active() == []
    versions.append(await trunks.version())
    await trunks.delete(made.id)
    versions.append(await trunks.version())
    assert versions == sorted(set(versions))
    assert versions[0] > 0
    for gone in (trunks.get(made.id), trunks.delete(made.id)):
        with pytest.raises(Refusal) as refusal:
            await gone
        assert refusal.value.code == "not_found"


async def test_nobody_is_reached_over_a_transport_that_the_edge_has_not(
    trunks: Trunks, database: Database, vault: Vault
) -> None:
    over_tls = spec(targets=[Target("192.0.2.1", 5061, Transport.TLS)])
    made = await trunks.create("east", over_tls)
    without_tls = Trunks(database, vault, {"udp", "tcp"})
    for refused in (
        without_tls.create("west", over_tls),
        without_tls.replace(made.id, "east", over_tls, TrunkState.ACTIVE),
    ):
        with pytest.raises(Refusal) as refusal:
            await refused
        (error,) = refusal.value.extra["errors"]
        assert error["field"] == "spec.targets"
        assert "tls" in error["detail"]
    assert (await without_tls.replace(made.id, "east", over_tls, TrunkState.DISABLED)).state == "disabled"


async def test_names_are_taken_once(trunks: Trunks) -> None:
    answers = await asyncio.gather(*(trunks.create("east", spec()) for _ in range(4)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert [refusal.code for refusal in refused] == ["trunk_name_taken"] * 3
    other = await trunks.create("west", spec())
    with pytest.raises(Refusal, match="trunk_name_taken"):
        await trunks.replace(other.id, "east", spec(), TrunkState.ACTIVE)
    assert (await trunks.get(other.id)).name == "west"


async def test_first_trunks_at_once(trunks: Trunks) -> None:
    await asyncio.gather(*(trunks.create(f"t{n}", spec()) for n in range(4)))
    assert await trunks.version() == 4


async def test_passwords_are_sealed_and_kept(trunks: Trunks, database: Database) -> None:
    secret = "correct horse"
    made = await trunks.create("east", spec(digest_out=Digest("u", secret)))
    async with database.read() as connection:
        stored = (await connection.execute(select(table.c.spec_sealed))).scalar_one()
    assert secret.encode() not in stored
    kept = await trunks.replace(made.id, "east", spec(digest_out=Digest("u", "")), TrunkState.ACTIVE)
    assert kept.spec.digest_out == Digest("u", secret)
    for lost in (spec(digest_out=Digest("v", "")), spec(digest_in=Digest("u", ""))):
        with pytest.raises(Refusal, match="validation_failed"):
            await trunks.replace(made.id, "east", lost, TrunkState.ACTIVE)
    assert (await trunks.get(made.id)).spec.digest_out == Digest("u", secret)


async def test_over_http(operator: httpx.AsyncClient) -> None:
    full = {
        "carrier": "East",
        "targets": [{"host": "sip.example.com", "port": 5061, "transport": "tls"}],
        "sources": ["192.0.2.0/24", "2001:db8::1"],
        "digest_in": {"username": "in", "password": "secret-1"},
        "digest_out": {"username": "out", "password": "secret-2"},
        "cli_header_in": "pai",
        "cli_header_out": "rpid",
        "callee_form": "zero",
        "cli_form": "digits",
        "prefix_out": "12345",
        "prefix_in": "54321",
        "answers": "asked",
        "channels": 30,
        "probe": False,
        "priority": 1,
        "weight": 5,
    }
    made = await created(operator, "/v1/trunks", {"name": "east", "spec": full})
    hidden = {
        **full,
        "digest_in": {"username": "in", "password": ""},
        "digest_out": {"username": "out", "password": ""},
    }
    assert made["spec"] == hidden
    path = f"/v1/trunks/{made['id']}"
    assert (await operator.get(path)).json() == made
    body = {"name": "east", "state": "disabled", "spec": made["spec"]}
    changed = (await operator.put(path, json=body)).json()
    assert changed == {**made, "state": "disabled"}
    await created(operator, "/v1/trunks", {"name": "a", "spec": full})
    assert [trunk["name"] for trunk in await walk(operator, "/v1/trunks", 1)] == ["a", "east"]
    assert (await operator.delete(path)).status_code == 204


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"targets": [{"host": "a b"}]}, "spec.targets.0.host"),
    ({"targets": [{"host": "a;transport=tls"}]}, "spec.targets.0.host"),
    ({"targets": [{"host": "192.0.2.1:5060"}]}, "spec.targets"),
    ({"targets": [{"host": "[192.0.2.1]"}]}, "spec.targets"),
    ({"targets": [{"host": "[2001:db8::1"}]}, "spec.targets"),
    # an address of a kind that the edge does not listen on
    ({"targets": [{"host": "2001:db8::1"}]}, "spec.targets"),
    ({"targets": [{"host": "a", "port": 0}]}, "spec.targets.0.port"),
    ({"targets": [{"host": "a", "transport": "sctp"}]}, "spec.targets.0.transport"),
    ({"sources": ["10.0.0.256"]}, "spec.sources"),
    ({"sources": ["any"]}, "spec.sources.0"),
    ({"digest_out": {"username": "u"}}, "spec.digest_out"),
    ({"digest_out": {"username": 'u"', "password": "p"}}, "spec.digest_out.username"),
    ({"digest_out": {"username": "u", "password": "p\r\n"}}, "spec.digest_out.password"),
    ({"prefix_out": "+86"}, "spec.prefix_out"),
    ({"weight": 0}, "spec.weight"),
    ({"targets": []}, "spec"),
    ({"unknown": 1}, "spec.unknown"),
]


async def test_wrong_descriptions(operator: httpx.AsyncClient) -> None:
    for wrong, field in WRONG:
        body = {"name": "x", "spec": {"carrier": "c", "targets": [{"host": "192.0.2.1"}], **wrong}}
        document = problem(await operator.post("/v1/trunks", json=body), 422, "validation_failed")
        errors: Any = document["errors"]
        assert field in [error["field"] for error in errors], wrong
    assert (await operator.get("/v1/trunks")).json()["items"] == []


def test_the_description_over_http_is_the_whole_one() -> None:
    """A field added to the model is added to the routes, too, with the same default."""
    for body, model in ((TrunkSpecBody, TrunkSpec), (TargetBody, Target), (DigestBody, Digest)):
        fields = {field.name: field for field in msgspec.structs.fields(model)}
        assert set(body.model_fields) == set(fields)
    sent = {"carrier": "c", "targets": [{"host": "h"}]}
    assert TrunkSpecBody.model_validate(sent).model_dump(mode="json") == msgspec.to_builtins(
        msgspec.convert(sent, TrunkSpec)
    )


async def test_callers_come_in_by_one_trunk_only(trunks: Trunks, operator: httpx.AsyncClient) -> None:
    """The same address, a network that overlaps, the same user name: refused while the other is active."""
    made = await trunks.create(
        "east", spec(sources=["192.0.2.1", "198.51.100.0/24"], digest_in=Digest("e", "p"))
    )
    clashes = (
        {"sources": ["192.0.2.1/32"]},
        {"sources": ["203.0.113.1", "198.51.100.128/25"]},
        {"sources": ["2001:db8::1"], "digest_in": Digest("e", "another")},
    )
    for clash in clashes:
        with pytest.raises(Refusal) as refusal:
            await trunks.create("west", spec(**clash))
        assert refusal.value.code == "trunk_entrance_taken"
        assert refusal.value.extra == {"trunk_id": made.id}
    # an address within another's network is the more exact of the two
    near = await trunks.create("near", spec(sources=["198.51.100.7"]))
    asleep = await trunks.create("asleep", spec(sources=["192.0.2.1"]), TrunkState.DISABLED)
    with pytest.raises(Refusal):
        await trunks.replace(asleep.id, "asleep", asleep.spec, TrunkState.ACTIVE)
    await trunks.replace(made.id, "east", made.spec, TrunkState.DISABLED)
    await trunks.replace(asleep.id, "asleep", asleep.spec, TrunkState.ACTIVE)
    await trunks.replace(near.id, "nearer", near.spec, TrunkState.ACTIVE)  # itself is no clash
    body = {"name": "again", "spec": {"carrier": "c", "targets": [], "sources": ["192.0.2.1"]}}
    problem(await operator.post("/v1/trunks", json=body), 409, "trunk_entrance_taken")


@pytest.mark.parametrize(
    "source", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "64.0.0.0/7", "2000::/3", "1.2.3.4/0"]
)
@pytest.mark.parametrize("password", [None, Digest("u", "p")])
async def test_nobody_is_a_carrier_because_they_are_on_the_internet(
    trunks: Trunks, source: str, password: Digest | None
) -> None:
    """Nor where there is a password: who comes from a source is not asked for it."""
    wide = spec(sources=["192.0.2.1", source], digest_in=password)
    with pytest.raises(Refusal) as refusal:
        await trunks.create("open", wide)
    assert (refusal.value.code, refusal.value.status) == ("validation_failed", 422)
    [error] = refusal.value.extra["errors"]
    assert error["field"] == "spec.sources"
    assert source in error["detail"]
    # one of an older version can be disabled
    asleep = await trunks.create("asleep", wide, TrunkState.DISABLED)
    with pytest.raises(Refusal):
        await trunks.replace(asleep.id, "asleep", wide, TrunkState.ACTIVE)
    private = ["10.0.0.0/8", "fd00::/8", "2001:db8::/16"]
    await trunks.replace(asleep.id, "asleep", spec(sources=private), TrunkState.ACTIVE)


async def test_two_at_once_do_not_share_an_entrance(trunks: Trunks) -> None:
    tries = [trunks.create(f"t{place}", spec(sources=["192.0.2.9"])) for place in range(6)]
    made = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in made) == 1
    assert {one.code for one in made if isinstance(one, Refusal)} == {"trunk_entrance_taken"}
