"""Whom a caller means by the digits that they have dialled in a dialogue."""

import structlog

from xiaohao.bindings.modes import extension_key, is_extension
from xiaohao.bindings.recognition import LegMatch, Outcome, judge
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.ivr.model import Found, Kind
from xiaohao.numbers.model import is_foreign
from xiaohao.switch.recognise import note
from xiaohao.switch.steps import Passage, Tools

_log = structlog.get_logger(__name__)


class Search:
    """Finds a callee for one call, and writes it into the call's passage."""

    def __init__(self, passage: Passage, tools: Tools) -> None:
        self.passage, self._tools = passage, tools

    async def look(self, kind: Kind, digits: str) -> Found:
        """Whether the digits mean somebody who can be called now. Never raises."""
        try:
            match = await self._match(kind, digits)
        except DatabaseUnavailable as error:
            _log.warning("dialogue_without_database", error=str(error))
            return Found.TROUBLE
        except Exception as error:  # noqa: BLE001 – a fault of ours must end as a refusal of this call only
            _log.error("dialogue_failed", call_id=self.passage.call.id, error=type(error).__name__)
            return Found.TROUBLE
        if match is None or match.outcome is not Outcome.CONNECT:
            return Found.NOT_FOUND
        self.passage.match = match
        note(self.passage.call, match)
        return Found.FOUND

    async def _match(self, kind: Kind, digits: str) -> LegMatch | None:
        if kind is Kind.EXTENSION and is_extension(digits):
            return await self._judged(extension_key(digits), extension=True)
        return None

    async def _judged(self, key: bytes, *, extension: bool = False) -> LegMatch:
        call = self.passage.call
        row = await self._tools.lookup.find(key, call.dialled, call.received_at)
        from_abroad = call.caller is not None and is_foreign(call.caller)
        return judge(row, call.received_at, from_abroad=from_abroad, extension=extension)
