"""What people do with money goes into the audit log, in the transaction of the deed."""

from collections.abc import Coroutine, Mapping
from contextlib import closing
from typing import Any, TypeVar

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.database.engine import Database
from xiaohao.tenants.model import Principal

T = TypeVar("T")


class Deeds:
    """Carries things out and writes down who did them."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    async def do(self, who: Principal, did: str, deed: Coroutine[Any, Any, T], **details: Any) -> T:
        """Both stand, the deed and its entry, or neither. Not for long runs: the transaction is open."""
        with closing(deed):  # where no transaction can be begun
            return await self._do(who, did, deed, details)

    async def _do(
        self, who: Principal, did: str, deed: Coroutine[Any, Any, T], details: Mapping[str, Any]
    ) -> T:
        async with self._database.shared() as connection:
            done = await deed
            await self._audit.record(connection, who, Action.BILLING, details={"did": did, **details})
        return done

    async def begin(self, who: Principal, did: str, **details: Any) -> None:
        """Write down that a long run is begun."""
        async with self._database.begin() as connection:
            await self._audit.record(connection, who, Action.BILLING, details={"did": did, **details})
