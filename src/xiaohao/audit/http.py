"""Routes: the audit log."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Id, Moment, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.audit.model import Action, Entry, Filter
from xiaohao.audit.service import Audit
from xiaohao.clock import rfc3339
from xiaohao.secrecy import Vault


class AuditQuery(PageQuery):
    """Which entries."""

    action: Action | None = None
    since: Moment | None = Field(None, description="At this moment or later")
    until: Moment | None = Field(None, description="Before this moment")
    key_id: Id | None = Field(None, description="What this key did")
    customer_id: Id | None = Field(None, description="For the operator: what this customer's keys did")


class AuditView(BaseModel):
    """Somebody did something that is written down."""

    at: Timestamp
    key_id: str | None
    customer_id: str | None = Field(description="Whose key it was; null: the operator's")
    action: str
    subject: str | None = Field(description="What it was about; a person's number is masked")
    details: dict[str, Any]


def router(audit: Audit, vault: Vault) -> APIRouter:
    """The routes of this room."""
    routes = api_router("audit")

    @routes.get("/v1/audit")
    async def list_audit(key: AnyKey, query: Annotated[AuditQuery, Query()]) -> Page[AuditView]:
        """Who asked what: what your own keys did, for the operator what everybody's did; newest first."""
        cursors = Cursors(vault, f"audit {key.customer_id}")
        position = cursors.position(query.after)
        wanted = Filter(
            action=query.action,
            since=query.since,
            until=query.until,
            key_id=query.key_id,
            customer_id=None if key.customer_id else query.customer_id,
        )
        before = None if position is None else int(position)
        found = await audit.page(key.customer_id, before, query.limit + 1, wanted)
        return cursors.page(found, query.limit, _view, lambda entry: entry.seq)

    return routes


def _view(entry: Entry) -> AuditView:
    return AuditView(
        at=rfc3339(entry.at),
        key_id=entry.key_id,
        customer_id=entry.customer_id,
        action=entry.action,
        subject=entry.subject,
        details=dict(entry.details),
    )
