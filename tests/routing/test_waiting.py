"""Callers who wait: for how long, when their customer is asked again, and how many of them there may be."""

from hypothesis import given
from hypothesis import strategies as st

from xiaohao.routing.model import Queue
from xiaohao.routing.waiting import Waiting, WaitingRoom, until

SECOND = 1_000_000


@given(
    st.integers(1, 60),
    st.integers(1, 600),
    st.integers(1, 600),
    st.floats(0, 1),
    st.integers(0, 700 * SECOND),
)
def test_nobody_waits_longer_than_they_may(
    retry_s: int, wait_s: int, longest_s: int, draw: float, passed: int
) -> None:
    """Asked again after a fifth less or more than was wanted, and no later than the time is over."""
    answer, since = Queue("q", retry_s, wait_s), 1_795_403_038_123_000
    waiting, now = Waiting(answer, since, until(since, answer, longest_s)), since + passed
    left_us = min(wait_s, longest_s) * SECOND - passed
    left_s = left_us / SECOND
    pause_s = waiting.pause_s(now, draw)
    assert waiting.is_over(now) == (left_us <= 0)
    assert waiting.left_ms(now) == max(left_us, 0) // 1000
    assert pause_s <= max(left_s, 0) + 1e-6
    assert 0.8 * retry_s - 1e-6 <= pause_s <= 1.2 * retry_s + 1e-6 or pause_s >= max(left_s, 0) - 1e-6
    longer = waiting.again(2, Queue("other", 1, 600), longest_s)
    assert (longer.since, longer.asked, longer.until) == (since, 2, since + min(600, longest_s) * SECOND)


def test_a_hundred_who_came_at_once_are_asked_about_apart() -> None:
    """Drawn by lot evenly they lie apart over two seconds, and not in one moment."""
    waiting = Waiting(Queue("q"), 0, 60 * SECOND)
    moments = [waiting.pause_s(0, n / 99) for n in range(100)]
    assert min(moments) >= 4
    assert max(moments) < 6.01
    crowd = max(sum(1 for other in moments if m <= other < m + 0.1) for m in moments)
    assert crowd <= 6


def test_one_customer_does_not_take_the_places_of_another() -> None:
    room = WaitingRoom(2)
    assert [room.enter("cus_1", call) for call in ("a", "b", "c", "a")] == [True, True, False, True]
    assert room.enter("cus_2", "d")
    for call in ("a", "a", "nobody"):
        room.leave(call)
    assert [room.enter("cus_1", call) for call in ("c", "e")] == [True, False]
