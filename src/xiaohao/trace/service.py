"""What can be learned of the path of a call. Who asks is a `Principal`; a customer's calls are its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.calls.model import Call
from xiaohao.calls.service import known_call
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal, not_found
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings, host_port
from xiaohao.tenants.model import Principal
from xiaohao.trace import store
from xiaohao.trace.ladder import draw
from xiaohao.trace.legs import Legs, legs_of
from xiaohao.trace.masking import Mask
from xiaohao.trace.media import SideMedia, facts_of
from xiaohao.trace.model import Message, Path
from xiaohao.trace.packing import unpack_messages, unpack_path
from xiaohao.trace.pcap import capture
from xiaohao.trace.timeline import Entry, entries
from xiaohao.trunks.service import names_of_trunks

_DAY: Final = 86_400 * SECOND


class Kept(StrEnum):
    """What is there of a call's SIP messages."""

    KEPT = "kept"
    #: the platform does not keep any
    OFF = "off"
    #: only some calls' are kept, and this one is none of them
    NOT_SAMPLED = "not_sampled"
    #: older than they are kept
    EXPIRED = "expired"
    #: they did not arrive, or not yet: they are written a second after the edge sent them
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SipFacts:
    """How many SIP messages of a call are kept, and how many more there were."""

    state: Kept
    messages: int
    cut: int


@dataclass(frozen=True, slots=True)
class CallPath:
    """Everything about a call, in order."""

    call: Call
    live: bool
    entries: Sequence[Entry]
    media: Sequence[SideMedia]
    sip: SipFacts


@dataclass(frozen=True, slots=True)
class CallMessages:
    """A call's SIP messages; `mask` hides numbers where the reader may not see them."""

    call: Call
    legs: Legs
    mask: Mask | None = field(repr=False)


class CallTraces:
    """Reads paths and SIP messages of calls."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        settings: Settings,
        audit: Audit,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._database, self._vault, self._settings = database, vault, settings.trace
        self._announcer = host_port(settings.announcements.listen)
        self._audit, self._clock = audit, clock

    async def path(self, principal: Principal, call_id: str) -> CallPath:
        """The path of a call in progress or of one that has ended. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            call = await self._call(connection, principal, call_id)
            sealed = await store.find_path(connection, call_id)
            told = await store.events_of(connection, call_id)
            failed = await store.failures_of(connection, [event["seq"] for event in told])
            count, cut = await store.count_messages(connection, call_id)
        path = Path(call.path, call.tries) if sealed is None else unpack_path(sealed, self._vault)
        tries = path.tries or call.tries
        found = entries(
            call,
            path.marks,
            tries,
            path.announcements,
            [{**event} for event in told],
            [{**failure} for failure in failed],
            for_operator=principal.is_operator,
        )
        sip = SipFacts(self._kept(call, count), count, cut)
        return CallPath(call, call.reason is None, found, facts_of(path.media), sip)

    async def ladder(self, principal: Principal, call_id: str, *, full: bool = False) -> str:
        """The SIP messages as a picture (SVG); with the numbers in `full` for whose numbers they are.

        Raises Refusal: `not_found`, `sip_messages_not_kept`, `customer_key_required`.
        """
        if full and principal.is_operator:
            detail = "The operator reads numbers in full for a reason only: POST …/messages."
            raise Refusal("customer_key_required", "The API key is not for this", detail, 403)
        found = await self._messages(principal, call_id, masked=not full)
        if full:
            await self._write_down(principal, call_id, {"what": "ladder"})
        return draw(found.legs, found.call, found.mask)

    async def messages(self, principal: Principal, call_id: str, reason: str | None = None) -> CallMessages:
        """The SIP messages; with real numbers where a `reason` is given, which goes into the audit log.

        Raises Refusal: `not_found`, `sip_messages_not_kept`.
        """
        found = await self._messages(principal, call_id, masked=reason is None)
        if reason is not None:
            await self._write_down(principal, call_id, {"what": "messages", "reason": reason})
        return found

    async def capture(self, principal: Principal, call_id: str, reason: str) -> bytes:
        """The SIP messages as a pcap file, for a `reason`.

        Raises Refusal: `not_found`, `sip_messages_not_kept`.
        """
        found = await self._messages(principal, call_id, masked=False)
        await self._write_down(principal, call_id, {"what": "capture", "reason": reason})
        return capture(step.message for step in found.legs.steps)

    async def _messages(self, principal: Principal, call_id: str, *, masked: bool) -> CallMessages:
        async with self._database.read() as connection:
            call = await self._call(connection, principal, call_id)
            rows = await store.messages_of(connection, [call_id])
            sealed = await store.find_path(connection, call_id)
            names = await names_of_trunks(connection) if principal.is_operator else {}
        messages: list[Message] = []
        for row in rows:
            messages += unpack_messages(row["messages_sealed"], self._vault)
        if not messages:
            raise self._not_kept(call)
        path = Path([], call.tries) if sealed is None else unpack_path(sealed, self._vault)
        if not principal.is_operator:
            names = _numbered(call, path)
        cut, tries = sum(row["cut"] for row in rows), path.tries or call.tries
        legs = legs_of(messages, cut, call, tries, names, self._announcer)
        mask = Mask((call.dialled, call.displayed), call.id) if masked else None
        return CallMessages(call, legs, mask)

    async def _call(self, connection: AsyncConnection, principal: Principal, call_id: str) -> Call:
        call = await known_call(connection, self._vault, call_id, principal.customer_id)
        if call is None:
            raise not_found("call")
        return call

    async def _write_down(self, principal: Principal, call_id: str, details: Mapping[str, Any]) -> None:
        async with self._database.begin() as connection:
            about = {"call_id": call_id, **details}
            await self._audit.record(connection, principal, Action.SIP_MESSAGES, details=about)

    def _kept(self, call: Call, count: int) -> Kept:
        if count:
            return Kept.KEPT
        if not self._settings.sip:
            return Kept.OFF
        if call.received_at < self._clock() - self._settings.retention_days * _DAY:
            return Kept.EXPIRED
        digits = call.id[15:18]
        if digits.isdecimal() and int(digits) >= round(self._settings.sample * 1000):
            return Kept.NOT_SAMPLED
        return Kept.NONE

    def _not_kept(self, call: Call) -> Refusal:
        why = {
            Kept.OFF: "The platform is not set to keep SIP messages.",
            Kept.EXPIRED: "They are kept for a number of days, which have passed.",
            Kept.NOT_SAMPLED: "The platform keeps those of a part of the calls, and this is none of them.",
        }
        state = self._kept(call, 0)
        detail = why.get(state, "None have arrived; they take a second after they went over the wire.")
        title = "There are no SIP messages of this call"
        return Refusal("sip_messages_not_kept", title, detail, 404, {"why": state.value})


def _numbered(call: Call, path: Path) -> dict[str, str]:
    """What a customer reads in a trunk's place: which one it is, and not whose."""
    names: dict[str, str] = {}
    for trunk_id in (call.trunk_in, *(attempt.trunk_id for attempt in path.tries or call.tries)):
        if trunk_id is not None:
            names.setdefault(trunk_id, f"carrier {len(names) + 1}")
    return names
