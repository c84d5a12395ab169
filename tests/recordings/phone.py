"""Phones that send RTP in real time, and calls between two of them through a real rtpengine."""

import asyncio
import random
import socket
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.recordings.audio import CODECS, Heard, listen, payloads
from tests.recordings.ng import Rtpengine
from tests.recordings.synthetic import rtp
from tests.recordings.unseal import KEY, open_file
from xiaohao.recordings import capture
from xiaohao.recordings.convert import convert


class Phone:
    """One socket; `talk` sends a tone, a packet every 20 ms, going on with its sequence and timestamps.

    `talks` are the stretches in which it talked, as (begin, end) in µs since the epoch: on a busy machine
    packets leave late, and what counts is the one that left in time.
    """

    def __init__(self, ssrc: int) -> None:
        self.ssrc = ssrc
        self.sequence, self.timestamp = random.randrange(65536), random.randrange(2**32)
        self.talks: list[tuple[int, int]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))

    def sdp(self, *names: str, direction: str = "sendrecv") -> str:
        types = " ".join(str(CODECS[name].payload_type) for name in names)
        lines = "".join(CODECS[name].sdp_lines() for name in names)
        return (
            f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self._socket.getsockname()[1]} RTP/AVP {types} 101\r\n{lines}"
            f"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na={direction}\r\n"
        )

    def send(self, target: tuple[str, int], data: bytes) -> None:
        self._socket.sendto(data, target)

    async def talk(
        self,
        name: str,
        hz: int,
        target: tuple[str, int],
        seconds: float,
        *,
        loss: float = 0,
        disorder: bool = False,
    ) -> None:
        codec, begin, dice = CODECS[name], time.monotonic(), random.Random(3)
        held: bytes | None = None
        begins = []
        for place, payload in enumerate(payloads(name, hz, round(seconds * 50))):
            await asyncio.sleep(begin + place * 0.02 - time.monotonic())
            packet = rtp(codec.payload_type, self.sequence, self.timestamp, self.ssrc, payload, place == 0)
            self.sequence += 1
            self.timestamp += codec.clock // 50
            if dice.random() < loss:
                continue
            if disorder and held is None and dice.random() < 0.2:
                held = packet
                continue
            self.send(target, packet)
            begins.append(time.time_ns() // 1000 - place * 20_000)
            if held is not None:
                self.send(target, held)
                held = None
        self.talks.append((min(begins), min(begins) + round(seconds * 1e6)))

    def press(self, key: int, target: tuple[str, int]) -> None:
        """One key (RFC 4733) of 100 ms, sent at once."""
        for place in range(5):
            event = bytes([key, 10 | (0x80 if place == 4 else 0)]) + (800 * (place + 1) // 5).to_bytes(
                2, "big"
            )
            self.send(target, rtp(101, self.sequence, self.timestamp, self.ssrc, event, place == 0))
            self.sequence += 1

    def close(self) -> None:
        self._socket.close()


@dataclass
class RecordedCall:
    """A call from the arrival of its INVITE on; `at(s)` waits for a moment of it."""

    engine: Rtpengine
    label: bool = True
    call_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    a: Phone = field(default_factory=lambda: Phone(0xA))
    b: Phone = field(default_factory=lambda: Phone(0xB))
    received_at: int = field(default_factory=lambda: time.time_ns() // 1000)
    ended_at: int = 0
    #: where each of the phones sends to
    a_sends_to: tuple[str, int] = ("", 0)
    b_sends_to: tuple[str, int] = ("", 0)

    async def at(self, seconds: float) -> None:
        await asyncio.sleep(seconds - (time.time_ns() // 1000 - self.received_at) / 1e6)

    def sdp(self, command: str, sender: str, *names: str, direction: str = "sendrecv") -> None:
        """An offer or answer of one side; the other side learns where to send."""
        body = (self.a if sender == "a" else self.b).sdp(*names, direction=direction)
        port = self.engine.sdp(command, sender, body, self.call_id, label=self.label)
        if sender == "a":
            self.b_sends_to = (self.engine.address, port)
        else:
            self.a_sends_to = (self.engine.address, port)

    def connect(self, *names: str) -> None:
        self.sdp("offer", "a", *names)
        self.sdp("answer", "b", *names)

    def end(self, delete: bool = True) -> None:
        self.ended_at = time.time_ns() // 1000
        if delete:
            self.engine.delete(self.call_id)
        self.a.close()
        self.b.close()

    def talked(self, *phones: Phone) -> list[tuple[float, float]]:
        """When these phones talked, in seconds of the call."""
        talks = sorted(talk for phone in phones for talk in phone.talks)
        return [((begin - self.received_at) / 1e6, (end - self.received_at) / 1e6) for begin, end in talks]

    def captures(self) -> list[capture.Capture]:
        return capture.find(self.engine.captures, self.call_id)

    def heard(self, folder: Path) -> Heard:
        """What ffmpeg hears in the recording."""
        sealed, plain = (folder / f"{self.call_id}.{end}" for end in ("sealed", "wav"))
        audio = convert(self.captures(), self.received_at, self.ended_at, "wav", sealed, KEY)
        open_file(sealed, audio.bytes, plain)
        return listen(plain)
