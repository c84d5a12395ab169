"""Building and reading SIP messages, on top of aiosipua's parser (RFC 3261).

A `Hop` is where a message goes to or comes from: IP address and port.
"""

import os
import re
import time
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from aiosipua.headers import parse_uri, parse_via, stringify_via
from aiosipua.message import SipRequest, SipResponse

from xiaohao.edge.addresses import in_uri

Hop = tuple[str, int]
Direction = Literal["in", "out", "lost"]

_USER: Final = re.compile(r"(?:sips?:([^@<>]*)@|tel:([^;>\s]*))", re.IGNORECASE)
_ANGLE: Final = re.compile(r"<([^>]*)>")
_TAG: Final = re.compile(r";\s*tag\s*=\s*([^;\s]+)", re.IGNORECASE)

PHRASES: Final = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    302: "Moved Temporarily",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    422: "Session Interval Too Small",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    503: "Service Unavailable",
    603: "Decline",
}


class Logged(NamedTuple):
    """One SIP message as it was on the wire.

    `at_us` is microseconds since the epoch; `direction` is "in", "out", or "lost" for a message that arrived
    and was ignored because the phone's behaviour drops packets.
    """

    at_us: int
    direction: Direction
    raw: bytes


def now_us() -> int:
    """Microseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1000


def new_branch() -> str:
    """A Via branch with RFC 3261's magic cookie."""
    return f"z9hG4bK{os.urandom(10).hex()}"


def new_tag() -> str:
    """A From or To tag with 64 random bits (RFC 3261 §19.3 asks for 32)."""
    return os.urandom(8).hex()


def user_in(header: str | None) -> str:
    """The user part of the first SIP or tel URI in a header value, without its parameters; "" if none."""
    found = _USER.search(header or "")
    if not found:
        return ""
    return unquote((found.group(1) or found.group(2) or "").split(";", 1)[0].split(":", 1)[0])


def uri_in(header: str) -> str:
    """The URI of a name-addr or addr-spec header value, with its parameters where it stands in <>."""
    found = _ANGLE.search(header)
    return found.group(1) if found else header.split(";", 1)[0].strip()


def tag_in(header: str | None) -> str:
    """The tag parameter of a From or To header value; "" if it has none."""
    found = _TAG.search((header or "").rpartition(">")[2] or (header or ""))
    return found.group(1) if found else ""


def hop_of(uri: str) -> Hop:
    """Where a SIP URI points to; port 5060 unless it names one. Host names are not looked up."""
    parsed = parse_uri(uri)
    host = str(parsed.params.get("maddr") or parsed.host)
    return host.strip("[]"), parsed.port or 5060


def place(hop: Hop) -> str:
    """Host and port as a URI or Via has them."""
    return f"{in_uri(hop[0])}:{hop[1]}"


def option_tags(message: SipRequest | SipResponse, name: str) -> set[str]:
    """The tokens of a comma-separated header such as Supported, Require or Allow, in lower case."""
    return {
        token.strip().lower()
        for value in message.headers.get(name)
        for token in value.split(",")
        if token.strip()
    }


def first(message: SipRequest | SipResponse, *names: str) -> str:
    """The first value of the first of these headers that is there; "" if none is."""
    for name in names:
        value = message.headers.get_first(name)
        if value is not None:
            return value
    return ""


def cseq_of(message: SipRequest | SipResponse) -> tuple[int, str]:
    """Number and method of the CSeq header; (0, "") where it is missing or damaged."""
    number, _, method = first(message, "cseq").strip().partition(" ")
    return (int(number), method.strip()) if number.isdigit() else (0, "")


def top_branch(message: SipRequest | SipResponse) -> str:
    """The branch of the topmost Via; "" if there is none."""
    via = message.headers.get_first("via")
    return (parse_via(via).branch or "") if via else ""


def sent_by(message: SipRequest | SipResponse) -> str:
    """The sent-by part of the topmost Via: part of a server transaction's key (RFC 3261 §17.2.3)."""
    via = message.headers.get_first("via")
    if not via:
        return ""
    parsed = parse_via(via)
    return f"{parsed.host}:{parsed.port or 5060}".lower()


def stamp_source(request: SipRequest, source: Hop) -> None:
    """Write where the request really came from into its topmost Via (RFC 3261 §18.2.1, RFC 3581 §4)."""
    vias = request.headers.get("via")
    if not vias:
        return
    via = parse_via(vias[0])
    wants_port = "rport" in via.params
    if wants_port:
        via.params["rport"] = str(source[1])
    if wants_port or via.host.strip("[]") != source[0]:
        via.params["received"] = source[0]
    vias[0] = stringify_via(via)


def reply_hop(request: SipRequest, source: Hop, *, reliable: bool) -> Hop:
    """Where responses to `request` go (RFC 3261 §18.2.2, RFC 3581 §4); over TCP back along its connection."""
    vias = request.headers.get("via")
    if reliable or not vias:
        return source
    via = parse_via(vias[0])
    if via.params.get("rport"):
        return source
    return via.received or via.host.strip("[]"), via.port or 5060


def to_wire(message: SipRequest | SipResponse) -> bytes:
    """The message as bytes, with header names in the case in which they were set.

    aiosipua writes RAck as "Rack": right by RFC 3261 §7.3.1, but not all that we must get on with know that.
    """
    if isinstance(message, SipRequest):
        lines = [f"{message.method} {message.uri} SIP/2.0"]
    else:
        lines = [f"SIP/2.0 {message.status_code} {message.reason_phrase}"]
    for name, values in message.headers.items():
        if name.lower() != "content-length":
            lines += [f"{name}: {value}" for value in values]
    lines += [f"Content-Length: {len(message.body)}", "", ""]
    return "\r\n".join(lines).encode() + message.body


def response_to(
    request: SipRequest, code: int, phrase: str | None = None, *, tag: str = "", contact: str | None = None
) -> SipResponse:
    """A response with everything RFC 3261 §8.2.6 copies from the request.

    `tag` is added to To where it has none. One that makes a dialog also gets Record-Route and `contact`.
    """
    response = SipResponse(
        status_code=code, reason_phrase=PHRASES.get(code, "") if phrase is None else phrase
    )
    for via in request.headers.get("via"):
        response.headers.append("Via", via)
    makes_dialog = request.method == "INVITE" and 100 < code < 300
    if makes_dialog:
        for route in request.headers.get("record-route"):
            response.headers.append("Record-Route", route)
    response.headers.set_single("From", first(request, "from"))
    to = first(request, "to")
    response.headers.set_single("To", f"{to};tag={tag}" if tag and not tag_in(to) else to)
    response.headers.set_single("Call-ID", first(request, "call-id"))
    response.headers.set_single("CSeq", first(request, "cseq"))
    if contact is not None:
        response.headers.set_single("Contact", contact)
    return response
