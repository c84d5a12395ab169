"""A simulated carrier: a SIP trunk with any number of phones behind one socket."""

import random
from collections import deque
from typing import Final, Literal

from aiosipua.auth import SipDigestAuth, answer_challenge
from aiosipua.message import SipMessage, SipRequest, SipResponse

from xiaohao.edge.addresses import in_uri
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.call import CallState
from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.judge import Judge
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.rtp import MediaClock
from xiaohao.simulator.signalling import ALLOW
from xiaohao.simulator.spelling import NumberForm, Spelling, find_number, spell
from xiaohao.simulator.transaction import ServerTransaction, Timers, Transactions
from xiaohao.simulator.transport import Certificate, TcpTransport, Transport, UdpTransport
from xiaohao.simulator.wire import (
    Direction,
    Hop,
    Logged,
    first,
    new_branch,
    new_tag,
    now_us,
    place,
    response_to,
    tag_in,
    to_wire,
    user_in,
)

_WITHHELD: Final = '"Anonymous" <sip:anonymous@anonymous.invalid>'

Call = OutgoingCall | IncomingCall


class Carrier:
    """Phones, and the trunk between them and `edge`.

    `number_form` is how the carrier spells canonical numbers in what it sends; `cli_header` where it puts the
    caller's number. With "pai" and "rpid" From holds `pilot`, a number of the trunk itself.
    `options_reply` is the code that OPTIONS gets; None = no answer. With `username` and `password` it answers
    digest challenges. `advertise` is the host in what it sends, where that is not `bind_host`.
    `certificate` is paths of a certificate and its key (PEM), for the transport "tls".
    `history` bounds how many SIP messages are kept, `keep_audio_s` how many seconds of audio of each call.
    """

    product = "xiaohao-simulator"

    def __init__(
        self,
        bind_host: str,
        port: int = 0,
        *,
        edge: Hop,
        transport: Literal["udp", "tcp", "tls"] = "udp",
        certificate: Certificate | None = None,
        number_form: NumberForm = Spelling.E164,
        cli_header: Literal["from", "pai", "rpid"] = "from",
        pilot: str = "+861000000000",
        options_reply: int | None = 200,
        username: str | None = None,
        password: str = "",
        advertise: str | None = None,
        timers: Timers | None = None,
        history: int = 200_000,
        keep_audio_s: float = 120.0,
    ) -> None:
        self.media_host, self._port, self.edge = bind_host, port, edge
        #: in what it sends; an IPv6 address without brackets
        self.host = advertise or bind_host
        self.number_form, self.cli_header, self.pilot = number_form, cli_header, pilot
        self.options_reply = options_reply
        #: (code, phrase) that every INVITE gets in place of a phone's reaction: a trunk in trouble
        self.refuse_all: tuple[int, str] | None = None
        #: True: whatever arrives is ignored, as if the carrier were unplugged
        self.silent = False
        self.keep_audio_s = keep_audio_s
        self.messages: deque[Logged] = deque(maxlen=history)
        self.phones: dict[str, Phone] = {}
        #: what went wrong here or was wrong in what came; a strict test checks that it is empty
        self.errors: list[BaseException] = []
        self.clock = MediaClock()
        self._judge = Judge()
        self._auth = SipDigestAuth(username, password) if username else None
        if (transport == "tls") != (certificate is not None):
            raise ValueError("a certificate goes with the transport tls, and only with it")
        self._transport: Transport
        if transport == "udp":
            self._transport = UdpTransport(self._receive)
        else:
            self._transport = TcpTransport(self._receive, certificate)
        self.transport_name = self._transport.name
        self.transactions = Transactions(
            self._send, reliable=self._transport.reliable, timers=timers or Timers()
        )
        self.address: Hop = (self.host, port)
        self._by_call_id: dict[str, list[Call]] = {}
        self._by_tag: dict[tuple[str, str], Call] = {}
        self._dice: dict[tuple[str, int], random.Random] = {}

    # --- life ---

    async def start(self) -> None:
        """Bind the SIP socket. Raises OSError where the address is taken."""
        bound = await self._transport.start(self.media_host, self._port)
        self.address = (self.host, bound[1])

    async def stop(self) -> None:
        """End everything at once, without farewell to the other side."""
        self.silent = True
        for phone in self.phones.values():
            for call in phone.calls:
                await call.close()
        self.transactions.close()
        await self._transport.stop()

    async def __aenter__(self) -> "Carrier":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def add_phone(
        self, number: str, tone_hz: int, *, codec: str = "PCMA", behaviour: Behaviour | None = None
    ) -> Phone:
        """A new subscriber with this canonical number."""
        phone = Phone(self, number, tone_hz=tone_hz, codec=codec, behaviour=behaviour)
        self.phones[number] = phone
        return phone

    @property
    def complaints(self) -> list[str]:
        """What is wrong with the SIP that came in, by the standards; an edge in order leaves this empty."""
        return self._judge.complaints

    def forget_ended(self) -> None:
        """Drop all that is known of calls that are over, so that long runs do not grow."""
        for phone in self.phones.values():
            ended = [call for call in phone.calls if call.state is CallState.ENDED]
            phone.calls = [call for call in phone.calls if call.state is not CallState.ENDED]
            for call in ended:
                self._judge.forget(call.call_id)
                self._by_call_id.pop(call.call_id, None)
                for tag, _ in call.dialogs:
                    self._by_tag.pop((call.call_id, tag), None)

    def failed(self, error: BaseException | None) -> None:
        """Note that something is wrong."""
        if error is not None:
            self.errors.append(error)

    def know(self, call: Call, tag: str | None = None) -> None:
        """From now on this call gets the messages of its Call-ID, and those to our `tag`."""
        calls = self._by_call_id.setdefault(call.call_id, [])
        if call not in calls:
            calls.append(call)
        if tag is not None:
            self._by_tag[call.call_id, tag] = call

    # --- how this carrier writes ---

    def spelled(self, number: str) -> str:
        """`number` as this carrier writes it."""
        return spell(number, self.number_form)

    def via(self) -> str:
        """A new Via value with its own branch, asking for the port back (RFC 3581)."""
        return f"SIP/2.0/{self.transport_name} {place(self.address)};branch={new_branch()};rport"

    def contact(self, phone: Phone) -> str:
        """The Contact value of a phone."""
        name = self.transport_name.lower()
        parameter = f";transport={name}" if name != "udp" else ""
        return f"<sip:{phone.number}@{place(self.address)}{parameter}>"

    def caller_headers(self, phone: Phone, *, withhold: bool) -> dict[str, str]:
        """The headers that say who calls: From (without tag) and, where the carrier uses it, PAI or RPID."""
        if withhold:
            return {"From": _WITHHELD, "Privacy": "id"}
        name = f'"{phone.name}" ' if phone.behaviour.leaky_headers else ""
        uri = f"{name}<sip:{self.spelled(phone.number)}@{in_uri(self.host)}>"
        if self.cli_header == "from":
            return {"From": uri}
        pilot = {"From": f"<sip:{self.spelled(self.pilot)}@{in_uri(self.host)}>"}
        if self.cli_header == "pai":
            return pilot | {"P-Asserted-Identity": uri}
        return pilot | {"Remote-Party-ID": f"{uri};party=calling;screen=yes;privacy=off"}

    def with_credentials(self, request: SipRequest, challenge: SipResponse) -> SipRequest | None:
        """The request again, with an answer to a 401 or 407 and a new branch; None where there is no answer.

        The CSeq number is the caller's business.
        """
        if self._auth is None:
            return None
        answer = answer_challenge(self._auth, challenge, challenge.status_code, request.method, request.uri)
        if answer is None:
            return None
        again = SipRequest(
            method=request.method, uri=request.uri, headers=request.headers.copy(), body=request.body
        )
        again.headers.get("via")[0] = self.via()
        again.headers.set_single(*answer)
        return again

    # --- sending ---

    def _log(self, direction: Direction, raw: bytes, call_id: str) -> None:
        logged = Logged(now_us(), direction, raw)
        self.messages.append(logged)
        for call in self._by_call_id.get(call_id, ()):
            call.messages.append(logged)

    def _send(self, raw: bytes, hop: Hop) -> None:
        self._log("out", raw, _call_id_of(raw))
        self._transport.send(raw, hop)

    def send_request(self, request: SipRequest, hop: Hop) -> None:
        """Send a request that has no transaction of its own: the ACK of a 2xx."""
        self._send(to_wire(request), hop)

    async def ping(self, target: Hop | None = None) -> int:
        """Send OPTIONS to the edge; gives the final code, 408 where none came."""
        hop = target or self.edge
        uri = f"sip:{place(hop)}"
        request = SipRequest(method="OPTIONS", uri=uri)
        request.headers.append("Via", self.via())
        headers = {
            "Max-Forwards": "70",
            "From": f"<sip:{place(self.address)}>;tag={new_tag()}",
            "To": f"<{uri}>",
            "Call-ID": f"{new_tag()}@{self.host}",
            "CSeq": "1 OPTIONS",
            "User-Agent": self.product,
        }
        for name, value in headers.items():
            request.headers.set_single(name, value)
        return (await self.transactions.ask(request, hop)).status_code

    # --- receiving ---

    def _receive(self, raw: bytes, source: Hop) -> None:
        if self.silent:
            return
        try:
            message = SipMessage.parse(raw)
        except ValueError as error:
            self.failed(error)
            return
        call_id = first(message, "call-id")
        owner = self._owner(message, call_id)
        if owner is not None and self._is_dropped(owner):
            self._log("lost", raw, call_id)
            return
        self._log("in", raw, call_id)
        self._judge.look(message, raw, place(self.address))
        try:
            if isinstance(message, SipResponse):
                if not self.transactions.receive_response(message):
                    self._judge.stray(message)
            else:
                self._receive_request(message, raw, source)
        except (ValueError, RuntimeError, LookupError) as error:
            self.failed(error)

    def _owner(self, message: SipRequest | SipResponse, call_id: str) -> Phone | None:
        calls = self._by_call_id.get(call_id)
        if calls:
            return calls[-1].phone
        if isinstance(message, SipRequest) and message.method == "INVITE":
            return find_number(user_in(message.uri), self.phones)
        return None

    def _is_dropped(self, phone: Phone) -> bool:
        share, key = phone.behaviour.drop_packets, (phone.number, phone.behaviour.seed)
        if share <= 0:
            return False
        if key not in self._dice:
            self._dice[key] = random.Random(key[1])  # noqa: S311 - must be repeatable
        return self._dice[key].random() < share

    def _receive_request(self, request: SipRequest, raw: bytes, source: Hop) -> None:
        transaction = self.transactions.receive_request(request, source)
        if transaction is None:
            return
        call_id, tag = first(request, "call-id"), tag_in(first(request, "to"))
        call = self._by_tag.get((call_id, tag)) if tag else None
        if request.method == "ACK":
            self._judge.look_at_ack(request)
            if call is not None:
                call.on_ack(request)
        elif request.method == "CANCEL":
            self._cancel(transaction)
        elif call is not None and not call.behaviour.never_reply:
            call.on_request(transaction)
        elif tag:
            transaction.respond(response_to(request, 481))
        elif request.method == "INVITE":
            self._invite(transaction, raw)
        elif request.method == "OPTIONS":
            self._options(transaction)
        else:
            response = response_to(request, 405, tag=new_tag())
            response.headers.set_single("Allow", ALLOW)
            transaction.respond(response)

    def _invite(self, transaction: ServerTransaction, raw: bytes) -> None:
        request = transaction.request
        phone = find_number(user_in(request.uri), self.phones)
        if self.refuse_all is not None:
            transaction.respond(response_to(request, *self.refuse_all, tag=new_tag()))
            return
        if phone is None:
            transaction.respond(response_to(request, 404, tag=new_tag()))
            return
        call = IncomingCall(phone, self, transaction)
        phone.calls.append(call)
        self.know(call)
        call.messages.append(Logged(now_us(), "in", raw))
        call.start()
        phone.incoming.put_nowait(call)

    def _cancel(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        invite = self.transactions.invite_of(request)
        if invite is None:
            transaction.respond(response_to(request, 481, tag=new_tag()))
            return
        call = next(
            (
                call
                for call in self._by_call_id.get(first(request, "call-id"), [])
                if isinstance(call, IncomingCall) and call.invite_transaction_key == invite.key
            ),
            None,
        )
        if call is None or call.behaviour.never_reply:
            return
        transaction.respond(response_to(request, 200, tag=call.tag))
        call.on_cancel(request)

    def _options(self, transaction: ServerTransaction) -> None:
        if self.options_reply is not None:
            response = response_to(transaction.request, self.options_reply, tag=new_tag())
            response.headers.set_single("Allow", ALLOW)
            transaction.respond(response)


def _call_id_of(raw: bytes) -> str:
    """The Call-ID of a message that we made ourselves."""
    start = raw.index(b"\r\nCall-ID: ") + 11
    return raw[start : raw.index(b"\r\n", start)].decode()
