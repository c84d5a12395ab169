"""The terms of customers: who they are, and the keys with which they speak to the platform."""

from dataclasses import dataclass, field
from enum import StrEnum


class CustomerState(StrEnum):
    """Whether a customer's calls are connected and new bindings taken."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    #: its money, or the month's limit, is used up: set and lifted by billing
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Customer:
    """A company whose people call each other. `real_names`: every A must be verified before A is bound."""

    id: str
    name: str
    state: CustomerState
    webhook_url: str | None
    created_at: int
    updated_at: int
    real_names: bool = False


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a customer's events go, and how.

    `secrets` (`whsec_…`, Standard Webhooks) sign, the newest first. `kinds` None: every kind. `cdr_batch`: at
    most so many events `cdr.created` go in one POST; 1: each by itself.
    """

    url: str
    secrets: tuple[str, ...] = field(repr=False)
    kinds: frozenset[str] | None = None
    cdr_batch: int = 1


@dataclass(frozen=True, slots=True)
class WebhookPlan:
    """What a customer wants of its webhook; see Webhook."""

    url: str | None
    kinds: tuple[str, ...] | None = None
    cdr_batch: int = 1
    #: until when the secret before the present one signs, too (microseconds)
    old_secret_until: int | None = None


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
