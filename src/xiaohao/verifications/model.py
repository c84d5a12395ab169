"""The terms of verifications: whose real name is proven by what, and until when."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from xiaohao.errors import conflict
from xiaohao.numbers.model import Verification

_PENDING, _VERIFIED = Verification.PENDING, Verification.VERIFIED
_EXPIRED, _REJECTED = Verification.EXPIRED, Verification.REJECTED

#: which state follows which; from None: it is new
TRANSITIONS: Final[Mapping[Verification | None, frozenset[Verification]]] = {
    None: frozenset({_PENDING, _VERIFIED}),
    _PENDING: frozenset({_PENDING, _VERIFIED, _REJECTED}),
    _VERIFIED: frozenset({_VERIFIED, _EXPIRED, _REJECTED}),
    _EXPIRED: frozenset({_PENDING, _VERIFIED, _REJECTED}),
    _REJECTED: frozenset({_PENDING, _VERIFIED, _REJECTED}),
}


@dataclass(frozen=True, slots=True)
class Renewal:
    """What is to take the place of what is verified, once the operator finds it good."""

    documents: tuple[str, ...]
    valid_until: int | None


@dataclass(frozen=True, slots=True)
class Proof:
    """The verification of one number of the platform, or of one person of a customer.

    `documents` are references, never documents, named while it was of the customer `named_for`. `valid_until`
    in µs since the epoch, None: for good.
    """

    id: str
    customer_id: str | None
    number: str | None
    person: str | None = field(repr=False)
    state: Verification
    documents: tuple[str, ...]
    valid_until: int | None
    reason: str | None
    created_at: int
    updated_at: int
    renewal: Renewal | None = None
    named_for: str | None = None

    def without_words(self) -> "Proof":
        """The same without what was written by and for the customer whose number it was before."""
        return replace(self, documents=(), reason=None)


def check(state: Verification | None, to: Verification) -> None:
    """Raises Refusal: `verification_in_another_state` where the table has no such change."""
    if to not in TRANSITIONS[state]:
        was = "new" if state is None else state.value
        raise conflict(
            "verification_in_another_state",
            "The verification is in another state",
            f"What is {was} does not become {to.value}.",
        )
