"""What can be done with customers and keys.

The text of a key is shown once, when it is made; the database keeps its SHA-256 digest. A fast hash is enough
because the text holds 256 random bits: there is nothing to guess.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import RowMapping

from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.outgoing.rules import check_url, checked_secret, new_secret
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.tenants import store
from xiaohao.tenants.model import ApiKey, Customer, CustomerState, Principal, Webhook, WebhookPlan

_KEY_SHAPE: Final = re.compile(r"xk_(?:op|cus)_[0-9a-f]{64}", re.ASCII)
#: eight digits, however they are grouped
_LIKE_A_NUMBER: Final = re.compile(r"\d(?:[ ().+-]*\d){7}")


class Tenants:
    """Customers, their webhooks and everybody's API keys."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        clock: Callable[[], int] = now_us,
        *,
        allow_private_urls: bool = True,
    ) -> None:
        """`allow_private_urls`: whether a webhook may name a private address; a host name that leads to one
        is found out when an event is delivered.
        """
        self._database = database
        self._vault = vault
        self._clock = clock
        self._allow_private_urls = allow_private_urls

    async def create_customer(self, name: str, webhook_url: str | None = None) -> Customer:
        """Take a customer on; its webhook secret is made at once. Raises Refusal: `validation_failed`."""
        self._check_url("webhook_url", webhook_url)
        now = self._clock()
        customer = Customer(new_id("cus"), name, CustomerState.ACTIVE, webhook_url, now, now)
        row = {
            "id": customer.id,
            "name": name,
            "state": customer.state.value,
            "webhook_url": webhook_url,
            "webhook_secret_sealed": self._vault.seal(new_secret()),
            "created_at": now,
            "updated_at": now,
        }
        async with self._database.begin() as connection:
            await store.add(connection, row)
        return customer

    async def get_customer(self, customer_id: str) -> Customer:
        """One customer. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.find(connection, customer_id)
        return _customer(row)

    async def meant(self, who: Principal, customer_id: str | None) -> str:
        """The customer whose things somebody means; "": everybody's, the operator's own.

        A customer may only mean itself. Raises Refusal: `not_found`.
        """
        if who.customer_id is not None:
            if customer_id not in (None, who.customer_id):
                raise not_found("customer")
            return who.customer_id
        if customer_id is not None:
            await self.get_customer(customer_id)
        return customer_id or ""

    async def page_customers(self, after: str, limit: int) -> list[Customer]:
        """At most `limit` customers whose ids come after `after`, in the order of their ids."""
        async with self._database.read() as connection:
            return [_customer(row) for row in await store.page(connection, after, limit)]

    async def suspend(self, customer_id: str) -> Customer:
        """Connect no call of this customer and take no new binding, until `resume`; again is no error.

        Raises Refusal: `not_found`.
        """
        return await self._change(customer_id, {"state": CustomerState.SUSPENDED.value})

    async def resume(self, customer_id: str) -> Customer:
        """Undo `suspend`; who has no money left stays stopped. Raises Refusal: `not_found`."""
        return await self._change(customer_id, {"state": store.state_when_resumed(customer_id)})

    async def require_real_names(self, customer_id: str, required: bool) -> Customer:
        """Whether every A of this customer must have been verified before A is bound. Raises Refusal:
        `not_found`.
        """
        return await self._change(customer_id, {"real_names": required})

    async def rename(self, customer_id: str, name: str) -> Customer:
        """Give a customer another name. Raises Refusal: `not_found`."""
        return await self._change(customer_id, {"name": name})

    async def set_webhook(self, customer_id: str, url: str | None) -> Customer:
        """Send this customer's events to `url` from now on; None: nowhere.

        Raises Refusal: `not_found`, `validation_failed`.
        """
        self._check_url("webhook_url", url)
        return await self._change(customer_id, {"webhook_url": url})

    async def plan_webhook(
        self, customer_id: str, url: str | None, kinds: Sequence[str] | None, cdr_batch: int
    ) -> None:
        """Send events of these kinds (None: all) to `url` (None: nowhere), CDRs up to so many at once.

        Raises Refusal: `not_found`, `validation_failed`.
        """
        self._check_url("url", url)
        wanted = None if kinds is None else json.dumps(sorted(set(kinds)))
        values: dict[str, object] = {
            "webhook_url": url,
            "webhook_kinds": wanted,
            "webhook_cdr_batch": cdr_batch,
        }
        await self._change(customer_id, values)

    async def webhook_plan(self, customer_id: str) -> WebhookPlan:
        """What a customer wants of its webhook. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.webhook(connection, customer_id)
        if row is None:
            raise not_found("customer")
        until = row["webhook_old_secret_until"]
        kinds = None if row["webhook_kinds"] is None else tuple(json.loads(row["webhook_kinds"]))
        until = until if until is not None and until > self._clock() else None
        return WebhookPlan(row["webhook_url"], kinds, row["webhook_cdr_batch"] or 1, until)

    async def set_webhook_secret(
        self, customer_id: str, secret: str | None = None, overlap_s: int = 0
    ) -> str:
        """Sign with `secret` (`whsec_` and the base64 of 24 to 64 bytes), or a new random one.

        For `overlap_s` seconds the secret before it signs, too. Gives the new one back. Raises Refusal:
        `not_found`, `validation_failed`.
        """
        text = new_secret() if secret is None else checked_secret(secret)
        values: dict[str, object] = {"webhook_secret_sealed": self._vault.seal(text)}
        async with self._database.begin() as connection:
            row = await store.webhook(connection, customer_id)
            if row is None:
                raise not_found("customer")
            old = row["webhook_secret_sealed"] if overlap_s else None
            values["webhook_old_secret_sealed"] = old
            until = None if old is None else self._clock() + overlap_s * SECOND
            values |= {"webhook_old_secret_until": until, "updated_at": self._clock()}
            await store.change(connection, customer_id, values)
        return text

    async def webhook(self, customer_id: str) -> Webhook | None:
        """Where and how to deliver; None where a customer wants no events or is unknown.

        Raises SecrecyError.
        """
        async with self._database.read() as connection:
            row = await store.webhook(connection, customer_id)
        return None if row is None else self._webhook(row)

    async def webhooks(self, customer_ids: Sequence[str]) -> tuple[dict[str, Webhook], set[str]]:
        """The same of several customers: those that there are, and who has one that cannot be opened."""
        found: dict[str, Webhook] = {}
        unreadable: set[str] = set()
        async with self._database.read() as connection:
            rows = await store.webhooks(connection, customer_ids)
        for row in rows:
            try:
                webhook = self._webhook(row)
            except SecrecyError:
                unreadable.add(row["id"])
            else:
                if webhook is not None:
                    found[row["id"]] = webhook
        return found, unreadable

    def _webhook(self, row: RowMapping) -> Webhook | None:
        if row["webhook_url"] is None or row["webhook_secret_sealed"] is None:
            return None
        secrets = [self._vault.open(row["webhook_secret_sealed"])]
        if row["webhook_old_secret_sealed"] is not None and row["webhook_old_secret_until"] > self._clock():
            secrets.append(self._vault.open(row["webhook_old_secret_sealed"]))
        kinds = None if row["webhook_kinds"] is None else frozenset(json.loads(row["webhook_kinds"]))
        return Webhook(row["webhook_url"], tuple(secrets), kinds, row["webhook_cdr_batch"] or 1)

    async def webhook_secret(self, customer_id: str) -> str:
        """The secret in use, for the customer's own eyes. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.webhook(connection, customer_id)
        if row is None or row["webhook_secret_sealed"] is None:
            raise not_found("customer")
        return self._vault.open(row["webhook_secret_sealed"])

    async def create_key(self, customer_id: str | None, label: str) -> tuple[ApiKey, str]:
        """A new key of a customer (None: of the operator) and its text, which is never seen again.

        Raises Refusal: `not_found`, `validation_failed`.
        """
        if _LIKE_A_NUMBER.search(label):
            raise validation_failed("label", "must not hold what looks like a telephone number (8 digits)")
        text = f"xk_{'op' if customer_id is None else 'cus'}_{secrets.token_hex(32)}"
        key = ApiKey(new_id("key"), customer_id, label, self._clock(), None)
        row = {
            "id": key.id,
            "customer_id": customer_id,
            "digest": _digest(text),
            "label": label,
            "created_at": key.created_at,
        }
        async with self._database.begin() as connection:
            if customer_id is not None:
                _customer(await store.find(connection, customer_id))
            await store.add_key(connection, row)
        return key, text

    async def bootstrap_operator_key(self, label: str = "operator") -> str:
        """The text of a new key of the operator: how the first one comes to be, from the command line."""
        _, text = await self.create_key(None, label)
        return text

    async def keys(self, customer_id: str | None) -> list[ApiKey]:
        """The keys of a customer (None: of the operator), revoked ones included."""
        async with self._database.read() as connection:
            return [ApiKey(**row) for row in await store.keys(connection, customer_id)]

    async def revoke_key(self, customer_id: str | None, key_id: str) -> ApiKey:
        """Make a key useless from now on; again is no error. Raises Refusal: `not_found`."""
        async with self._database.begin() as connection:
            await store.revoke_key(connection, customer_id, key_id, self._clock())
            row = await store.key(connection, customer_id, key_id)
        if row is None:
            raise not_found("API key")
        return ApiKey(**row)

    async def key_is_valid(self, customer_id: str | None, key_id: str) -> bool:
        """Whether a key of a customer (None: of the operator) is there and was not revoked."""
        async with self._database.read() as connection:
            row = await store.key(connection, customer_id, key_id)
        return row is not None and row["revoked_at"] is None

    async def authenticate(self, text: str) -> Principal:
        """Whose key this is. Raises Refusal: `unauthenticated` (401)."""
        row = None
        if _KEY_SHAPE.fullmatch(text):
            async with self._database.read() as connection:
                row = await store.find_key(connection, _digest(text))
        if row is None:
            raise Refusal(
                "unauthenticated", "Who are you?", "The API key is missing, unknown or revoked.", 401
            )
        state = None if row["state"] is None else CustomerState(row["state"])
        return Principal(row["id"], row["customer_id"], state)

    def _check_url(self, field: str, url: str | None) -> None:
        check_url(field, url, allow_private=self._allow_private_urls)

    async def _change(self, customer_id: str, values: dict[str, object]) -> Customer:
        async with self._database.begin() as connection:
            await store.change(connection, customer_id, {**values, "updated_at": self._clock()})
            return _customer(await store.find(connection, customer_id))


def _customer(row: RowMapping | None) -> Customer:
    if row is None:
        raise not_found("customer")
    return Customer(**{**row, "state": CustomerState(row["state"])})


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
