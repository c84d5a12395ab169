"""The path of a call as one time line: what was decided, tried, signalled, heard and told, in its order."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from xiaohao.calls.model import Call, Mark, Try
from xiaohao.clock import rfc3339, rfc3339_local

#: what only the operator sees: through which carriers calls go is nothing of the customer's
_ABOUT_TRUNKS: Final = ("trunk", "trunks")
_LATER_MARKS: Final = ("announcer_answers", "platform_ends")


class Entry(msgspec.Struct, frozen=True):
    """Something that happened: `kind` says of what sort it is, `what` its name."""

    at: int
    kind: str
    what: str
    #: how long it took
    us: int | None = None
    details: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "at": rfc3339(self.at),
            "at_local": rfc3339_local(self.at),
            "kind": self.kind,
            "what": self.what,
            "took_us": self.us,
            "details": self.details,
        }


def entries(
    call: Call,
    marks: Iterable[Mark],
    tries: Iterable[Try],
    announcements: Iterable[Any],
    events: Iterable[Mapping[str, Any]],
    failures: Iterable[Mapping[str, Any]],
    *,
    for_operator: bool,
) -> list[Entry]:
    """Everything that is known, the earliest first; what only the operator may know is left out otherwise."""
    found = [Entry(call.received_at, "signal", "received", details={"dialled": call.dialled})]
    if for_operator and call.trunk_in:
        found[0].details["trunk"] = call.trunk_in
    found += [_of_mark(mark, for_operator) for mark in marks]
    found += _of_tries(tries, call, for_operator)
    found += [_of_announcement(each) for each in announcements]
    found += _signals(call)
    found += _notifications(events, failures)
    # what was decided in one microsecond stays in its order
    return sorted(found, key=lambda entry: entry.at)


def _of_mark(mark: Mark, for_operator: bool) -> Entry:
    why = {k: v for k, v in mark.why.items() if v is not None and (for_operator or k not in _ABOUT_TRUNKS)}
    kind = "signal" if mark.what in _LATER_MARKS else "decision"
    return Entry(mark.at, kind, mark.what, None if kind == "signal" else mark.us, why)


def _of_tries(tries: Iterable[Try], call: Call, for_operator: bool) -> list[Entry]:
    found = []
    for number, attempt in enumerate(tries, start=1):
        details: dict[str, Any] = {"number": number, "sip_code": attempt.sip_code}
        if for_operator:
            details["trunk"] = attempt.trunk_id
        if attempt.sip_code is None:
            details["sip_code"] = 200 if call.answered_at is not None else None
        found.append(Entry(attempt.at, "try", "invite_sent", details=details))
    return found


def _of_announcement(announcement: Any) -> Entry:
    known = announcement if isinstance(announcement, Mapping) else msgspec.to_builtins(announcement)
    if not isinstance(known, Mapping):
        known = {"what": known}
    # where its file lies is nothing of the customer's
    details = {str(key): value for key, value in known.items() if key not in ("at", "path")}
    return Entry(int(known.get("at") or 0), "announcement", "played", details=details)


def _signals(call: Call) -> list[Entry]:
    found = []
    if call.ringing_at is not None:
        found.append(Entry(call.ringing_at, "signal", "ringing"))
    if call.answered_at is not None:
        found.append(Entry(call.answered_at, "signal", "answered"))
    if call.ended_at is not None:
        details = {
            "by": call.ended_by.value if call.ended_by else None,
            "reason": call.reason.value if call.reason else None,
            "sip_code": call.sip_code,
            "q850_cause": call.q850_cause,
        }
        found.append(Entry(call.ended_at, "signal", "ended", details=details))
    return found


def _notifications(events: Iterable[Mapping[str, Any]], failures: Iterable[Mapping[str, Any]]) -> list[Entry]:
    found, failed = [], list(failures)
    for event in events:
        details = {"event": event["id"], "state": event["state"], "tries": event["tries"]}
        found.append(Entry(event["created_at"], "notification", event["kind"], details=details))
        own = [failure for failure in failed if failure["event_seq"] == event["seq"]]
        for number, failure in enumerate(own, start=1):
            told = {"event": event["id"], "try": number, "error": failure["error"]}
            found.append(Entry(failure["at"], "notification", "try_failed", details=told))
        if event["delivered_at"] is not None:
            told = {"event": event["id"], "try": event["tries"]}
            found.append(Entry(event["delivered_at"], "notification", "delivered", details=told))
    return found
