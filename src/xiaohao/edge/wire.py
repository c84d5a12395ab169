"""The lines between Kamailio and the switch: fields separated by `|`, one netstring a line.

Kamailio cannot build JSON out of hostile text without a library call for every field, and reading it costs
it a parse for every field; a line of positional fields costs neither (docs/decisions/0002). What a phone
wrote comes in hexadecimal, so no field can hold a separator.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from xiaohao.calls.model import Party, Reason, Try

#: The edge counts the calls that it lets in over so small a part of a second: as small as rounding allows,
#: since what is let in at the beginning of each part comes all at once.
_PARTS_OF_SECOND: Final = 20
_FEW_CALLS: Final = 200.0
_PARTS_FOR_FEW: Final = 5

#: Of a BYE of our own. Higher than any CSeq that was passed through in a dialog: the highest there is, less a
#: few for answers to challenges (RFC 3261 sections 8.1.1.5 and 12.2.1.1, which allows gaps).
LAST_CSEQ: Final = 2**31 - 8

#: A BYE that was lost is said again after 0.5 and 1.5 s (RFC 3261 section 17.1.2.2), while Kamailio lives.
BYE_HEARD_AFTER_S: Final = 1.7

#: Whoever listens need send nothing before they are connected, and many networks let nothing of it through.
#: To rtpengine that would be a dead call after `media.dead_after_s`, unless nothing is wanted from them: so
#: the announcer says `sendonly`, and by this name of its session that the edge makes `sendrecv` of it for the
#: caller.
BOTH_WAYS: Final = "both"


class WireError(Exception):
    """A line of the edge does not have the form agreed. Carries its first letter only, never its content."""


class RawCaller(msgspec.Struct, frozen=True):
    """What an INVITE says about its caller, header by header; None where the header is missing."""

    from_user: str | None
    pai_user: str | None
    rpid_user: str | None
    privacy: str | None


class Invite(msgspec.Struct, frozen=True):
    """A call has come in and waits for a decision."""

    call_id: str
    transaction: str  # "index|label" of the suspended transaction
    at: int
    trunk_group: int
    source: str
    dialled: str
    caller: RawCaller


class Ringing(msgspec.Struct, frozen=True):
    """The callee's phone rings, or its network plays something."""

    call_id: str
    at: int
    trunk_group: int


class Answered(msgspec.Struct, frozen=True):
    """The callee has answered."""

    call_id: str
    at: int
    trunk_group: int
    try_at: int
    tries: list[Try]


class Ended(msgspec.Struct, frozen=True):
    """The call is over; this holds everything that its CDR needs even where every other signal was lost."""

    call_id: str
    at: int
    ringing: Ringing | None
    answered: Answered | None
    by: Party
    reason: Reason | None
    sip_code: int | None
    q850_cause: int | None
    tries: list[Try]
    received_at: int | None
    trunk_group: int | None
    dialled: str
    caller: RawCaller
    sealed: str
    #: rtpengine still has the call: the edge leaves it to the switch to take it away
    media: bool = False


class Live(msgspec.Struct, frozen=True):
    """A call that lives in Kamailio, told after a reconnection."""

    call_id: str
    ringing: Ringing | None
    answered: Answered | None
    sealed: str


class Dialogs(msgspec.Struct, frozen=True):
    """Both sides of a call that the platform ends: what a BYE or a cancellation needs."""

    call_id: str
    answered: bool
    caller_side: list[str]
    callee_side: list[str]


class Told(msgspec.Struct, frozen=True):
    """The end of the answer to the `tell_all` with the same number."""

    number: int


class MediaFailed(msgspec.Struct, frozen=True):
    """rtpengine could not take an SDP answer into this call; `at_first`: that of the callee who took it."""

    call_id: str
    at_first: bool


class Banned(msgspec.Struct, frozen=True):
    """An address that no trunk has sent too much."""

    source: str


class TurnedAway(msgspec.Struct, frozen=True):
    """So many calls were refused since the last time, because too many came, without a signal for each."""

    calls: int


class StoodStill(msgspec.Struct, frozen=True):
    """The edge heard nothing from the switch for a while and told it nothing meanwhile."""


class Stopping(msgspec.Struct, frozen=True):
    """The edge is about to stop: its calls end with it, and their phones must be told."""


class TargetHealth(msgspec.Struct, frozen=True):
    """A trunk's target stopped or began to answer OPTIONS."""

    uri: str
    up: bool


Signal = (
    Invite
    | Ringing
    | Answered
    | Ended
    | Live
    | Dialogs
    | MediaFailed
    | Told
    | Banned
    | TurnedAway
    | StoodStill
    | Stopping
    | TargetHealth
)


def microseconds(text: str) -> int | None:
    """`1700000000.000123` → 1700000000000123; None for nothing."""
    if not text or text in ("0", "<null>"):
        return None
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 1_000_000 + int(fraction.ljust(6, "0")[:6] or 0)


def _text(hexadecimal: str) -> str | None:
    if not hexadecimal or hexadecimal == "<null>":
        return None
    return bytes.fromhex(hexadecimal).decode("utf-8", "replace")


def _caller(fields: str) -> RawCaller:
    from_user, pai_user, rpid_user, privacy = (_text(part) for part in (fields.split("^") + [""] * 4)[:4])
    return RawCaller(from_user, pai_user, rpid_user, privacy)


def _tries(field: str) -> list[Try]:
    found = []
    for entry in field.split(";"):
        if entry and entry != "<null>":
            group, at, code = entry.split(",")
            found.append(Try(group, microseconds(at) or 0, int(code)))
    return found


def _rang(call_id: str, field: str) -> Ringing | None:
    if not _plain(field):
        return None
    at, group = field.split("^")
    return Ringing(call_id, microseconds(at) or 0, int(group))


def _was_answered(call_id: str, field: str) -> Answered | None:
    if not _plain(field):
        return None
    at, group, try_at, tries = field.split("^")
    return Answered(call_id, microseconds(at) or 0, int(group), microseconds(try_at) or 0, _tries(tries))


def _number(field: str) -> int | None:
    return int(field) if field.isdigit() and field != "0" else None


def _plain(field: str) -> str:
    return "" if field == "<null>" else field


def _invite(f: list[str]) -> Invite:
    return Invite(
        f[1], f"{f[2]}|{f[3]}", microseconds(f[4]) or 0, int(f[5]), f[6], _text(f[7]) or "", _caller(f[8])
    )


def _ended(f: list[str]) -> Ended:
    return Ended(
        call_id=f[1],
        at=microseconds(f[2]) or 0,
        ringing=_rang(f[1], f[3]),
        answered=_was_answered(f[1], f[4]),
        by=Party(f[5]),
        reason=Reason(f[6]) if f[6] else None,
        sip_code=_number(f[7]),
        q850_cause=_number(f[8]),
        tries=_tries(f[9]),
        received_at=microseconds(f[10]),
        trunk_group=_number(f[11]),
        dialled=_text(f[12]) or "",
        caller=_caller(f[13]),
        sealed=_plain(f[14]),
        media=f[15:16] == ["1"],
    )


_READERS: dict[str, Callable[[list[str]], Signal]] = {
    "I": _invite,
    "G": lambda f: Ringing(f[1], microseconds(f[2]) or 0, int(f[3])),
    "A": lambda f: Answered(f[1], microseconds(f[2]) or 0, int(f[3]), microseconds(f[4]) or 0, _tries(f[5])),
    "E": _ended,
    "L": lambda f: Live(f[1], _rang(f[1], f[2]), _was_answered(f[1], f[3]), _plain(f[4])),
    "D": lambda f: Dialogs(f[1], f[2] == "1", f[3].split("^"), f[4].split("^")),
    "M": lambda f: MediaFailed(f[1], f[2] == "1"),
    "T": lambda f: Told(int(f[1])),
    "B": lambda f: Banned(f[1]),
    "O": lambda f: TurnedAway(int(f[1])),
    "U": lambda f: StoodStill(),
    "Z": lambda f: Stopping(),
    "Y": lambda f: TargetHealth(f[2], f[1] == "1"),
}


def read(line: str) -> Signal:
    """One line of Kamailio's. Raises WireError."""
    fields = line.split("|")
    try:
        return _READERS[fields[0]](fields)
    except (KeyError, IndexError, ValueError) as error:
        raise WireError(f"a line of kind {fields[0][:1]!r} from the edge cannot be read") from error


class Leg(msgspec.Struct, frozen=True):
    """One way to the callee: through which trunk, under which URIs, showing what."""

    trunk_group: int
    request_uri: str
    destination_uri: str
    #: `udp`, `tcp` or `tls`; with a 6 behind it over IPv6
    transport: str
    #: user@host of our From
    cli: str
    #: one more header line with the CLI, or nothing
    header: str = ""
    #: of the announcer: how the call ends behind it; "": it goes on to the next leg
    end: str = ""


class End(msgspec.Struct, frozen=True):
    """How a call ends that has been announced something."""

    sip_code: int
    q850_cause: int
    reason: str
    by: Party
    #: whoever hangs up meanwhile has given up; else that changes nothing of why they were not connected
    waits: bool = False

    def __str__(self) -> str:
        end = f"{self.sip_code},{self.q850_cause},{self.reason},{self.by}"
        return f"{end},waits" if self.waits else end


class Manner(msgspec.Struct, frozen=True):
    """What the edge must know of announcements in a call that is connected."""

    #: where the callee is not reached the announcer is asked what to say about it
    announce_end: bool = False
    #: at the answer neither hears the other, until the switch says so
    apart: bool = False
    #: the callee's provisional replies are kept from the caller, who hears something else
    music: bool = False


PLAIN: Final = Manner()


class Patience(msgspec.Struct, frozen=True):
    """How long the edge waits, in ms."""

    #: for the answer, from the first sign of the callee's phone on
    ring: int
    #: for that sign, of a trunk that has said 100 Trying
    progress: int
    #: for anything at all of a trunk
    silence: int


def connect(transaction: str, call_id: str, patience: Patience, sealed: str,
            record: bool, legs: Iterable[Leg], manner: Manner = PLAIN) -> str:  # fmt: skip
    """Continue the suspended INVITE towards these legs, one after the other."""
    heard = "^".join(str(int(each)) for each in (manner.announce_end, manner.apart, manner.music))
    ring, others = patience.ring, f"{patience.progress}^{patience.silence}^{heard}"
    ways = "|".join(_way(leg) for leg in legs)
    return f"C|{transaction}|{call_id}|{ring}|{others}|{sealed}|{int(record)}|{ways}"


def _way(leg: Leg) -> str:
    fields = [str(leg.trunk_group), leg.request_uri, leg.destination_uri, leg.transport, leg.cli, leg.header]
    return "^".join([*fields, leg.end] if leg.end else fields)


def refuse(transaction: str, code: int, phrase: str, cause: int, reason: Reason, sealed: str) -> str:
    """End the suspended INVITE with a SIP response code and a Q.850 cause."""
    return f"R|{transaction}|{code}|{phrase}|{cause}|{reason}|{sealed}"


def let_go(call_id: str, refusal: str = "") -> str:
    """An answered caller has been told everything: the edge hangs up.

    `refusal` is a line of `refuse` that says why; without it the edge knows.
    """
    return f"V|{call_id}|{refusal}"


def stored(call_ids: Iterable[str]) -> str:
    """The ends of these calls are in the database; the edge may forget them."""
    return "K|" + "|".join(call_ids)


def tell_all(number: int) -> str:
    """Ask for every live call and every end not yet acknowledged; `Told` closes the answer."""
    return f"S|{number}"


def ready(digest_trunks: int, calls_per_second: float | None = None) -> str:
    """The switch decides from now on, and takes so many calls a second (None: all that come)."""
    if calls_per_second is None:
        return f"H|{digest_trunks}|0|1"
    parts = _PARTS_FOR_FEW if calls_per_second < _FEW_CALLS else _PARTS_OF_SECOND
    return f"H|{digest_trunks}|{max(round(calls_per_second / parts), 1)}|{parts}"


def end_call(call_id: str, reason: Reason, q850_cause: int) -> str:
    """The platform ends this call; the answer is `Dialogs`."""
    return f"X|{call_id}|{reason}|{q850_cause}"
