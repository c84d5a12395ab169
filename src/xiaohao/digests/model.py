"""The terms of a digest: which CDRs it speaks of, and how its numbers are made.

A digest is of one customer and one hour, and holds the CDRs of the calls that ended in that hour. Everything
in it can be worked out from the CDRs' own documents, `call_id`, `talk_ms` and `ended_at`.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from xiaohao.clock import SECOND, rfc3339, rfc3339_local

HOUR: Final = 3600 * SECOND


class Tally:
    """Counts the CDRs of a digest, which must come in the order of their call ids."""

    def __init__(self) -> None:
        self.count = 0
        self.billable_s = 0
        self._hash = hashlib.sha256()

    def add(self, call_id: str, talk_ms: int) -> None:
        """One more CDR. Each begun second of talk counts in full."""
        self.count += 1
        self.billable_s += -(-talk_ms // 1000)
        self._hash.update(f"{call_id}\n".encode())

    @property
    def sha256(self) -> str:
        """Of every call id, each followed by a line feed; 64 hex digits."""
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class Digest:
    """`hour` is its first moment; `revision` counts from 1 each time that the numbers have changed."""

    customer_id: str
    hour: int
    revision: int
    count: int
    billable_s: int
    sha256: str
    created_at: int


class DigestDocument(msgspec.Struct, frozen=True):
    """The one JSON form of a digest, for the event and for the API."""

    id: str
    hour: str
    hour_local: str
    revision: int
    count: int
    billable_s: int
    sha256: str
    created_at: str


def digest_id(customer_id: str, hour: int) -> str:
    """`dig_`, what follows the prefix of the customer's id, `_`, the hour since 1970."""
    return f"dig_{customer_id.removeprefix('cus_')}_{hour // HOUR}"


def digest_document(digest: Digest) -> DigestDocument:
    """A digest as it is told."""
    return DigestDocument(
        id=digest_id(digest.customer_id, digest.hour),
        hour=rfc3339(digest.hour),
        hour_local=rfc3339_local(digest.hour),
        revision=digest.revision,
        count=digest.count,
        billable_s=digest.billable_s,
        sha256=digest.sha256,
        created_at=rfc3339(digest.created_at),
    )
