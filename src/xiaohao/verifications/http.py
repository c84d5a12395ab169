"""Routes: real names of mobile numbers, and of people."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from xiaohao.api.auth import AnyKey, OperatorKey
from xiaohao.api.fields import Documents, Id, Moment, Note, Number, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import ONLY_READS, api_router
from xiaohao.clock import rfc3339, rfc3339_or_none
from xiaohao.errors import validation_failed
from xiaohao.numbers.model import Verification
from xiaohao.secrecy import Vault, masked
from xiaohao.verifications.model import Proof, Renewal
from xiaohao.verifications.service import Verifications


class NewVerification(Request):
    """What proves the real name behind a mobile number of the platform, or of a person."""

    number: Number | None = Field(None, description="A mobile number of the platform")
    person: Number | None = Field(None, description="A person's real number; give this or `number`")
    customer_id: Id | None = Field(None, description="For the operator: whose person it is")
    documents: Documents
    valid_until: Moment | None = Field(None, description="null: for good")


class Decision(Request):
    """That it was found good."""

    valid_until: Moment | None = Field(None, description="null: as it was named")


class Rejection(Request):
    """That it was not."""

    reason: Note


class PersonSearch(Request):
    """Whose verification is looked for."""

    person: Number
    customer_id: Id | None = Field(None, description="For the operator: whose person it is")


class VerificationQuery(PageQuery):
    """Which verifications. Customers get their own only."""

    state: Verification | None = None
    customer_id: Id | None = None


class RenewalView(BaseModel):
    """What waits for the operator while the documents before it are still good."""

    documents: list[str]
    valid_until: Timestamp | None


class VerificationView(BaseModel):
    """How far a real name is proven."""

    id: str
    customer_id: str | None
    number: str | None
    person: str | None = Field(description="Masked for the operator")
    state: Verification
    documents: list[str] = Field(
        description="For a customer, empty where they were named while the number was another one's"
    )
    valid_until: Timestamp | None
    reason: str | None = Field(description="Why it was rejected")
    renewal: RenewalView | None = Field(
        description="Named while it is verified: verify and reject decide about this"
    )
    created_at: Timestamp
    updated_at: Timestamp


class VerificationList(BaseModel):
    """What was found: one or none."""

    items: list[VerificationView]


def router(verifications: Verifications, vault: Vault) -> APIRouter:
    """The routes of verifications."""
    router = api_router("numbers")

    @router.post("/v1/verifications", status_code=201)
    async def submit_verification(key: AnyKey, body: NewVerification) -> VerificationView:
        """Name documents: by the operator verified at once, by a customer for the operator to decide."""
        owner, documents = key.customer_id, tuple(body.documents)
        if (body.number is None) == (body.person is None):
            raise validation_failed("number", "give either number or person")
        if body.person is None:
            proof = await verifications.submit_number(
                body.number or "", documents, body.valid_until, owner, key.key_id
            )
        else:
            proof = await verifications.submit_person(
                body.person,
                documents,
                body.valid_until,
                of_customer=_whose(owner, body.customer_id),
                customer_id=owner,
            )
        return _view(proof, owner)

    @router.get("/v1/verifications")
    async def list_verifications(
        key: AnyKey, query: Annotated[VerificationQuery, Query()]
    ) -> Page[VerificationView]:
        """The verifications: all of them for the operator, its own for a customer."""
        owner = key.customer_id
        cursors = Cursors(vault, f"verifications {owner}")
        found = await verifications.page(
            cursors.position(query.after) or "", query.limit + 1, owner or query.customer_id, query.state
        )
        return cursors.page(found, query.limit, lambda proof: _view(proof, owner), lambda proof: proof.id)

    @router.post("/v1/verifications/search", openapi_extra=ONLY_READS)
    async def search_verifications(key: AnyKey, body: PersonSearch) -> VerificationList:
        """The verification of a person."""
        found = await verifications.of_person(body.person, _whose(key.customer_id, body.customer_id))
        return VerificationList(items=[] if found is None else [_view(found, key.customer_id)])

    @router.get("/v1/verifications/{verification_id}")
    async def get_verification(key: AnyKey, verification_id: str) -> VerificationView:
        """One verification."""
        return _view(await verifications.get(verification_id, key.customer_id), key.customer_id)

    @router.post("/v1/verifications/{verification_id}/verify")
    async def verify(
        key: OperatorKey, verification_id: str, body: Decision | None = None
    ) -> VerificationView:
        """Find the documents good."""
        until = None if body is None else body.valid_until
        return _view(await verifications.verify(verification_id, until, key.key_id), None)

    @router.post("/v1/verifications/{verification_id}/reject")
    async def reject(key: OperatorKey, verification_id: str, body: Rejection) -> VerificationView:
        """Find the documents not good: while a renewal waits, that, and what is verified stays."""
        return _view(await verifications.reject(verification_id, body.reason, key.key_id), None)

    return router


def _whose(owner: str | None, named: str | None) -> str:
    """Raises Refusal: `validation_failed`."""
    if owner is not None:
        return owner
    if named is None:
        raise validation_failed("customer_id", "say whose person it is")
    return named


def _view(proof: Proof, customer_id: str | None) -> VerificationView:
    if customer_id not in (None, proof.named_for):
        proof = proof.without_words()
    return VerificationView(
        id=proof.id,
        customer_id=proof.customer_id,
        number=proof.number,
        person=(masked(proof.person) or None) if customer_id is None else proof.person,
        state=proof.state,
        documents=list(proof.documents),
        valid_until=rfc3339_or_none(proof.valid_until),
        reason=proof.reason,
        renewal=None if proof.renewal is None else _renewal(proof.renewal),
        created_at=rfc3339(proof.created_at),
        updated_at=rfc3339(proof.updated_at),
    )


def _renewal(renewal: Renewal) -> RenewalView:
    until = renewal.valid_until
    return RenewalView(documents=list(renewal.documents), valid_until=rfc3339_or_none(until))
