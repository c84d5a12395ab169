"""Routes: digests."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Id, Moment, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.digests.model import Digest, digest_document
from xiaohao.digests.service import Digests
from xiaohao.secrecy import Vault


class DigestView(BaseModel):
    """The records (CDRs) of one hour in three numbers."""

    id: str
    hour: Timestamp = Field(
        description="First moment of the hour; by the end of a call its record belongs to it"
    )
    hour_local: Timestamp
    revision: int = Field(description="Grows when a record came late and the numbers have changed")
    count: int
    billable_s: int = Field(description="Seconds of talk, each call's rounded up")
    sha256: str = Field(description="Of the call ids in ascending order, each followed by a line feed")
    created_at: Timestamp
    customer_id: str | None = Field(None, description="Shown to the operator only")


class DigestQuery(PageQuery):
    """Which hours."""

    since: Moment | None = Field(None, alias="from", description="Hours that begin at this moment or later")
    until: Moment | None = Field(None, alias="to", description="Hours that begin before this moment")
    customer_id: Id | None = Field(None, description="For the operator")


def router(digests: Digests, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("events")

    @routes.get("/v1/digests", response_model_exclude_unset=True)
    async def list_digests(key: AnyKey, query: Annotated[DigestQuery, Query()]) -> Page[DigestView]:
        """The digest of every hour in which calls ended, the oldest first."""
        cursors = Cursors(vault, f"digests {key.customer_id}")
        hour, _, customer_id = (cursors.position(query.after) or "0 ").partition(" ")
        found = await digests.page(
            key.customer_id or query.customer_id,
            (int(hour), customer_id),
            query.limit + 1,
            query.since,
            query.until,
        )
        return cursors.page(
            found,
            query.limit,
            lambda digest: _view(digest, key.is_operator),
            lambda digest: f"{digest.hour} {digest.customer_id}",
        )

    return routes


def _view(digest: Digest, for_operator: bool) -> DigestView:
    document = msgspec.structs.asdict(digest_document(digest))
    if for_operator:
        document["customer_id"] = digest.customer_id
    return DigestView(**document)
