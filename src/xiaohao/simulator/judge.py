"""Finds fault with the SIP that a carrier receives: what no standard allows, though a phone might bear it.

Complaints name methods, codes and sections of the standards; never a number, a name or an address.
"""

from collections import deque
from typing import Final

from aiosipua.message import SipRequest, SipResponse, missing_required_headers

from xiaohao.simulator.wire import cseq_of, first, sent_by, tag_in, top_branch

_COOKIE: Final = "z9hG4bK"
_ONCE: Final = ("from", "to", "call-id", "cseq", "max-forwards", "content-type")
_REMEMBERED: Final = 2000


class Judge:
    """Looks at every message that arrives at one carrier, in the order of arrival."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        #: (Call-ID, their tag, our tag) → session id, version and text of their last session description
        self._descriptions: dict[tuple[str, str, str], tuple[str, int, bytes]] = {}
        #: branches of INVITEs that arrived
        self._invites: deque[str] = deque(maxlen=_REMEMBERED)

    def look(self, message: SipRequest | SipResponse, raw: bytes, our_sent_by: str) -> None:
        """Note what is wrong with a message. `our_sent_by` is what our own Via headers say."""
        if isinstance(message, SipRequest):
            what = message.method
            self._look_at_request(message, what)
        else:
            what = f"{message.status_code} to {cseq_of(message)[1]}"
            self._look_at_response(message, what, our_sent_by)
        for name in _ONCE:
            if len(message.headers.get(name)) > 1:
                self._complain(what, f"more than one {name} (RFC 3261 §7.3.1)")
        head, _, body = raw.partition(b"\r\n\r\n")
        length = first(message, "content-length")
        if (length or "0").strip() != str(len(body)):
            self._complain(what, "Content-Length is not the length of the body (RFC 3261 §20.14)")
        if b"\n" in head.replace(b"\r\n", b""):
            self._complain(what, "a header line ends without CR (RFC 3261 §7)")
        if body and "sdp" in first(message, "content-type").lower():
            self._look_at_description(message, body, what)

    def stray(self, response: SipResponse) -> None:
        """Note a response that belongs to no request of ours."""
        self._complain(
            f"{response.status_code} to {cseq_of(response)[1]}", "answers no request (RFC 3261 §17.1.3)"
        )

    def _complain(self, what: str, fault: str) -> None:
        self.complaints.append(f"{what}: {fault}")

    def _look_at_request(self, request: SipRequest, what: str) -> None:
        for name in missing_required_headers(request):
            self._complain(what, f"no {name} (RFC 3261 §8.1.1)")
        if not first(request, "max-forwards").strip().isdigit():
            self._complain(what, "no Max-Forwards (RFC 3261 §8.1.1.6)")
        if not top_branch(request).startswith(_COOKIE):
            self._complain(what, "a branch without the magic cookie (RFC 3261 §8.1.1.7)")
        if not tag_in(first(request, "from")):
            self._complain(what, "From without a tag (RFC 3261 §8.1.1.3)")
        if cseq_of(request)[1] != request.method:
            self._complain(what, "CSeq names another method (RFC 3261 §8.1.1.5)")
        if request.method in ("INVITE", "UPDATE") and len(request.headers.get("contact")) != 1:
            self._complain(what, "not exactly one Contact (RFC 3261 §8.1.1.8, RFC 3311 §5.1)")
        if request.method == "INVITE":
            self._invites.append(top_branch(request))

    def look_at_ack(self, ack: SipRequest) -> None:
        """Note an ACK for a 2xx that poses as part of the INVITE's transaction."""
        if top_branch(ack) in self._invites:
            self._complain("ACK", "the branch of its INVITE for a 2xx (RFC 3261 §13.2.2.4)")

    def _look_at_response(self, response: SipResponse, what: str, our_sent_by: str) -> None:
        code, method = response.status_code, cseq_of(response)[1]
        if len(response.headers.get("via")) != 1:
            self._complain(what, "not exactly our own Via (RFC 3261 §8.1.3.3)")
        elif sent_by(response) != our_sent_by:
            self._complain(what, "a Via that is not ours (RFC 3261 §18.1.2)")
        if code > 100 and not tag_in(first(response, "to")):
            self._complain(what, "To without a tag (RFC 3261 §8.2.6.2)")
        if method == "INVITE" and 200 <= code < 300 and len(response.headers.get("contact")) != 1:
            self._complain(what, "not exactly one Contact (RFC 3261 §12.1.1)")

    def _look_at_description(self, message: SipRequest | SipResponse, body: bytes, what: str) -> None:
        """The origin line must keep its session id, and its version tells whether something has changed."""
        tags = tag_in(first(message, "from")), tag_in(first(message, "to"))
        theirs, ours = tags if isinstance(message, SipRequest) else (tags[1], tags[0])
        origin = next((line[2:].split() for line in body.splitlines() if line.startswith(b"o=")), [])
        if len(origin) != 6 or not origin[1].isdigit() or not origin[2].isdigit():
            self._complain(what, "a damaged o= line (RFC 4566 §5.2)")
            return
        key = (first(message, "call-id"), theirs, ours)
        session, version = origin[1].decode(), int(origin[2])
        # the first INVITE came before there was a tag of ours
        known = self._descriptions.get(key) or self._descriptions.get((*key[:2], ""))
        self._descriptions[key] = (session, version, body)
        if known is None:
            return
        if known[0] != session:
            self._complain(what, "another session id in o= (RFC 3264 §8)")
        elif version < known[1]:
            self._complain(what, "an older version in o= (RFC 3264 §8)")
        elif version == known[1] and body != known[2]:
            self._complain(what, "other SDP with the same version in o= (RFC 3264 §8)")
        elif version > known[1] + 1:
            self._complain(what, "a version in o= that is more than one higher (RFC 3264 §8)")

    def forget(self, call_id: str) -> None:
        """Drop what is known of a call."""
        for key in [key for key in self._descriptions if key[0] == call_id]:
            del self._descriptions[key]
