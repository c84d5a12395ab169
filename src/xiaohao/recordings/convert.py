"""A call's captures become one audio file: left what A said, right what B said, silence where nobody sent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from xiaohao.calls.model import Announcement
from xiaohao.recordings import pcap, signalling
from xiaohao.recordings.announced import mix
from xiaohao.recordings.capture import Capture, is_finished
from xiaohao.recordings.decode import SPEECHLESS, Codec, Coded, Resampler, codec
from xiaohao.recordings.encode import Canvas, finish
from xiaohao.recordings.model import OF_IPV6, AudioFile, CaptureError, Format, Payload, Side
from xiaohao.recordings.pcap import Packets
from xiaohao.recordings.signalling import Signalling
from xiaohao.recordings.timeline import Placement, on_one_clock, place

_NARROW: Final = 8000
_WIDE: Final = 16000
#: packets of unknown types that may come alone: some phones keep their NAT open with them (RFC 6263)
_STRAY_PACKETS: Final = 50


@dataclass(frozen=True)
class Stream:
    """What one sender sent with one clock: one SSRC, perhaps in several codecs one after the other."""

    side: Side
    clock: int
    packets: Packets
    #: for each packet the place of its payload type's meaning in `payloads`
    meaning: np.ndarray[tuple[int], np.dtype[np.int64]]
    payloads: Sequence[Payload]
    placement: Placement

    @property
    def first_tick(self) -> int:
        """Where it begins."""
        return int(self.placement.at.min())

    def parts(self) -> Iterator[tuple[Payload, Coded]]:
        """Its packets by codec."""
        packets, placement = self.packets, self.placement
        meaning = self.meaning[placement.order]
        for number in np.unique(meaning).tolist():
            chosen = np.flatnonzero(meaning == number)
            order = placement.order[chosen]
            yield (
                self.payloads[number],
                Coded(packets.data, placement.at[chosen], packets.start[order], packets.length[order]),
            )


def convert(
    captures: Sequence[Capture],
    received_at: int,
    ended_at: int,
    format_: Format,
    target: Path,
    key: bytes,
    announcements: Sequence[Announcement] = (),
) -> AudioFile:
    """Make the recording of a call, sealed with `key`; `received_at` and `ended_at` are µs since the epoch.

    Works on files beside `target`, which are gone afterwards. 16 kHz where a wideband codec took
    part, else 8 kHz. Raises CaptureError where a capture cannot become audio, OSError where the disk fails.
    """
    read = [(one, pcap.read(Path(one.pcap)) if one.pcap else None) for one in captures]
    streams = [stream for one, packets in read for stream in _streams(one, packets, received_at, ended_at)]
    cut_off = any(_is_cut_off(one, packets) for one, packets in read)
    streams.sort(key=lambda stream: stream.first_tick / stream.clock)
    codecs = {payload: codec(payload) for stream in streams for payload, _ in stream.parts()}
    rate = _WIDE if any(one.rate > _NARROW for one in codecs.values()) else _NARROW
    samples = max(ended_at - received_at, 0) * rate // 1_000_000
    draft = target.with_name(target.name + ".draft")
    try:
        with Canvas(draft, samples, rate) as canvas:
            reached = {Side.A: 0, Side.B: 0}
            for stream in streams:
                # Two streams of one side at a time happen where a trunk forks: both were heard.
                mixed = stream.first_tick * rate // stream.clock < reached[stream.side]
                end = max(
                    _draw(canvas, stream, payload, coded, codecs[payload], mixed=mixed)
                    for payload, coded in stream.parts()
                )
                reached[stream.side] = max(reached[stream.side], end)
            names, spoken = _codecs(streams), None
            if announcements:
                spoken = canvas.look()  # what the platform said is nobody's voice
                mix(canvas, announcements, received_at)
            return replace(finish(canvas, target, format_, key, names, spoken), cut_off=cut_off)
    finally:
        draft.unlink(missing_ok=True)


def _codecs(streams: Sequence[Stream]) -> dict[Side, tuple[str, ...]]:
    """What each side spoke, in the order of its streams."""
    names: dict[Side, dict[str, None]] = {}
    for stream in streams:
        for payload, _ in stream.parts():
            names.setdefault(stream.side, {})[payload.name] = None
    return {side: tuple(found) for side, found in names.items()}


def _draw(canvas: Canvas, stream: Stream, payload: Payload, coded: Coded, how: Codec, *, mixed: bool) -> int:
    """Draw one codec's part of a stream; gives back the sample behind its last one."""
    resampler = None if how.rate == canvas.rate else Resampler(how.rate, canvas.rate)
    at = end = 0
    for sound in how.decode(payload, coded):
        samples = sound.samples
        if resampler is None:
            at = sound.at * canvas.rate // stream.clock
        else:
            if not sound.joined:
                canvas.draw(stream.side, at, resampler.finish(), mixed=mixed)
                at = sound.at * canvas.rate // stream.clock
            samples = resampler.feed(samples)
        canvas.draw(stream.side, at, samples, mixed=mixed)
        at += len(samples)
        end = max(end, at)
    if resampler is not None:
        canvas.draw(stream.side, at, resampler.finish(), mixed=mixed)
    return end


def _is_cut_off(one: Capture, packets: Packets | None) -> bool:
    """Whether rtpengine could not write all of it: it was killed, or the disk was full."""
    if packets is None or one.metadata is None or not one.complete:
        return True
    return packets.cut_off or not is_finished(one.metadata)


def _streams(one: Capture, packets: Packets | None, zero_us: int, end_us: int) -> Iterator[Stream]:
    """The streams of one capture."""
    if packets is None or not len(packets):
        return
    if one.metadata is None:
        raise CaptureError("the capture has lost its metadata, so nobody knows who said what")
    told = signalling.read(Path(one.metadata))
    packets = replace(packets, arrival=on_one_clock(packets.arrival, zero_us, end_us))
    meaning, payloads = _meanings(packets, told)
    clocks = np.array([0, *(payload.clock for payload in payloads)])[meaning + 1]
    for port in told.sides:
        arrived = (packets.port == port) & (packets.length > 0)
        if np.count_nonzero(arrived) > _STRAY_PACKETS and not (meaning[arrived] >= 0).any():
            raise CaptureError("the audio's payload types are not in the capture's metadata")
    sides = np.full(2 * OF_IPV6, -1)
    sides[list(told.sides)] = list(told.sides.values())
    sides = sides[packets.port]
    said = np.array([payload.name not in SPEECHLESS for payload in payloads] + [False])[meaning]
    keys = np.stack([sides, packets.ssrc, clocks], axis=1)
    for side, ssrc, clock in np.unique(keys[said & (sides >= 0)], axis=0).tolist():
        chosen = np.flatnonzero(said & (sides == side) & (packets.ssrc == ssrc) & (clocks == clock))
        own = packets.take(chosen)
        placement = place(own.arrival, own.timestamp, clock, zero_us)
        yield Stream(Side(side), clock, own, meaning[chosen], payloads, placement)


def _meanings(
    packets: Packets, told: Signalling
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], list[Payload]]:
    """For each packet the place in the list of what its payload type means; -1 where nothing tells it."""
    meaning = np.full(len(packets), -1, dtype=np.int64)
    payloads: list[Payload] = []
    for port in told.sides:
        bounds = [0, *told.changes(port), int(packets.number[-1]) + 1]
        for first, end in pairwise(bounds):
            chosen = (packets.port == port) & (packets.number >= first) & (packets.number < end)
            for payload_type in np.unique(packets.payload_type[chosen]).tolist():
                payload = told.payload(port, first, payload_type)
                if payload is None:
                    continue
                if payload not in payloads:
                    payloads.append(payload)
                meaning[chosen & (packets.payload_type == payload_type)] = payloads.index(payload)
    return meaning, payloads
