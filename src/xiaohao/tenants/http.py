"""Routes: customers and keys for the operator, a customer's own webhook."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, Strict, StringConstraints

from xiaohao.api.auth import CustomerKey, Keys, OperatorKey
from xiaohao.api.fields import Name, NotNull, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.route import api_router
from xiaohao.clock import rfc3339, rfc3339_or_none
from xiaohao.notifications.model import LARGEST_BATCH, Kind
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import ApiKey, Customer, CustomerState
from xiaohao.tenants.service import Tenants

WebhookUrl = Annotated[
    str,
    StringConstraints(max_length=2000, pattern=r"^https?://[!-~]+$"),
    Field(description="http or https; events are POSTed here", examples=["https://example.com/events"]),
]
Secret = Annotated[
    str,
    StringConstraints(max_length=100, pattern=r"^whsec_[A-Za-z0-9+/=]+$"),
    Field(description="`whsec_` and base64, as in Standard Webhooks"),
]


class NewCustomer(Request):
    """A customer to take on."""

    name: Name
    webhook_url: WebhookUrl | None = None


class CustomerChange(Request):
    """What to change; a field that is not sent stays as it is."""

    name: Annotated[Name | None, NotNull] = Field(None, description="Never null")
    webhook_url: WebhookUrl | None = Field(None, description="null: no more events")
    state: Annotated[Literal["active", "suspended"] | None, NotNull] = Field(None, description="Never null")
    real_names: Annotated[bool | None, NotNull] = Field(
        None, description="Every A must have been verified before A is bound; never null"
    )


class CustomerView(BaseModel):
    """A customer."""

    id: str
    name: str
    state: CustomerState
    webhook_url: str | None
    real_names: bool = Field(description="Every A must have been verified before A is bound")
    created_at: Timestamp
    updated_at: Timestamp


class NewKey(Request):
    """A key to make."""

    label: Name = Field(description="Tells keys apart for a person")


class KeyView(BaseModel):
    """An API key without its text."""

    id: str
    customer_id: str | None = Field(description="null: a key of the operator")
    label: str
    created_at: Timestamp
    revoked_at: Timestamp | None


class KeyMade(KeyView):
    """A new API key. Nobody ever sees its text again."""

    key: str = Field(description="The text that goes behind `Bearer`")


class KeyList(BaseModel):
    """All keys of one owner."""

    items: list[KeyView]


class WebhookView(BaseModel):
    """Where the events go and what signs them."""

    url: str | None
    secret: str
    old_secret_until: Timestamp | None = Field(description="Until then the secret before signs, too")
    kinds: list[Kind] | None = Field(description="null: every kind")
    cdr_batch: int


class WebhookChange(Request):
    """Where the events shall go. What is not sent is as if it had never been set."""

    url: WebhookUrl | None = Field(description="null: no events")
    kinds: list[Annotated[Kind, Strict(False)]] | None = Field(
        None, min_length=1, max_length=len(Kind), description="The kinds that are POSTed; null: every kind"
    )
    cdr_batch: int = Field(
        1, ge=1, le=LARGEST_BATCH, description="Events `cdr.created` come up to so many a POST"
    )


class SecretChange(Request):
    """A secret of your own, or none to get a random one."""

    secret: Secret | None = None
    overlap_s: int = Field(
        86_400, ge=0, le=7 * 86_400, description="Seconds for which the old secret signs, too"
    )


def operator_router(tenants: Tenants, keys: Keys, vault: Vault) -> APIRouter:
    """The operator's routes."""
    router = api_router("customers")
    cursors = Cursors(vault, "customers")

    @router.post("/v1/customers", status_code=201)
    async def create_customer(_: OperatorKey, body: NewCustomer) -> CustomerView:
        """Take a customer on."""
        return _customer(await tenants.create_customer(body.name, body.webhook_url))

    @router.get("/v1/customers")
    async def list_customers(_: OperatorKey, query: Annotated[PageQuery, Query()]) -> Page[CustomerView]:
        """All customers."""
        found = await tenants.page_customers(cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _customer, lambda customer: customer.id)

    @router.get("/v1/customers/{customer_id}")
    async def get_customer(_: OperatorKey, customer_id: str) -> CustomerView:
        """One customer."""
        return _customer(await tenants.get_customer(customer_id))

    @router.patch("/v1/customers/{customer_id}")
    async def change_customer(_: OperatorKey, customer_id: str, body: CustomerChange) -> CustomerView:
        """Rename, suspend or resume a customer, or send its events elsewhere."""
        customer = await tenants.get_customer(customer_id)
        # first what may still be refused, so that a refusal leaves nothing half changed
        if "webhook_url" in body.model_fields_set:
            customer = await tenants.set_webhook(customer_id, body.webhook_url)
        if body.real_names is not None:
            customer = await tenants.require_real_names(customer_id, body.real_names)
        if body.name is not None:
            customer = await tenants.rename(customer_id, body.name)
        if body.state == "suspended":
            customer = await tenants.suspend(customer_id)
        elif body.state == "active":
            customer = await tenants.resume(customer_id)
        keys.forget()
        return _customer(customer)

    _add_key_routes(router, tenants, keys)
    return router


def _add_key_routes(router: APIRouter, tenants: Tenants, keys: Keys) -> None:
    @router.post("/v1/customers/{customer_id}/keys", status_code=201)
    async def create_customer_key(_: OperatorKey, customer_id: str, body: NewKey) -> KeyMade:
        """Make a key for a customer."""
        return _key_made(*await tenants.create_key(customer_id, body.label))

    @router.get("/v1/customers/{customer_id}/keys")
    async def list_customer_keys(_: OperatorKey, customer_id: str) -> KeyList:
        """The keys of a customer, revoked ones included."""
        await tenants.get_customer(customer_id)
        return KeyList(items=[_key(key) for key in await tenants.keys(customer_id)])

    @router.delete("/v1/customers/{customer_id}/keys/{key_id}")
    async def revoke_customer_key(_: OperatorKey, customer_id: str, key_id: str) -> KeyView:
        """Make a customer's key useless, at the latest two seconds from now."""
        key = await tenants.revoke_key(customer_id, key_id)
        keys.forget()
        return _key(key)

    @router.post("/v1/operator-keys", status_code=201)
    async def create_operator_key(_: OperatorKey, body: NewKey) -> KeyMade:
        """Make another key of the operator."""
        return _key_made(*await tenants.create_key(None, body.label))

    @router.get("/v1/operator-keys")
    async def list_operator_keys(_: OperatorKey) -> KeyList:
        """The operator's keys, revoked ones included."""
        return KeyList(items=[_key(key) for key in await tenants.keys(None)])

    @router.delete("/v1/operator-keys/{key_id}")
    async def revoke_operator_key(_: OperatorKey, key_id: str) -> KeyView:
        """Make a key of the operator useless, at the latest two seconds from now."""
        key = await tenants.revoke_key(None, key_id)
        keys.forget()
        return _key(key)


def webhook_router(tenants: Tenants) -> APIRouter:
    """The routes of a customer's own webhook."""
    router = api_router("webhook")

    @router.get("/v1/webhook")
    async def get_webhook(key: CustomerKey) -> WebhookView:
        """Where your events go, and the secret that signs them."""
        return await _webhook(str(key.customer_id))

    @router.put("/v1/webhook")
    async def put_webhook(key: CustomerKey, body: WebhookChange) -> WebhookView:
        """Send your events somewhere else, or nowhere; or other kinds of them, or several at once."""
        await tenants.plan_webhook(str(key.customer_id), body.url, body.kinds, body.cdr_batch)
        return await _webhook(str(key.customer_id))

    @router.post("/v1/webhook/secret")
    async def change_webhook_secret(key: CustomerKey, body: SecretChange) -> WebhookView:
        """Sign your events with another secret from now on."""
        await tenants.set_webhook_secret(str(key.customer_id), body.secret, body.overlap_s)
        return await _webhook(str(key.customer_id))

    async def _webhook(customer_id: str) -> WebhookView:
        plan = await tenants.webhook_plan(customer_id)
        until = plan.old_secret_until
        return WebhookView(
            url=plan.url,
            secret=await tenants.webhook_secret(customer_id),
            old_secret_until=rfc3339_or_none(until),
            kinds=None if plan.kinds is None else [Kind(kind) for kind in plan.kinds],
            cdr_batch=plan.cdr_batch,
        )

    return router


def _customer(customer: Customer) -> CustomerView:
    return CustomerView(
        id=customer.id,
        name=customer.name,
        state=customer.state,
        webhook_url=customer.webhook_url,
        real_names=customer.real_names,
        created_at=rfc3339(customer.created_at),
        updated_at=rfc3339(customer.updated_at),
    )


def _key(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        customer_id=key.customer_id,
        label=key.label,
        created_at=rfc3339(key.created_at),
        revoked_at=rfc3339_or_none(key.revoked_at),
    )


def _key_made(key: ApiKey, text: str) -> KeyMade:
    return KeyMade(**_key(key).model_dump(), key=text)
