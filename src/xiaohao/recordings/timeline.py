"""When each RTP packet's audio was said: RTP timestamps laid onto the clock of arrival.

Between two packets of a stream the RTP timestamps are exact and arrival is not; over minutes, across pauses
and restarts it is the other way round. So a stream is cut where the two disagree for good, and each piece
is placed by the packet of it that travelled fastest. Jitter, loss, order and duplicates then change nothing.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Ticks = npt.NDArray[np.int64]

#: how far ahead is looked for a packet that travelled fast
_LOOK_AHEAD_S: Final = 2.0
#: the stream may seem to be late by so much for the whole look-ahead before it is placed anew …
_LATE_S: Final = 0.080
#: … and by so much right after a pause, where moving it does not tear a word
_LATE_AFTER_PAUSE_S: Final = 0.020
_PAUSE_S: Final = 0.200
#: a handful of packets proves little: they may all have been held up by so much
_FEW_PACKETS: Final = 10
_LATE_FEW_S: Final = 0.300
#: nothing arrives before it was said: being early beyond this means that the sender's timestamps jumped
_EARLY_S: Final = 0.040
#: no packet is delayed by so much and the next one not at all
_JUMP_S: Final = 1.0
#: packets of a capture are written in the order of their arrival; a step back is the clock's that was set
_BACK_US: Final = 5_000_000
#: so much longer than the call no pause is
_BEYOND_US: Final = 60_000_000
_STEP_US: Final = 20_000
#: so many packets before and after a smaller jump must agree, those before having come one by one
_STEADY_PACKETS: Final = (4, 3)
_STEADY_S: Final = 0.040


@dataclass(frozen=True)
class Placement:
    """Where the packets of one stream belong.

    `order` are the places of the packets that are kept, in the order in which they were said; `piece` and
    `at` belong to these: the piece's number, and the tick of the RTP clock since the zero of the time line.
    """

    order: Ticks
    piece: Ticks
    at: Ticks


def place(arrival_us: Ticks, timestamps: Ticks, clock: int, zero_us: int) -> Placement:
    """Place the packets of one stream (one SSRC, one clock rate), given in the order of their arrival.

    `arrival_us` and `zero_us` are µs since the epoch, `timestamps` the 32-bit RTP timestamps of `clock` Hz.
    Of packets with the same timestamp the first one to arrive is kept.
    """
    said = unwrap(timestamps)
    arrived = (arrival_us - zero_us) * clock // 1_000_000
    offset, piece = _pieces(arrived, said, clock)
    order = np.lexsort((np.arange(len(said)), said, piece))
    piece, said, offset = piece[order], said[order], offset[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(piece) != 0) | (np.diff(said) != 0)
    return Placement(order[first], piece[first], (said + offset)[first])


def on_one_clock(arrival_us: Ticks, zero_us: int, end_us: int) -> Ticks:
    """When packets of a capture arrived, had nobody set the machine's clock meanwhile; µs since the epoch.

    `zero_us` and `end_us` are the call's, on the clock of its beginning. Steps that no packet took, back or
    longer than the whole call, become those from one packet to the next.
    """
    steps = np.diff(arrival_us, prepend=zero_us)
    was_set = (steps < -_BACK_US) | (steps > max(end_us - zero_us, 0) + _BEYOND_US)
    if not was_set.any():
        return arrival_us
    return zero_us + np.cumsum(np.where(was_set, _STEP_US, steps))


def unwrap(timestamps: Ticks) -> Ticks:
    """32-bit timestamps in a row as numbers that do not wrap; each step is taken the short way round."""
    steps = np.diff(timestamps, prepend=timestamps[:1])
    return np.cumsum((steps + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000)


def _pieces(arrived: Ticks, said: Ticks, clock: int) -> tuple[Ticks, Ticks]:
    """For each packet what to add to its timestamp, and the number of the piece it belongs to."""
    travel = arrived - said
    fastest = int(travel.min())
    if int(travel.max()) - fastest <= _LATE_AFTER_PAUSE_S * clock:
        return np.full(len(travel), fastest), np.zeros(len(travel), dtype=np.int64)
    ahead, seen = _fastest_ahead(arrived, travel, clock)
    limits = np.where(_after_pause(arrived, said, clock), _LATE_AFTER_PAUSE_S, _LATE_S)
    limits = np.where(np.array(seen) < _FEW_PACKETS, _LATE_FEW_S, limits) * clock
    early = round(_EARLY_S * clock)
    offset, number = ahead[0], 0
    offsets, numbers = [], []
    for own, best, late in zip(travel.tolist(), ahead, limits.tolist(), strict=True):
        if own < offset - early or best > offset + late:
            offset, number = best, number + 1
        offsets.append(offset)
        numbers.append(number)
    return np.array(offsets, dtype=np.int64), np.array(numbers, dtype=np.int64)


def _fastest_ahead(arrived: Ticks, travel: Ticks, clock: int) -> tuple[list[int], list[int]]:
    """The least travel time among each packet and those in the look-ahead behind it, and their number."""
    reach = round(_LOOK_AHEAD_S * clock)
    jumps = _jumps(arrived, travel, clock).tolist()
    arrivals, travels = arrived.tolist(), travel.tolist()
    best, seen = [0] * len(travels), [0] * len(travels)
    last = len(travels) - 1
    window: deque[int] = deque()  # places; travel time falls from left to right
    for place in range(len(travels) - 1, -1, -1):
        own = travels[place]
        while window and travels[window[0]] >= own:
            window.popleft()
        window.appendleft(place)
        while arrivals[last] - arrivals[place] > reach:
            last -= 1
        while window[-1] > last:
            window.pop()
        best[place], seen[place] = travels[window[-1]], last - place + 1
        if jumps[place]:
            window.clear()
            last = place - 1
    return best, seen


def _jumps(arrived: Ticks, travel: Ticks, clock: int) -> npt.NDArray[np.bool_]:
    """Before which packets the sender's timestamps jumped ahead: what travelled before says nothing of after.

    After a delay travel times fall too, but then the packets before either came all at once or were few.
    """
    jumps = np.zeros(len(travel), dtype=bool)
    jumps[1:] = -np.diff(travel) > _JUMP_S * clock
    before, after = _STEADY_PACKETS
    if len(travel) < before + after:
        return jumps
    least_before = sliding_window_view(travel, before)[:-after].min(axis=1)
    most_after = sliding_window_view(travel, after)[before:].max(axis=1)
    spread = (arrived[before - 1 :] - arrived[: len(arrived) - before + 1])[:-after]
    jumps[before : len(travel) - after + 1] |= (least_before - most_after > _EARLY_S * clock) & (
        spread > _STEADY_S * clock
    )
    return jumps


def _after_pause(arrived: Ticks, said: Ticks, clock: int) -> npt.NDArray[np.bool_]:
    """Which packets come after a pause, both by arrival and by timestamp."""
    pause = round(_PAUSE_S * clock)
    latest = np.maximum.accumulate(said)
    result = np.zeros(len(said), dtype=bool)
    result[1:] = (np.diff(arrived) > pause) & (said[1:] - latest[:-1] > pause)
    return result
