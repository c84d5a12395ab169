"""A call as the user of a phone knows it: its state, what the screen shows and what can be heard."""

import asyncio
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from xiaohao.edge.addresses import in_uri
from xiaohao.simulator.codecs import Samples
from xiaohao.simulator.ear import Ear, RtpStats
from xiaohao.simulator.leaks import Identity, sdp_lines
from xiaohao.simulator.rtp import RtpSession
from xiaohao.simulator.sdp import Negotiation
from xiaohao.simulator.wire import Logged

if TYPE_CHECKING:
    from xiaohao.simulator.carrier import Carrier
    from xiaohao.simulator.phone import Phone


class CallState(StrEnum):
    """How far a phone's call has come."""

    CALLING = "calling"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


class CallOver(Exception):
    """The call ended before what was waited for happened. Carries the final SIP code, never a number."""

    def __init__(self, awaited: str, code: int | None) -> None:
        super().__init__(f"the call ended with {code} before it was {awaited}")
        self.code = code


class PhoneCall:
    """One call of one phone, in either direction. `OutgoingCall` and `IncomingCall` add the signalling.

    Times are the event loop's clock, in seconds, except in `messages`.
    """

    def __init__(self, phone: "Phone", carrier: "Carrier", call_id: str) -> None:
        self.phone, self.carrier, self.call_id = phone, carrier, call_id
        self.behaviour = phone.behaviour
        self.state = CallState.CALLING
        #: the number on the phone's screen, spelled as it came; "" where it is withheld
        self.display = ""
        self.display_name = ""
        #: every SIP message of this call's Call-ID
        self.messages: list[Logged] = []
        #: final response to the INVITE; 408 too where none came at all (then `timed_out`)
        self.final_code: int | None = None
        self.final_phrase = ""
        self.timed_out = False
        #: provisional responses sent or received, in order, without 100
        self.provisional_codes: list[int] = []
        #: Reason header (RFC 3326) of the CANCEL, BYE or refusal received
        self.reason_header: str | None = None
        self.ended_by_us: bool | None = None
        self.began_at = asyncio.get_running_loop().time()
        self.ringing_at: float | None = None
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self._ringing, self._answered, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.identity = Identity(phone.number, phone.name, in_uri(carrier.host))
        self._ear = Ear(keep_s=carrier.keep_audio_s)
        self._media = RtpSession(
            carrier.media_host,
            carrier.clock,
            self._ear,
            cname=f"{phone.number}@{carrier.host}",
            rtcp=self.behaviour.send_rtcp,
        )
        leak_lines = sdp_lines(self.identity) if self.behaviour.leaky_headers else ()
        self._negotiation = Negotiation(self._media, carrier.host, phone.codecs, leak_lines)

    # --- waiting ---

    async def wait_ringing(self, timeout: float = 15.0) -> None:  # noqa: ASYNC109 - the waiting is all it does
        """Wait until it rings here, or the caller hears that it rings there (180 or 183).

        Raises TimeoutError, or CallOver where the call ended without ringing.
        """
        await self._wait(self._ringing, "ringing", timeout)

    async def wait_answered(self, timeout: float = 15.0) -> None:  # noqa: ASYNC109 - the waiting is all it does
        """Wait until the call is answered (at the callee: until the ACK has come).

        Raises TimeoutError, or CallOver where the call ended without an answer.
        """
        await self._wait(self._answered, "answered", timeout)

    async def wait_ended(self, timeout: float = 15.0) -> None:  # noqa: ASYNC109 - the waiting is all it does
        """Wait until the call is over. Raises TimeoutError."""
        await asyncio.wait_for(self._ended.wait(), timeout)

    async def _wait(self, event: asyncio.Event, awaited: str, timeout: float) -> None:  # noqa: ASYNC109 - the waiting is all it does
        if not event.is_set():
            tasks = [asyncio.ensure_future(each.wait()) for each in (event, self._ended)]
            try:
                await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
        if event.is_set():
            return
        if self._ended.is_set():
            raise CallOver(awaited, self.final_code)
        raise TimeoutError(f"the call was not {awaited} within {timeout} s; it is {self.state}")

    # --- state, moved by the signalling ---

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _move_ringing(self) -> None:
        if self.state is CallState.CALLING:
            self.state = CallState.RINGING
            self.ringing_at = self._now()
            self._ringing.set()

    def _move_answered(self) -> None:
        if self.state in (CallState.CALLING, CallState.RINGING):
            self.state = CallState.ANSWERED
            self._answered.set()

    def _move_ended(self, *, by_us: bool) -> None:
        if self.state is CallState.ENDED:
            return
        self.state = CallState.ENDED
        self.ended_at = self._now()
        self.ended_by_us = by_us
        self._media.close()
        self._ended.set()

    # --- hearing ---

    def _hearing_end(self) -> float:
        return self._media.closed_at or Ear.settled(self._now())

    def heard(self, hz: float, seconds: float = 0.5) -> bool:
        """Whether in the last `seconds` (before now, or before the end of the call) the tone `hz` dominated.

        A tenth of the time may be something else (nothing of less than a second). Tones should be 40 Hz apart
        or more.
        """
        end = self._hearing_end()
        return self._ear.tone_seconds(hz, end - seconds, end) > 0.9 * seconds - 0.05

    async def wait_heard(
        self,
        hz: float,
        timeout: float = 15.0,  # noqa: ASYNC109 - the waiting is all it does
        seconds: float = 0.5,
    ) -> bool:
        """Wait until `heard(hz, seconds)`; False if that has not come about within `timeout`."""
        deadline = self._now() + timeout
        while not self.heard(hz, seconds):
            if self._now() >= deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    def heard_silence(self, seconds: float = 0.5) -> bool:
        """Whether in the last `seconds` nothing at all was to be heard."""
        end = self._hearing_end()
        return self._ear.quiet_seconds(end - seconds, end) >= round(seconds - 0.05, 1)

    async def wait_silence(
        self,
        timeout: float = 15.0,  # noqa: ASYNC109 - the waiting is all it does
        seconds: float = 0.5,
    ) -> bool:
        """Wait until `heard_silence(seconds)`; False if that has not come about within `timeout`."""
        deadline = self._now() + timeout
        while not self.heard_silence(seconds):
            if self._now() >= deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    def early_media_heard(self, hz: float, seconds: float = 0.3) -> bool:
        """Whether the tone `hz` was to be heard for `seconds` before the call was answered."""
        end = self.answered_at or self._hearing_end()
        return self._ear.tone_seconds(hz, self._ear.begins or end, end) >= seconds - 0.05

    def tone_seconds(self, hz: float) -> float:
        """For how long in the whole call the tone `hz` dominated, in steps of 0.1 s."""
        end = self._hearing_end()
        return self._ear.tone_seconds(hz, self._ear.begins or end, end)

    def strongest_hz(self, seconds: float = 0.5) -> float | None:
        """The strongest frequency of the last `seconds`; None for silence. For messages of failed tests."""
        end = self._hearing_end()
        return self._ear.strongest_hz(end - seconds, end)

    @property
    def received_audio(self) -> Samples:
        """The audio received (the latest `carrier.keep_audio_s`), mono, 8 kHz, zero where nothing came."""
        return np.asarray(self._ear.audio())

    @property
    def rtp_stats(self) -> RtpStats:
        """Packets sent, received and lost, jitter, and the addresses media came from."""
        return self._ear.count()

    @property
    def dtmf_received(self) -> str:
        """Keys that the other side pressed, by RFC 4733 or INFO, in the order of arrival."""
        return "".join(self._ear.digits)

    @property
    def rtp_packets_raw(self) -> "deque[bytes]":
        """The latest RTP packets as received."""
        return self._ear.raw

    @property
    def rtcp_packets_raw(self) -> list[bytes]:
        """All RTCP packets as received."""
        return self._ear.rtcp

    async def dtmf(self, digits: str, *, in_band: bool = False) -> None:
        """Press keys (RFC 4733, or as tones in the audio) and wait until they are out.

        Raises ValueError where they cannot be sent.
        """
        await asyncio.sleep(self._media.whistle(digits) if in_band else self._media.press(digits))
