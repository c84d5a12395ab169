"""SIP transactions with all their timers (RFC 3261 §17, with the Accepted states of RFC 6026).

The layer matches what arrives to its transactions, sends retransmissions and absorbs those of the other side.
Everything that makes a decision is the transaction user's: `Carrier` and `PhoneCall`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiosipua.message import SipRequest, SipResponse

from xiaohao.simulator.wire import Hop, cseq_of, first, reply_hop, sent_by, stamp_source, to_wire, top_branch

Key = tuple[str, ...]
Send = Callable[[bytes, Hop], None]


@dataclass(frozen=True)
class Timers:
    """RFC 3261's base timers, in seconds; a test may shorten them."""

    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0

    @property
    def give_up_s(self) -> float:
        """64 × T1: timers B, D, F, H, J, L and M."""
        return 64 * self.t1_s


class Repeater:
    """Calls `send` again and again: after `interval_s`, then after twice that each time, up to `most_s`."""

    def __init__(self, send: Callable[[], None], interval_s: float, most_s: float) -> None:
        self._send, self._interval, self._most = send, interval_s, most_s
        self._due = asyncio.get_running_loop().time()
        self._handle: asyncio.TimerHandle | None = None
        self._arm()

    def _arm(self) -> None:
        # counted from when the last one was due, so that lateness does not add up
        self._due += self._interval
        self._handle = asyncio.get_running_loop().call_at(self._due, self._fire)

    def _fire(self) -> None:
        self._interval = min(2 * self._interval, self._most)
        self._arm()
        self._send()

    def slow_down(self) -> None:
        """From now on repeat at the longest interval (timer E in the state Proceeding)."""
        self._interval = self._most

    def stop(self) -> None:
        """No more repeats."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class ClientTransaction:
    """One request that we sent and its responses."""

    def __init__(
        self,
        layer: "Transactions",
        request: SipRequest,
        hop: Hop,
        on_response: Callable[[SipResponse], None],
        on_timeout: Callable[[], None],
    ) -> None:
        self.request, self.hop = request, hop
        self.provisional = False
        self.final: int | None = None
        self._layer, self._on_response, self._on_timeout = layer, on_response, on_timeout
        self._raw = to_wire(request)
        self._ack: bytes | None = None
        timers = layer.timers
        invite = request.method == "INVITE"
        self._repeater: Repeater | None = None
        if not layer.reliable:
            longest = timers.give_up_s if invite else timers.t2_s
            self._repeater = Repeater(self._send, timers.t1_s, longest)
        self._deadline = asyncio.get_running_loop().call_later(timers.give_up_s, self._give_up)
        self._send()

    @property
    def key(self) -> Key:
        """What a response must carry to belong here (RFC 3261 §17.1.3)."""
        return top_branch(self.request), self.request.method

    def _send(self) -> None:
        self._layer.send(self._raw, self.hop)

    def _give_up(self) -> None:
        self.stop()
        self._layer.forget(self)
        if self.final is None:
            self._on_timeout()

    def receive(self, response: SipResponse) -> None:
        """Take a response; hand it to the user unless it is a repeat that needs only its ACK."""
        code, invite = response.status_code, self.request.method == "INVITE"
        if code < 200:
            if self.final is not None:
                return
            self.provisional = True
            if invite:
                self.stop()
            elif self._repeater is not None:
                self._repeater.slow_down()
            self._on_response(response)
            return
        repeat = self.final is not None
        self.final = self.final or code
        if not repeat:
            self.stop()
            linger = self._layer.timers.give_up_s if invite else self._layer.timers.t4_s
            self._deadline = asyncio.get_running_loop().call_later(linger, self._layer.forget, self)
        if invite and code >= 300:
            self._acknowledge(response)
        if not repeat or (invite and code < 300):
            self._on_response(response)

    def _acknowledge(self, response: SipResponse) -> None:
        """ACK a refusal inside the transaction (RFC 3261 §17.1.1.3)."""
        if self._ack is None:
            request = self.request
            ack = SipRequest(method="ACK", uri=request.uri)
            ack.headers.append("Via", first(request, "via"))
            for route in request.headers.get("route"):
                ack.headers.append("Route", route)
            for name, value in (("From", first(request, "from")), ("To", first(response, "to"))):
                ack.headers.set_single(name, value)
            ack.headers.set_single("Call-ID", first(request, "call-id"))
            ack.headers.set_single("CSeq", f"{cseq_of(request)[0]} ACK")
            ack.headers.set_single("Max-Forwards", "70")
            self._ack = to_wire(ack)
        self._layer.send(self._ack, self.hop)

    def stop(self) -> None:
        """Stop all timers."""
        self._deadline.cancel()
        if self._repeater is not None:
            self._repeater.stop()


class ServerTransaction:
    """One request that we received and our responses to it."""

    def __init__(self, layer: "Transactions", request: SipRequest, source: Hop) -> None:
        self.request = request
        self.hop = reply_hop(request, source, reliable=layer.reliable)
        self.final: int | None = None
        self.acknowledged = False
        #: called when a final response to INVITE was never acknowledged
        self.on_no_ack: Callable[[], None] | None = None
        self._layer = layer
        self._last: bytes | None = None
        self._repeater: Repeater | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def key(self) -> Key:
        """RFC 3261 §17.2.3: branch, sent-by and method."""
        return top_branch(self.request), sent_by(self.request), self.request.method

    def repeat(self) -> None:
        """The request came again: send the last response again."""
        if self._last is not None and not self.acknowledged:
            self._layer.send(self._last, self.hop)

    def respond(self, response: SipResponse) -> None:
        """Send a response. A final one to INVITE is repeated until its ACK; after it nothing is sent."""
        if self.final is not None:
            return
        self._last = to_wire(response)
        self._layer.send(self._last, self.hop)
        if response.status_code < 200:
            return
        self.final = response.status_code
        timers = self._layer.timers
        loop = asyncio.get_running_loop()
        if self.request.method != "INVITE":
            self._deadline = loop.call_later(timers.give_up_s, self._layer.forget, self)
            return
        # a 2xx is repeated end to end even where each hop is reliable (RFC 3261 §13.3.1.4)
        if not self._layer.reliable or self.final < 300:
            self._repeater = Repeater(self.repeat, timers.t1_s, timers.t2_s)
        self._deadline = loop.call_later(timers.give_up_s, self._no_ack)

    def acknowledge(self) -> None:
        """The ACK has come: repeat no more, but stay to absorb late copies of the request."""
        self.acknowledged = True
        self.stop()
        self._deadline = asyncio.get_running_loop().call_later(
            self._layer.timers.t4_s, self._layer.forget, self
        )

    def _no_ack(self) -> None:
        self.stop()
        self._layer.forget(self)
        if self.on_no_ack is not None and not self.acknowledged:
            self.on_no_ack()

    def stop(self) -> None:
        """Stop all timers."""
        if self._repeater is not None:
            self._repeater.stop()
        if self._deadline is not None:
            self._deadline.cancel()


class Transactions:
    """All transactions of one SIP socket."""

    def __init__(self, send: Send, *, reliable: bool, timers: Timers) -> None:
        self.send, self.reliable, self.timers = send, reliable, timers
        self._clients: dict[Key, ClientTransaction] = {}
        self._servers: dict[Key, ServerTransaction] = {}

    def request(
        self,
        request: SipRequest,
        hop: Hop,
        on_response: Callable[[SipResponse], None],
        on_timeout: Callable[[], None],
    ) -> ClientTransaction:
        """Send a request. `on_response` gets every response once, a 2xx to INVITE as often as it comes."""
        transaction = ClientTransaction(self, request, hop, on_response, on_timeout)
        self._clients[transaction.key] = transaction
        return transaction

    async def ask(self, request: SipRequest, hop: Hop) -> SipResponse:
        """Send a request other than INVITE and wait for its final response; 408 made here if none comes."""
        answer: asyncio.Future[SipResponse] = asyncio.get_running_loop().create_future()

        def take(response: SipResponse) -> None:
            if response.status_code >= 200 and not answer.done():
                answer.set_result(response)

        def give_up() -> None:
            take(SipResponse(status_code=408, reason_phrase="no response"))

        self.request(request, hop, take, give_up)
        return await answer

    def receive_response(self, response: SipResponse) -> bool:
        """Hand a response to its transaction; False if it belongs to none."""
        transaction = self._clients.get((top_branch(response), cseq_of(response)[1]))
        if transaction is not None:
            transaction.receive(response)
        return transaction is not None

    def receive_request(self, request: SipRequest, source: Hop) -> ServerTransaction | None:
        """The new transaction of a request, or None if it was a repeat or the ACK of a refusal.

        An ACK for a 2xx gets a transaction object too, only to carry it: it is kept nowhere.
        """
        branch, by = top_branch(request), sent_by(request)
        if request.method == "ACK":
            invite = self._servers.get((branch, by, "INVITE"))
            if invite is not None and invite.final is not None and invite.final >= 300:
                invite.acknowledge()
                return None
            return ServerTransaction(self, request, source)
        known = self._servers.get((branch, by, request.method))
        if known is not None:
            known.repeat()
            return None
        stamp_source(request, source)
        transaction = ServerTransaction(self, request, source)
        self._servers[transaction.key] = transaction
        return transaction

    def invite_of(self, cancel: SipRequest) -> ServerTransaction | None:
        """The INVITE that a CANCEL means (RFC 3261 §9.2)."""
        return self._servers.get((top_branch(cancel), sent_by(cancel), "INVITE"))

    def forget(self, transaction: ClientTransaction | ServerTransaction) -> None:
        """Drop a transaction that has run out."""
        self._clients.pop(transaction.key, None)
        self._servers.pop(transaction.key, None)

    def close(self) -> None:
        """Stop every timer."""
        for client in self._clients.values():
            client.stop()
        for server in self._servers.values():
            server.stop()
        self._clients.clear()
        self._servers.clear()
