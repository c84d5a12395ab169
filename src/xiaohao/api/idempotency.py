"""`Idempotency-Key`: a request that is sent twice is carried out once.

The header is that of draft-ietf-httpapi-idempotency-key-header. The key, what the request changes and the
answer are written in one transaction. So there is no moment at which a crash could leave the change without
the answer, and nothing to be cleared up afterwards. A request that is refused has changed nothing: it leaves
no trace, and the same key may be used for the next try.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.responses import Response

from xiaohao.api import store
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, conflict
from xiaohao.secrecy import Vault

HEADER: Final = "idempotency-key"
KEPT_US: Final = 24 * 3600 * SECOND
#: a structured-field string (RFC 8941 section 3.3.3), or the same without its quotes as most clients send it
_KEY: Final = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,255})')
_REPLAYED: Final = {"Idempotency-Replayed": "true"}
#: headers of an answer that belong to it and not to the connection
_KEPT_HEADERS: Final = ("content-type", "location")


class _Answer(msgspec.Struct, array_like=True):
    headers: dict[str, str]
    body: str


def key_of(header: str) -> str:
    """The key in a header's value. Raises Refusal: `idempotency_key_invalid`."""
    match = _KEY.fullmatch(header.strip())
    if match is None:
        raise Refusal(
            "idempotency_key_invalid",
            "The Idempotency-Key cannot be used",
            "It must be 1 to 255 printable ASCII characters without spaces, quotes or backslashes,"
            " such as a UUID.",
            400,
        )
    return match[1] or match[2]


class Idempotency:
    """The keys of one web process; what they stand for is in the database."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._at_work: set[tuple[str, str]] = set()

    async def once(
        self, owner: str, key: str, request: tuple[bytes, ...], run: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Carry out `run` unless it was carried out under this key of this owner; then its answer again.

        `owner` is the customer's id, empty for the operator; `request` is all that makes requests differ.
        Raises Refusal: `idempotency_key_reused` (422), `request_at_work` (409). Every error that `run`
        raises takes back what it wrote.
        """
        # Customers make keys of what they have at hand, such as a telephone number.
        key = self._vault.index(f"idempotency {key}").hex()
        slot = (owner, key)
        if slot in self._at_work:
            raise conflict(
                "request_at_work",
                "The same request is still at work",
                "A request with this Idempotency-Key has not been answered yet.",
                retry_after_s=1,
            )
        digest = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in request)).hexdigest()
        self._at_work.add(slot)
        try:
            return await self._once(owner, key, digest, run)
        finally:
            self._at_work.discard(slot)

    async def _once(
        self, owner: str, key: str, digest: str, run: Callable[[], Awaitable[Response]]
    ) -> Response:
        # Another process with the same key waits here for our commit, and then finds the answer.
        async with self._database.shared() as connection:
            now, sealed_digest = now_us(), self._vault.seal(digest)
            if not await store.claim(connection, owner, key, sealed_digest, now):
                row = await store.find(connection, owner, key)
                if row is not None and row["created_at"] >= now - KEPT_US:
                    same = self._vault.open(row["request_sealed"]) == digest
                    return self._again(same, row["status"], row["body_sealed"])
                await store.forget(connection, owner, key)
                await store.claim(connection, owner, key, sealed_digest, now)
            response = await run()
            answer = _Answer(
                {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS},
                bytes(response.body).decode(),
            )
            sealed = self._vault.seal(msgspec.json.encode(answer).decode())
            values = {"status": response.status_code, "body_sealed": sealed}
            await store.finish(connection, owner, key, values)
        return response

    def _again(self, same: bool, status: int, sealed: bytes) -> Response:
        if not same:
            raise Refusal(
                "idempotency_key_reused",
                "The Idempotency-Key belongs to another request",
                "Within 24 hours a key may be sent again with the very same request only.",
                422,
            )
        answer = msgspec.json.decode(self._vault.open(sealed), type=_Answer)
        return Response(answer.body, status, {**answer.headers, **_REPLAYED})

    async def forget_old(self) -> int:
        """Let go of the keys that are older than 24 hours; says how many."""
        async with self._database.begin() as connection:
            return await store.forget_before(connection, now_us() - KEPT_US)
