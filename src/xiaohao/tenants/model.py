"""The terms of customers: who they are, and the keys with which they speak to the platform."""

from dataclasses import dataclass, field
from enum import StrEnum


class CustomerState(StrEnum):
    """Whether a customer's calls are connected and new bindings taken."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Customer:
    """A company whose people call each other."""

    id: str
    name: str
    state: CustomerState
    webhook_url: str | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a customer's events go, and the secret (`whsec_…`, Standard Webhooks) that signs them."""

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it can be shown afterwards: never its text. `customer_id` None: the operator's."""

    id: str
    customer_id: str | None
    label: str
    created_at: int
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is speaking: a customer, or the operator where `customer_id` is None."""

    key_id: str
    customer_id: str | None
    customer_state: CustomerState | None

    @property
    def is_operator(self) -> bool:
        """Whether it is the operator of the platform."""
        return self.customer_id is None
