"""Whatever the network does to packets on the way, their audio stays where it was said."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xiaohao.recordings.timeline import place, unwrap

CLOCK = 8000
STEP = 160
ZERO = 1_795_435_783_000_000


def placed(packets: list[tuple[int, int]], clock: int = CLOCK) -> dict[int, int]:
    """(arrival in µs after zero, RTP timestamp) in order of arrival; gives back index → tick."""
    arrival = np.array([ZERO + at for at, _ in packets], dtype=np.int64)
    stamps = np.array([stamp % 2**32 for _, stamp in packets], dtype=np.int64)
    result = place(arrival, stamps, clock, ZERO)
    return dict(zip(result.order.tolist(), result.at.tolist(), strict=True))


@st.composite
def journeys(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A talk of 1 to 8 s: first timestamp, and (place in the talk, delay in µs) of what arrives."""
    count = draw(st.integers(50, 400))
    first = draw(st.integers(0, 2**32 - 1))
    seed = draw(st.integers(0, 2**32 - 1))
    loss = draw(st.floats(0, 0.5))
    doubled = draw(st.floats(0, 0.5))
    worst_ms = draw(st.integers(0, 150))
    dice = np.random.default_rng(seed)
    arrived = []
    for packet in range(count):
        if dice.random() < loss:
            continue
        arrived.append((packet, int(dice.integers(0, worst_ms * 1000 + 1)) if dice.random() < 0.5 else 0))
        if dice.random() < doubled:
            arrived.append((packet, int(dice.integers(0, worst_ms * 1000 + 1))))
    if not arrived or all(delay for _, delay in arrived[:10]):
        arrived.insert(0, (0, 0))
    return first, arrived


@settings(deadline=None)
@given(journeys())
def test_any_loss_order_and_duplication_gives_the_same_placement(
    journey: tuple[int, list[tuple[int, int]]],
) -> None:
    first, arrived = journey
    in_order = sorted(arrived, key=lambda packet: packet[0] * 20_000 + packet[1])
    packets = [(500_000 + packet * 20_000 + delay, first + packet * STEP) for packet, delay in in_order]
    result = placed(packets)
    ticks = {in_order[index][0]: tick for index, tick in result.items()}
    assert set(ticks) == {packet for packet, _ in arrived}  # each one once
    for packet, tick in ticks.items():
        assert abs(tick - (4000 + packet * STEP)) <= 0.02 * CLOCK
    # within a talk nothing is torn or pushed together
    assert len({tick - packet * STEP for packet, tick in ticks.items()}) == 1


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 200))
def test_a_pause_of_the_sender_is_a_pause_on_the_time_line(first: int, pause_s: int, count: int) -> None:
    """Senders that go on counting through silence and senders that do not end up in the same place."""
    for counts_on in (True, False):
        packets = [(packet * 20_000, first + packet * STEP) for packet in range(60)]
        skipped = pause_s * CLOCK if counts_on else 0
        packets += [
            (1_200_000 + pause_s * 1_000_000 + packet * 20_000, first + (60 + packet) * STEP + skipped)
            for packet in range(count)
        ]
        ticks = placed(packets)
        assert ticks[59] == 59 * STEP
        assert ticks[60] == 60 * STEP + pause_s * CLOCK
        assert ticks[59 + count] == (59 + count) * STEP + pause_s * CLOCK


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(8, 100))
def test_a_jump_of_the_timestamps_moves_nothing(first: int, then: int, before: int) -> None:
    packets = [
        (packet * 20_000, (first if packet < before else then) + packet * STEP) for packet in range(160)
    ]
    for packet, tick in placed(packets).items():
        assert abs(tick - packet * STEP) <= 0.08 * CLOCK


def test_a_stalled_network_delivers_late_what_was_said_in_time() -> None:
    packets = [
        (max(packet * 20_000, 1_700_000) if packet >= 50 else packet * 20_000, packet * STEP)
        for packet in range(200)
    ]
    assert placed(packets) == {packet: packet * STEP for packet in range(200)}


def test_a_path_that_becomes_longer_for_good_moves_the_audio_once() -> None:
    packets = [(packet * 20_000 + (300_000 if packet >= 100 else 0), packet * STEP) for packet in range(300)]
    ticks = placed(packets)
    assert [ticks[packet] - packet * STEP for packet in (0, 99, 100, 299)] == [0, 0, 2400, 2400]


def test_a_clock_that_runs_wrong_is_followed() -> None:
    packets = [(round(packet * 20_000 * 1.0005), packet * STEP) for packet in range(60 * 50 * 5)]
    for packet, tick in placed(packets).items():
        assert abs(tick - packet * STEP * 1.0005) <= 0.085 * CLOCK


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_unwrapped_timestamps_are_the_same_modulo_32_bits(stamps: list[int]) -> None:
    result = unwrap(np.array(stamps, dtype=np.int64)).tolist()
    assert result[0] == 0
    assert [(value + stamps[0]) % 2**32 for value in result] == stamps
    assert all(abs(b - a) <= 2**31 for a, b in pairwise(result))
