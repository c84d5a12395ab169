"""A phone of a simulated carrier: makes calls, and takes them as its behaviour says."""

import asyncio
from typing import TYPE_CHECKING, Any

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.codecs import CODECS, tone_payloads
from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.leaks import name_for
from xiaohao.simulator.outgoing import OutgoingCall

if TYPE_CHECKING:
    from xiaohao.simulator.carrier import Carrier


class Phone:
    """One subscriber. `number` is canonical (+8613800000001); `tone_hz` is what it says in every call.

    `codec` is the one it likes best ("PCMA", "PCMU", "G722", "opus", "AMR"); it always knows G.711 as well.
    `behaviour` may be replaced at any time and holds for the next call.
    """

    def __init__(
        self,
        carrier: "Carrier",
        number: str,
        *,
        tone_hz: int,
        codec: str = "PCMA",
        behaviour: Behaviour | None = None,
    ) -> None:
        self.number, self.tone_hz = number, tone_hz
        self.name = name_for(number)
        self.behaviour = behaviour or Behaviour()
        liked = codec.upper()
        self.codecs = (liked, *(name for name in ("PCMA", "PCMU") if name != liked))
        if liked not in CODECS:
            raise ValueError(f"no such codec: {codec}; there are {', '.join(CODECS)}")
        tone_payloads(liked, tone_hz)
        self.carrier = carrier
        #: calls that came in and were not taken by `next_call` yet
        self.incoming: asyncio.Queue[IncomingCall] = asyncio.Queue()
        #: all calls of this phone, in both directions, the oldest first
        self.calls: list[OutgoingCall | IncomingCall] = []

    async def call(self, dialled: str, **options: Any) -> OutgoingCall:
        """Dial `dialled` (canonical, or as it shall stand in the URI) through the carrier; returns at once.

        Options: `headers` (name → value, or None to leave one out), `late_offer` (INVITE without SDP),
        `session_expires` in seconds and `refresher` ("uac" or "uas") (RFC 4028), `reliable` ("supported",
        "required" or "no": 100rel), `withhold` (no caller's number).
        """
        call = OutgoingCall(self, self.carrier, dialled, **options)
        self.calls.append(call)
        self.carrier.know(call)
        call.start()
        return call

    async def next_call(self, timeout: float = 15.0) -> IncomingCall:  # noqa: ASYNC109 - the waiting is all it does
        """The next call that comes in, or came in and was not taken yet. Raises TimeoutError."""
        return await asyncio.wait_for(self.incoming.get(), timeout)
