"""Who is asking: `Authorization: Bearer <API key>` (RFC 6750 section 2.1)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request

from xiaohao.errors import Refusal
from xiaohao.tenants.model import Principal
from xiaohao.tenants.service import Tenants

#: where the route leaves the principal in the ASGI scope
PRINCIPAL: Final = "xiaohao.principal"
#: a key is looked up again after so many seconds: so long a key that was revoked elsewhere still opens
FRESH_S: Final = 2.0
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Audience:
    """Whose keys open a route."""

    operator: bool
    customer: bool

    @property
    def schemes(self) -> list[str]:
        """The names of the keys among OpenAPI's security schemes."""
        return ["operatorKey"] * self.operator + ["customerKey"] * self.customer

    def admit(self, principal: Principal) -> None:
        """Raises Refusal unless this principal may come in."""
        if principal.customer_id is None:
            if not self.operator:
                raise _forbidden("customer_key_required", "This needs the key of a customer.")
        elif not self.customer:
            raise _forbidden("operator_key_required", "This needs the key of the operator.")


class Keys:
    """Recognises API keys; remembers each for FRESH_S seconds."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._known: dict[str, tuple[float, Principal]] = {}

    async def principal(self, header: str | None) -> Principal:
        """Whose key is in the header. Raises Refusal: `unauthenticated`."""
        scheme, _, key = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            key = ""
        now = time.monotonic()
        fresh_until, principal = self._known.get(key, (0.0, None))
        if principal is None or now >= fresh_until:
            self._known.pop(key, None)
            principal = await self._tenants.authenticate(key.strip())
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = (now + FRESH_S, principal)
        return principal

    def forget(self) -> None:
        """Look every key up again: a key or a customer was changed here."""
        self._known.clear()


async def _operator(request: Request) -> Principal:
    return _principal_of(request)


async def _customer(request: Request) -> Principal:
    return _principal_of(request)


async def _anyone(request: Request) -> Principal:
    return _principal_of(request)


def _principal_of(request: Request) -> Principal:
    principal: Principal = request.scope[PRINCIPAL]
    return principal


#: parameter types of routes: the key that opens the route
OperatorKey = Annotated[Principal, Depends(_operator)]
CustomerKey = Annotated[Principal, Depends(_customer)]
AnyKey = Annotated[Principal, Depends(_anyone)]

AUDIENCES: Final[dict[Callable[..., object] | None, Audience]] = {
    _operator: Audience(operator=True, customer=False),
    _customer: Audience(operator=False, customer=True),
    _anyone: Audience(operator=True, customer=True),
}


def _forbidden(code: str, detail: str) -> Refusal:
    return Refusal(code, "The API key is not for this", detail, 403)
