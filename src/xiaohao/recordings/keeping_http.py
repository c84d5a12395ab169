"""Routes: deletion with proof, legal holds, and the rules for how long recordings are kept."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Note, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.clock import rfc3339, rfc3339_or_none
from xiaohao.recordings.keeping import LONGEST_DAYS, Cause, Deletion, Keeping, Rule
from xiaohao.secrecy import Vault


class Why(Request):
    """Why something is done; kept encrypted."""

    reason: Note


class DeletionView(BaseModel):
    """Proof that a recording was deleted."""

    call_id: str
    asked_at: Timestamp = Field(description="From here on nobody could read it: its key was destroyed")
    cause: Cause = Field(description="Somebody's request, or the end of its time")
    key_id: str | None = Field(description="Who asked; null: nobody")
    by_operator: bool
    reason: str | None
    bytes: int | None = Field(description="Of the audio that there was")
    sha256: str | None = Field(description="Of the audio that there was")
    stored_bytes: int | None = Field(description="Of the object that was in the store")
    stored_sha256: str | None = Field(description="Of the object that was in the store")
    gone_at: Timestamp | None = Field(
        description="When the object and the captures were looked for and not there; null: not yet"
    )


class NewRule(Request):
    """For how long."""

    keep_days: int = Field(ge=0, le=LONGEST_DAYS, description="Days from a call's end; 0: for ever")


class RuleView(BaseModel):
    """For how long the recordings of a customer or of a pool's numbers are kept."""

    scope_id: str = Field(description="The customer or pool; a pool's rule goes before a customer's")
    keep_days: int
    changed_at: Timestamp
    applied: bool = Field(description="Whether every older recording has its new time already")


def router(keeping: Keeping, vault: Vault) -> APIRouter:
    """The routes of this page."""
    routes = api_router("recordings")

    @routes.post("/v1/recordings/{call_id}:delete", status_code=202)
    async def delete_recording(key: AnyKey, call_id: str, body: Why) -> DeletionView:
        """Delete a recording for good: nobody can hear it from now on; what is left goes in a moment."""
        return _deletion(await keeping.delete(key, call_id, body.reason))

    @routes.get("/v1/recordings/{call_id}/deletion")
    async def get_deletion(key: AnyKey, call_id: str) -> DeletionView:
        """The proof that a recording was deleted."""
        return _deletion(await keeping.deletion(key.customer_id, call_id))

    @routes.post("/v1/recordings/{call_id}:hold", status_code=204)
    async def hold_recording(key: OperatorKey, call_id: str, body: Why) -> None:
        """Put a recording under a legal hold: neither a rule nor a request deletes it."""
        await keeping.hold(key, call_id, body.reason)

    @routes.post("/v1/recordings/{call_id}:release", status_code=204)
    async def release_recording(key: OperatorKey, call_id: str, body: Why) -> None:
        """End a legal hold."""
        await keeping.release(key, call_id, body.reason)

    _add_rules(routes, keeping, Cursors(vault, "recording rules"))
    return routes


def _add_rules(routes: APIRouter, keeping: Keeping, cursors: Cursors) -> None:
    @routes.get("/v1/recording-rules")
    async def list_recording_rules(_: OperatorKey, query: Annotated[PageQuery, Query()]) -> Page[RuleView]:
        """For how long the recordings of customers and pools are kept that have a rule of their own."""
        found = await keeping.rules(cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _rule, lambda rule: rule.scope_id)

    @routes.put("/v1/recording-rules/{scope_id}", status_code=204)
    async def put_recording_rule(key: OperatorKey, scope_id: str, body: NewRule) -> None:
        """Set for how long the recordings of a customer or pool are kept, those that are there included."""
        await keeping.set_rule(key, scope_id, body.keep_days)

    @routes.delete("/v1/recording-rules/{scope_id}", status_code=204)
    async def delete_recording_rule(key: OperatorKey, scope_id: str) -> None:
        """Keep them as long as the configuration says."""
        await keeping.set_rule(key, scope_id, None)


def _deletion(deletion: Deletion) -> DeletionView:
    return DeletionView(
        call_id=deletion.call_id,
        asked_at=rfc3339(deletion.asked_at),
        cause=deletion.cause,
        key_id=deletion.key_id,
        by_operator=deletion.key_id is not None and deletion.asked_by is None,
        reason=deletion.reason,
        bytes=deletion.size,
        sha256=deletion.sha256,
        stored_bytes=deletion.stored_bytes,
        stored_sha256=deletion.stored_sha256,
        gone_at=rfc3339_or_none(deletion.gone_at),
    )


def _rule(rule: Rule) -> RuleView:
    return RuleView(
        scope_id=rule.scope_id,
        keep_days=rule.keep_days,
        changed_at=rfc3339(rule.changed_at),
        applied=rule.is_applied,
    )
