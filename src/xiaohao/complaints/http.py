"""Routes: complaints about numbers."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Id, Moment, Note, Number, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.clock import rfc3339
from xiaohao.complaints.model import Complaint, Source
from xiaohao.complaints.service import Complaints
from xiaohao.secrecy import Vault


class NewComplaint(Request):
    """A complaint about calls from a number of the platform."""

    number: Number
    source: Source = Field(
        Source.OPERATOR,
        strict=False,
        description="What a customer sends is from `customer` anyway",
    )
    at: Moment | None = Field(None, description="When it was made; null: now")
    note: Note | None = Field(None, description="No real numbers, please")


class ComplaintQuery(PageQuery):
    """Which complaints. Customers get those about their own numbers only."""

    number: Annotated[str, Field(max_length=40)] | None = None
    customer_id: Id | None = None


class ComplaintView(BaseModel):
    """A complaint."""

    id: str
    number: str
    customer_id: str | None = Field(description="Whose number it was")
    at: Timestamp
    source: Source
    note: str | None
    created_at: Timestamp


def router(complaints: Complaints, vault: Vault) -> APIRouter:
    """The routes of complaints."""
    router = api_router("numbers")

    @router.post("/v1/complaints", status_code=201)
    async def add_complaint(key: AnyKey, body: NewComplaint) -> ComplaintView:
        """Write a complaint down. Too many of them suspend the number, as its pool's policy has it."""
        owner = key.customer_id
        source = body.source if owner is None else Source.CUSTOMER
        return _view(await complaints.add(body.number, source, body.at, body.note, owner, key.key_id))

    @router.get("/v1/complaints")
    async def list_complaints(key: AnyKey, query: Annotated[ComplaintQuery, Query()]) -> Page[ComplaintView]:
        """The complaints: all of them for the operator, those about its own numbers for a customer."""
        owner = key.customer_id
        cursors = Cursors(vault, f"complaints {owner}")
        found = await complaints.page(
            cursors.position(query.after) or "", query.limit + 1, owner or query.customer_id, query.number
        )
        return cursors.page(found, query.limit, _view, lambda complaint: complaint.id)

    return router


def _view(complaint: Complaint) -> ComplaintView:
    return ComplaintView(
        id=complaint.id,
        number=complaint.number,
        customer_id=complaint.customer_id,
        at=rfc3339(complaint.at),
        source=complaint.source,
        note=complaint.note,
        created_at=rfc3339(complaint.created_at),
    )
