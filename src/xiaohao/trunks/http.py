"""Routes: carrier trunks, for the operator."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import Response

from xiaohao.api.auth import OperatorKey
from xiaohao.api.fields import Name, Request
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.numbers.model import NumberForm
from xiaohao.secrecy import Vault
from xiaohao.trunks.model import Answers, CliHeader, Transport, Trunk, TrunkSpec
from xiaohao.trunks.service import Trunks, TrunkState

# Nothing in these texts can end a line or a string of the engines' configuration.
Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:_\[\]-]+$")]
Network = Annotated[str, StringConstraints(min_length=1, max_length=49, pattern=r"^[0-9A-Fa-f.:/]+$")]
Credential = Annotated[str, StringConstraints(max_length=100, pattern=r"^[!#-&(-\[\]-~]*$")]
Prefix = Annotated[str, StringConstraints(max_length=20, pattern=r"^[0-9]*$")]


class TargetBody(Request):
    """One address of the carrier that takes our calls."""

    host: Host
    port: int = Field(5060, ge=1, le=65535)
    transport: Transport = Field(Transport.UDP, strict=False)


class DigestBody(Request):
    """A user name and password (RFC 3261 section 22)."""

    username: Annotated[Credential, Field(min_length=1)]
    password: Credential = Field("", description="Never shown. Empty when replacing: stays as it is")


class TrunkSpecBody(Request):
    """Everything about a trunk that the operator sets."""

    carrier: Name = Field(description="The company: trunks of one carrier stand in for each other")
    targets: list[TargetBody] = Field([], max_length=20, description="Where calls leave, in this order")
    sources: list[Network] = Field(
        default_factory=list,
        max_length=200,
        description="Addresses or networks whose calls are this trunk's, without a password. The widest "
        "network is /8, IPv6 /16, or a private one",
    )
    digest_in: DigestBody | None = Field(None, description="Lets callers in from any address")
    digest_out: DigestBody | None = Field(None, description="Answers the carrier's 401 or 407")
    cli_header_in: CliHeader = Field(CliHeader.FROM, strict=False)
    cli_header_out: CliHeader = Field(CliHeader.FROM, strict=False)
    callee_form: NumberForm = Field(NumberForm.E164, strict=False)
    cli_form: NumberForm = Field(NumberForm.E164, strict=False)
    answers: Answers = Field(
        Answers.CONNECTED,
        strict=False,
        description="Which callers are answered before there is a callee, and pay from then on, for carriers "
        "that let neither sound nor keys through before: `connected` none, `asked` those who are asked for "
        "an extension and the like or wait in a queue, `told` also those who are told why they are not "
        "connected",
    )
    prefix_out: Prefix = Field("", description="Put before the callee in requests that we send")
    prefix_in: Prefix = Field("", description="Taken off the dialled number in requests that we get")
    channels: int = Field(0, ge=0, le=1_000_000, description="Calls at once; 0 = no limit")
    probe: bool = Field(True, description="Ask the targets with OPTIONS whether they are there")
    priority: int = Field(10, ge=0, le=1000, description="The lower number is tried first")
    weight: int = Field(1, ge=1, le=1000, description="Share of the calls among trunks of one priority")


class TrunkBody(Request):
    """A trunk to make or to put in the place of another."""

    name: Name
    state: TrunkState = Field(TrunkState.ACTIVE, strict=False)
    spec: TrunkSpecBody


class TrunkView(BaseModel):
    """A trunk; passwords are empty."""

    id: str
    name: str
    state: TrunkState
    spec: TrunkSpecBody


def router(trunks: Trunks, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("trunks")
    cursors = Cursors(vault, "trunks")

    @routes.post("/v1/trunks", status_code=201)
    async def create_trunk(_: OperatorKey, body: TrunkBody) -> TrunkView:
        """Add a trunk; the switches take notice by themselves."""
        return _view(await trunks.create(body.name, _spec(body.spec), body.state))

    @routes.get("/v1/trunks")
    async def list_trunks(_: OperatorKey, query: Annotated[PageQuery, Query()]) -> Page[TrunkView]:
        """All trunks in the order of their names."""
        found = await trunks.page(cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _view, lambda trunk: trunk.name)

    @routes.get("/v1/trunks/{trunk_id}")
    async def get_trunk(_: OperatorKey, trunk_id: str) -> TrunkView:
        """One trunk."""
        return _view(await trunks.get(trunk_id))

    @routes.put("/v1/trunks/{trunk_id}")
    async def replace_trunk(_: OperatorKey, trunk_id: str, body: TrunkBody) -> TrunkView:
        """Put a new description in the place of the old one; calls in progress go on."""
        return _view(await trunks.replace(trunk_id, body.name, _spec(body.spec), body.state))

    @routes.delete("/v1/trunks/{trunk_id}", status_code=204)
    async def delete_trunk(_: OperatorKey, trunk_id: str) -> Response:
        """Remove a trunk that no number belongs to."""
        await trunks.delete(trunk_id)
        return Response(status_code=204)

    return routes


def _spec(body: TrunkSpecBody) -> TrunkSpec:
    return msgspec.convert(body.model_dump(mode="json"), TrunkSpec)


def _view(trunk: Trunk) -> TrunkView:
    # Constructed, not validated: what an older version let in must stay visible.
    facts = msgspec.structs.asdict(trunk.spec)
    facts["targets"] = [TargetBody.model_construct(**msgspec.structs.asdict(t)) for t in trunk.spec.targets]
    for name in ("digest_in", "digest_out"):
        if facts[name] is not None:
            facts[name] = DigestBody.model_construct(username=facts[name].username, password="")
    spec = TrunkSpecBody.model_construct(**facts)
    return TrunkView.model_construct(id=trunk.id, name=trunk.name, state=TrunkState(trunk.state), spec=spec)
