"""Whom a caller means by the digits that they have dialled in a dialogue."""

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from xiaohao.announcer.strangers import Strangers
from xiaohao.bindings.modes import extension_key, is_extension
from xiaohao.bindings.recognition import LegMatch, Outcome, judge
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.ivr.model import Found, Kind
from xiaohao.numbers.model import is_foreign
from xiaohao.switch.recognise import note
from xiaohao.switch.steps import Passage, Tools

_log = structlog.get_logger(__name__)

#: longer than any look-up takes
_SAME_TIME_S: Final = 0.5


class Search:
    """Finds a callee for one call, and writes it into the call's passage."""

    def __init__(self, passage: Passage, tools: Tools, strangers: Strangers) -> None:
        self.passage, self._tools, self._strangers = passage, tools, strangers

    async def look(self, kind: Kind, digits: str) -> Found:
        """Whether the digits mean somebody who can be called now. Never raises.

        What guesses at people's numbers takes the same time whatever comes of it.
        """
        if kind is Kind.EXTENSION:
            return await self._look(kind, digits)
        found, _ = await asyncio.gather(self._look(kind, digits), asyncio.sleep(_SAME_TIME_S))
        return found

    def take(self, number: str) -> bool:
        """Connect with this number, showing the one dialled; False where that may not be shown."""
        match = self.passage.match
        if match is None or match.display is None:
            return False
        sealed = self._tools.vault.seal(number)
        self.passage.match = replace(match, outcome=Outcome.CONNECT, callee_sealed=sealed)
        return True

    async def _look(self, kind: Kind, digits: str) -> Found:
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
        call = self.passage.call
        if kind is Kind.EXTENSION:
            return await self._judged(extension_key(digits), extension=True) if is_extension(digits) else None
        # beyond the limit the same is done, and nobody is found
        allowed = await self._strangers.guesses.allow(call.id, call.caller, call.dialled)
        person = await self._strangers.mean(call.dialled, kind, digits)
        return await self._judged(self._tools.vault.index(person)) if person and allowed else None

    async def _judged(self, key: bytes, *, extension: bool = False) -> LegMatch:
        call = self.passage.call
        row = await self._tools.lookup.find(key, call.dialled, call.received_at)
        from_abroad = call.caller is not None and is_foreign(call.caller)
        return judge(row, call.received_at, from_abroad=from_abroad, extension=extension)
