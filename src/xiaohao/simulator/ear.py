"""What a phone hears: received RTP on a time line, its statistics, key presses and the tone in it."""

from collections import deque
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from xiaohao.simulator.codecs import CODECS, RATE, Samples, decode

_RTP: Final = Struct("!BBHII")
_RTP_BYTES: Final = 12
_KEYS: Final = "0123456789*#ABCD"
#: a time stamp that disagrees with the arrival by more than this starts a new piece of the time line
_JUMP_S: Final = 0.25
_BLOCK: Final = RATE // 10
#: below this a block is silence: -50 dBFS
_QUIET_RMS: Final = 100.0
_DOMINATES: Final = 0.5
#: a packet is complete this long after it was due: the phone's jitter buffer
_DELAY_S: Final = 0.04


@dataclass
class RtpStats:
    """Counts of one call's media. `jitter_ms` is RFC 3550's interarrival jitter of the latest stream."""

    packets_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    packets_late_or_double: int = 0
    jitter_ms: float = 0.0
    #: addresses that media came from, and addresses that it was sent to
    sources: set[tuple[str, int]] = field(default_factory=set)
    targets: set[tuple[str, int]] = field(default_factory=set)


class _Packet(NamedTuple):
    arrived: float
    ssrc: int
    codec: str
    timestamp: int
    payload: bytes


class _Stream:
    """Sequence numbers and jitter of one SSRC (RFC 3550 appendix A.1, A.3 and A.8)."""

    def __init__(self, sequence: int) -> None:
        self.base = self.highest = sequence
        self.received = 0
        self.doubles = 0
        self.jitter_s = 0.0
        self._seen: deque[int] = deque(maxlen=64)
        self._transit: float | None = None

    def take(self, sequence: int, transit_s: float) -> bool:
        """Count a packet; False if the same one was here just before."""
        extended = self.highest + ((sequence - self.highest + 0x8000) & 0xFFFF) - 0x8000
        if extended > self.highest:
            self.highest = extended
        elif extended in self._seen:
            self.doubles += 1
            return False
        elif extended < self.base:
            self.base = extended
        self._seen.append(extended)
        self.received += 1
        if self._transit is not None:
            self.jitter_s += (abs(transit_s - self._transit) - self.jitter_s) / 16
        self._transit = transit_s
        return True

    @property
    def lost(self) -> int:
        """Packets that never came."""
        return self.highest - self.base + 1 - self.received


class Ear:
    """Listens to one call. Times are the event loop's clock, in seconds.

    `keep_s` bounds how much audio is kept, `raw_packets` how many RTP packets as received, the latest
    of each. RTCP is kept whole.
    """

    def __init__(self, keep_s: float = 120.0, raw_packets: int = 250) -> None:
        self.stats = RtpStats()
        self.digits: list[str] = []
        self.rtcp: list[bytes] = []
        self.raw: deque[bytes] = deque(maxlen=raw_packets)
        #: payload type → codec name, from our own SDP; "TELEPHONE-EVENT" for key presses
        self.formats: dict[int, str] = {}
        self._packets: deque[_Packet] = deque(maxlen=max(1, int(keep_s * 50)))
        self._streams: dict[int, _Stream] = {}
        self._last_key: tuple[int, int] | None = None
        self.latest_ssrc = 0

    def take_rtp(self, data: bytes, arrived: float, source: tuple[str, int]) -> None:
        """Take one datagram of the RTP port; RTCP that shares it (RFC 5761) is told apart by its type."""
        if len(data) < _RTP_BYTES or data[0] >> 6 != 2:
            return
        self.stats.sources.add(source)
        if 192 <= data[1] <= 223:
            self.rtcp.append(data)
            return
        self.raw.append(data)
        first, second, sequence, timestamp, ssrc = _RTP.unpack_from(data)
        name = self.formats.get(second & 0x7F, "")
        codec = CODECS.get(name)
        stream = self._streams.get(ssrc)
        if stream is None:
            stream = self._streams[ssrc] = _Stream(sequence)
        self.latest_ssrc = ssrc
        clock = codec.clock if codec else RATE
        if not stream.take(sequence, arrived - timestamp / clock):
            return
        start = _RTP_BYTES + 4 * (first & 15)
        if name == "TELEPHONE-EVENT":
            self._take_key(data[start:], ssrc, timestamp)
        elif codec is not None:
            self._packets.append(_Packet(arrived, ssrc, name, timestamp, data[start:]))

    def _take_key(self, event: bytes, ssrc: int, timestamp: int) -> None:
        """One key press is many packets with one time stamp (RFC 4733 §2.5)."""
        if len(event) >= 4 and event[0] < len(_KEYS) and self._last_key != (ssrc, timestamp):
            self._last_key = (ssrc, timestamp)
            self.digits.append(_KEYS[event[0]])

    def count(self) -> RtpStats:
        """The statistics as of now."""
        streams = self._streams.values()
        self.stats.packets_received = sum(s.received for s in streams)
        self.stats.packets_lost = sum(s.lost for s in streams)
        self.stats.packets_late_or_double = sum(s.doubles for s in streams)
        latest = self._streams.get(self.latest_ssrc)
        self.stats.jitter_ms = latest.jitter_s * 1000 if latest else 0.0
        return self.stats

    def report(self) -> tuple[int, int, int, int]:
        """SSRC, packets lost, highest sequence number and jitter (8 kHz units) for an RTCP report block."""
        stream = self._streams.get(self.latest_ssrc)
        if stream is None:
            return 0, 0, 0, 0
        return self.latest_ssrc, max(0, stream.lost), stream.highest & 0xFFFFFFFF, int(stream.jitter_s * RATE)

    def _runs(self) -> list[tuple[float, list[_Packet]]]:
        """Packets that follow one another on one time line, each run with the time at which it starts."""
        runs: list[tuple[float, list[_Packet]]] = []
        for packet in self._packets:
            if runs:
                start, run = runs[-1]
                head = run[0]
                clock = CODECS[packet.codec].clock
                ahead = ((packet.timestamp - head.timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
                due = start + ahead / clock
                same = (packet.ssrc, packet.codec) == (head.ssrc, head.codec)
                if same and ahead >= 0 and abs(due - packet.arrived) < _JUMP_S:
                    run.append(packet)
                    continue
            runs.append((packet.arrived, [packet]))
        return runs

    @property
    def begins(self) -> float | None:
        """When the first packet that is kept came; None if nothing came."""
        return self._packets[0].arrived if self._packets else None

    def audio(self, start: float | None = None, end: float | None = None) -> Samples:
        """The audio between two times (first to last packet by default), 8 kHz, zero where none came."""
        if not self._packets:
            return np.zeros(
                0 if start is None or end is None else round((end - start) * RATE), dtype=np.int16
            )
        start = self._packets[0].arrived if start is None else start
        end = self._packets[-1].arrived + 0.02 if end is None else end
        line = np.zeros(max(0, round((end - start) * RATE)), dtype=np.int16)
        for run_start, run in self._runs():
            _lay_down(line, round((run_start - start) * RATE), run)
        return line

    def tone_seconds(self, hz: float, start: float, end: float) -> float:
        """For how much of the time between `start` and `end` (in blocks of 0.1 s) the tone `hz` dominated."""
        blocks = _blocks(self.audio(start, end))
        if not len(blocks):
            return 0.0
        energy = np.sum(blocks**2, axis=1)
        wave = np.exp(-2j * np.pi * hz / RATE * np.arange(_BLOCK))
        share = 2 * np.abs(blocks @ wave) ** 2 / _BLOCK / np.maximum(energy, 1)
        loud = np.sqrt(energy / _BLOCK) >= _QUIET_RMS
        return float(np.count_nonzero(loud & (share >= _DOMINATES))) / 10

    def quiet_seconds(self, start: float, end: float) -> float:
        """For how much of that time (in blocks of 0.1 s) nothing could be heard."""
        blocks = _blocks(self.audio(start, end))
        return float(np.count_nonzero(np.sqrt(np.mean(blocks**2, axis=1)) < _QUIET_RMS)) / 10

    def strongest_hz(self, start: float, end: float) -> float | None:
        """The strongest frequency of that time, to 10 Hz or better; None where it is silent."""
        line = self.audio(start, end).astype(np.float64)
        if len(line) < _BLOCK or np.sqrt(np.mean(line**2)) < _QUIET_RMS:
            return None
        spectrum = np.abs(np.fft.rfft(line * np.hanning(len(line))))
        return float(np.argmax(spectrum)) * RATE / len(line)

    @staticmethod
    def settled(now: float) -> float:
        """The time up to which everything should have arrived at `now`."""
        return now - _DELAY_S


def _blocks(line: Samples) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    whole = len(line) // _BLOCK * _BLOCK
    return line[:whole].astype(np.float64).reshape(-1, _BLOCK)


def _put(line: Samples, at: int, samples: Samples) -> None:
    start, end = max(at, 0), min(at + len(samples), len(line))
    if start < end:
        line[start:end] = samples[start - at : end - at]


def _lay_down(line: Samples, at: int, run: list[_Packet]) -> None:
    """Decode a run onto the time line; G.711 packet by packet, so that a lost one leaves its gap."""
    codec = CODECS[run[0].codec]
    if codec.decoder:
        _put(line, at, decode(run[0].codec, [packet.payload for packet in run]))
        return
    for packet in run:
        offset = (packet.timestamp - run[0].timestamp) & 0xFFFFFFFF
        if at + offset < len(line) and at + offset + len(packet.payload) > 0:
            _put(line, at + offset, decode(packet.codec, [packet.payload]))
