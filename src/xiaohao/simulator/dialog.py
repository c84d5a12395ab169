"""Dialogs as a phone keeps them (RFC 3261 §12), on aiosipua's `Dialog`, and the timer of RFC 4028."""

import asyncio
from collections.abc import Callable

from aiosipua.dialog import Dialog
from aiosipua.message import SipRequest, SipResponse

from xiaohao.simulator.wire import Hop, cseq_of, first, hop_of, tag_in, uri_in


def dialog_of_caller(invite: SipRequest, response: SipResponse) -> Dialog:
    """The dialog that a response with a To tag makes at the caller (§12.1.2)."""
    dialog = Dialog(
        call_id=first(invite, "call-id"),
        local_tag=tag_in(first(invite, "from")),
        remote_tag=tag_in(first(response, "to")),
        local_uri=uri_in(first(invite, "from")),
        remote_uri=uri_in(first(invite, "to")),
        local_cseq=cseq_of(invite)[0],
    )
    follow(dialog, response)
    return dialog


def follow(dialog: Dialog, response: SipResponse) -> None:
    """Take the caller's remote target and route set from a response to INVITE (§12.1.2, §13.2.2.4)."""
    retarget(dialog, response)
    if not dialog.remote_target:
        dialog.remote_target = dialog.remote_uri
    dialog.route_set = list(reversed(response.headers.get("record-route")))


def dialog_of_callee(invite: SipRequest, tag: str) -> Dialog:
    """The dialog that our response with the To tag `tag` makes at the callee (§12.1.1)."""
    dialog = Dialog(
        call_id=first(invite, "call-id"),
        local_tag=tag,
        remote_tag=tag_in(first(invite, "from")),
        local_uri=uri_in(first(invite, "to")),
        remote_uri=uri_in(first(invite, "from")),
        route_set=list(invite.headers.get("record-route")),
        remote_cseq=cseq_of(invite)[0],
    )
    retarget(dialog, invite)
    return dialog


def retarget(dialog: Dialog, message: SipRequest | SipResponse) -> None:
    """Take the remote target from a Contact, where there is one (§12.2.1.2, §12.2.2)."""
    contact = message.headers.get_first("contact")
    if contact:
        dialog.remote_target = uri_in(contact)


def request_in(dialog: Dialog, method: str, local: Hop, transport: str) -> SipRequest:
    """A new request in the dialog with the next CSeq number; an ACK keeps the number (the caller sets it)."""
    request = dialog.create_request(method, via_host=local[0], via_port=local[1], via_transport=transport)
    if method == "ACK":
        dialog.local_cseq -= 1
    return request


def next_hop(request: SipRequest) -> Hop:
    """Where a request in a dialog goes: its first Route, else its request URI (§12.2.1.1, loose routing)."""
    route = request.headers.get_first("route")
    return hop_of(uri_in(route) if route else request.uri)


class SessionTimer:
    """Refreshes a session at half its interval, or ends it when the other side does not (RFC 4028 §10)."""

    def __init__(self, refresh: Callable[[], None], expire: Callable[[], None]) -> None:
        self.interval_s = 0
        self.we_refresh = False
        self._refresh, self._expire = refresh, expire
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, interval_s: int, *, we_refresh: bool) -> None:
        """Start anew with this interval."""
        self.stop()
        self.interval_s, self.we_refresh = interval_s, we_refresh
        loop = asyncio.get_running_loop()
        if we_refresh:
            self._handle = loop.call_later(interval_s / 2, self._refresh)
        else:
            self._handle = loop.call_later(interval_s - min(32.0, interval_s / 3), self._expire)

    def stop(self) -> None:
        """The session has no timer any more."""
        self.interval_s = 0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def read_session_expires(message: SipRequest | SipResponse) -> tuple[int, str]:
    """Seconds and refresher ("uac", "uas" or "") of a Session-Expires header; (0, "") without one."""
    value = first(message, "session-expires", "x")
    seconds, _, parameters = value.partition(";")
    refresher = ""
    for parameter in parameters.split(";"):
        name, _, text = parameter.strip().partition("=")
        if name.strip().lower() == "refresher":
            refresher = text.strip().lower()
    return (int(seconds), refresher) if seconds.strip().isdigit() else (0, "")
