"""A phone's RTP and RTCP sockets and the clock that paces all phones of a carrier (RFC 3550, RFC 4733)."""

import asyncio
import contextlib
import itertools
import random
import socket
import time
from struct import Struct
from typing import Final

from xiaohao.simulator.codecs import CODECS, FRAME_S, Codec, key_payloads, tone_payloads
from xiaohao.simulator.ear import Ear
from xiaohao.simulator.wire import Hop

_HEADER: Final = Struct("!BBHII")
_EVENT: Final = Struct("!BBH")
_KEYS: Final = "0123456789*#ABCD"
_PHASES: Final = 4
_STEP_S: Final = FRAME_S / _PHASES
#: after a longer stall than this packets are left out instead of being sent all at once
_MOST_LATE_S: Final = 0.5
_KEY_FRAMES, _KEY_PAUSE_FRAMES, _KEY_ENDS = 5, 3, 3
_FIRST_REPORT, _REPORT_EVERY = 15, 125
_NTP_EPOCH: Final = 2_208_988_800
#: below Linux's ephemeral ports and below the media relay's usual range
_PORTS: Final = range(16384, 29998, 2)
_next_port = itertools.cycle(_PORTS)
for _ in range(random.randrange(len(_PORTS))):  # noqa: S311 - spreads parallel processes, keeps no secret
    next(_next_port)


class MediaClock:
    """Wakes every 5 ms, each session every 20 ms; sessions are spread over the four phases. Never drifts."""

    def __init__(self) -> None:
        self._phases: list[list[RtpSession]] = [[] for _ in range(_PHASES)]
        self._next = 0.0
        self._phase = 0
        self._handle: asyncio.TimerHandle | None = None

    def add(self, session: "RtpSession") -> None:
        """From now on call `session.tick()` every 20 ms."""
        min(self._phases, key=len).append(session)
        if self._handle is None:
            self._next = asyncio.get_running_loop().time()
            self._tick()

    def remove(self, session: "RtpSession") -> None:
        """No more ticks for `session`; the clock stops with its last one."""
        for phase in self._phases:
            if session in phase:
                phase.remove(session)
        if not any(self._phases) and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - self._next > _MOST_LATE_S
        while self._next <= now:
            for session in self._phases[self._phase]:
                session.tick(skip=late)
            self._phase = (self._phase + 1) % _PHASES
            self._next += _STEP_S
        self._handle = loop.call_at(self._next, self._tick)


def _bind_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """An even port and the odd one above it. Raises OSError where none is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(len(_PORTS)):
        port = next(_next_port)
        pair = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
        try:
            for index, each in enumerate(pair):
                each.setblocking(False)
                each.bind((host, port + index))
        except OSError:
            for each in pair:
                each.close()
            continue
        return pair[0], pair[1]
    raise OSError("no free pair of ports for RTP")


class RtpSession:
    """The media of one call: sends a tone and key presses, hears with an `Ear`, reports with RTCP."""

    def __init__(self, host: str, clock: MediaClock, ear: Ear, *, cname: str, rtcp: bool = True) -> None:
        self.ear = ear
        self._clock, self._cname, self._wants_rtcp = clock, cname.encode(), rtcp
        self._rtp, self._rtcp = _bind_pair(host)
        self.port = int(self._rtp.getsockname()[1])
        self.closed_at: float | None = None
        self._remote: Hop | None = None
        self._remote_rtcp: Hop | None = None
        self._last_report = (0, 0.0)
        self._sending = False
        self._codec: Codec = CODECS["PCMA"]
        self._payload_type = 8
        self._event_type: int | None = None
        self._hz = 0
        self._payloads: tuple[bytes, ...] = ()
        self._sequence = random.getrandbits(15)
        self._timestamp = random.getrandbits(31)
        self._ssrc = random.getrandbits(32)
        self._marker = 0x80
        self._frame = 0
        self._octets = 0
        self._keys: list[tuple[bytes, bool, int]] = []
        self._tones: list[bytes] = []
        self._key_started = 0
        loop = asyncio.get_running_loop()
        loop.add_reader(self._rtp, self._on_rtp)
        loop.add_reader(self._rtcp, self._on_rtcp)
        self._loop = loop
        clock.add(self)

    def play(self, hz: int) -> None:
        """Send this tone from now on (0: nothing)."""
        self._hz = hz
        self._payloads = tone_payloads(self._codec.name.upper(), hz) if hz else ()

    def aim(
        self,
        remote: Hop,
        rtcp: Hop,
        *,
        codec: Codec,
        payload_type: int,
        event_type: int | None,
        sending: bool,
    ) -> None:
        """Send to `remote` from now on, with this codec, or be silent."""
        if not self._sending or self._remote != remote:
            self._marker = 0x80
        self._remote, self._remote_rtcp, self._sending = remote, rtcp, sending
        self._payload_type, self._event_type = payload_type, event_type
        if codec is not self._codec:
            self._codec = codec
            self.play(self._hz)
        self.ear.stats.targets.add(remote)

    def press(self, digits: str) -> float:
        """Send key presses (RFC 4733), 100 ms each. Gives the seconds until the last is out.

        Raises ValueError where the far end does not take them or a digit is none of 0-9 * # A-D.
        """
        if self._event_type is None:
            raise ValueError("the far end does not take telephone events")
        for digit in digits.upper():
            event = _KEYS.index(digit)
            for frame in range(1, _KEY_FRAMES + 1):
                self._keys.append((_EVENT.pack(event, 10, frame * 160), frame == 1, 1))
            # the end is said three times (RFC 4733 §2.5.1.4)
            self._keys.append((_EVENT.pack(event, 0x80 | 10, (_KEY_FRAMES + 1) * 160), False, _KEY_ENDS))
            self._keys += [(b"", False, 1)] * _KEY_PAUSE_FRAMES
        return len(self._keys) * FRAME_S

    def whistle(self, digits: str) -> float:
        """Send key presses as the tones they make, in the audio. Gives the seconds until the last is out.

        Raises ValueError where the codec is not G.711 or a digit is none of 0-9 * # A-D.
        """
        for digit in digits.upper():
            self._tones += key_payloads(self._codec.name.upper(), digit)
        return len(self._tones) * FRAME_S

    def tick(self, *, skip: bool = False) -> None:
        """20 ms have passed: send what is due. With `skip` let the time pass without sending."""
        self._frame += 1
        self._timestamp = (self._timestamp + self._codec.step) & 0xFFFFFFFF
        if skip:
            return
        if self._sending and self._remote is not None:
            if self._keys:
                self._send_key()
            elif self._tones or self._payloads:
                tones, payloads = self._tones, self._payloads
                payload = tones.pop(0) if tones else payloads[self._frame % len(payloads)]
                self._send(self._payload_type, payload, self._timestamp, self._marker)
                self._marker = 0
        if self._wants_rtcp and self._frame % _REPORT_EVERY == _FIRST_REPORT:
            self._send_report()

    def _send_key(self) -> None:
        payload, first, times = self._keys.pop(0)
        if not payload or self._event_type is None:
            return
        if first:
            self._key_started = self._timestamp
        for _ in range(times):
            self._send(self._event_type, payload, self._key_started, 0x80 if first else 0)

    def _send(self, payload_type: int, payload: bytes, timestamp: int, marker: int) -> None:
        if self._remote is None:
            return
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = _HEADER.pack(0x80, payload_type | marker, self._sequence, timestamp, self._ssrc) + payload
        try:
            self._rtp.sendto(packet, self._remote)
        except OSError:
            return  # a full socket buffer loses the packet, like any network
        self.ear.stats.packets_sent += 1
        self._octets += len(payload)

    def _send_report(self, *, leaving: bool = False) -> None:
        if self._remote_rtcp is None:
            return
        with contextlib.suppress(OSError):
            self._rtcp.sendto(self._report(leaving=leaving), self._remote_rtcp)

    def _report(self, *, leaving: bool) -> bytes:
        """A compound packet: sender report with one block, SDES with our CNAME, perhaps BYE (RFC 3550 §6)."""
        now = time.time()
        heard, lost, highest, jitter = self.ear.report()
        head = Struct("!BBHIIIIII").pack(
            0x81 if heard else 0x80,
            200,
            12 if heard else 6,
            self._ssrc,
            int(now) + _NTP_EPOCH,
            int(now % 1 * 2**32),
            self._timestamp,
            self.ear.stats.packets_sent,
            self._octets,
        )
        asked, since = self._last_report
        delay = min(round((self._loop.time() - since) * 65536), 0xFFFFFFFF) if asked else 0
        counted = (heard, min(lost, 0x7FFFFF), highest, jitter, asked, delay)
        block = Struct("!IIIIII").pack(*counted) if heard else b""
        item = bytes([1, len(self._cname)]) + self._cname + b"\0"
        item += b"\0" * (-len(item) % 4)
        sdes = Struct("!BBHI").pack(0x81, 202, 1 + len(item) // 4, self._ssrc) + item
        bye = Struct("!BBHI").pack(0x81, 203, 1, self._ssrc) if leaving else b""
        return head + block + sdes + bye

    def _on_rtp(self) -> None:
        # one packet a wake-up: to ask for a second one costs more than the wake-up that a second one brings
        try:
            data, source = self._rtp.recvfrom(2048)
        except OSError:
            return
        self.ear.take_rtp(data, self._loop.time(), source[:2])

    def _on_rtcp(self) -> None:
        try:
            data, source = self._rtcp.recvfrom(2048)
        except OSError:
            return
        self.ear.rtcp.append(data)
        if len(data) >= 28 and data[1] == 200:
            # the middle of its NTP timestamp: with it our next report lets them know the round-trip time
            self._last_report = int.from_bytes(data[10:14]), self._loop.time()
        self.ear.stats.sources.add(source[:2])

    def close(self) -> None:
        """Say good-bye and free the ports. What was heard stays in the ear."""
        if self.closed_at is not None:
            return
        if self._wants_rtcp:
            self._send_report(leaving=True)
        self.closed_at = self._loop.time()
        self._clock.remove(self)
        for each in (self._rtp, self._rtcp):
            self._loop.remove_reader(each)
            each.close()
