"""When a try is repeated."""

from hypothesis import given
from hypothesis import strategies as st

from xiaohao.clock import SECOND
from xiaohao.notifications.retry import next_try

GIVE_UP_AFTER_S = 24 * 3600
PAUSES = [10, 30, 60, 120, 180, 600]


@given(st.integers(1, 200))
def test_pauses_are_those_of_the_list_give_or_take_a_tenth(tries: int) -> None:
    at = next_try(tries, since=0, now=0, retry_s=PAUSES, give_up_after_s=GIVE_UP_AFTER_S)
    pause = PAUSES[min(tries, 6) - 1]
    assert at is not None and pause * 0.9 <= at / SECOND <= pause * 1.1


def test_events_that_failed_together_do_not_come_back_together() -> None:
    assert len({next_try(1, 0, 0, PAUSES, GIVE_UP_AFTER_S) for _ in range(20)}) > 10


@given(st.integers(0, 2 * GIVE_UP_AFTER_S))
def test_it_ends_a_day_after_the_event(age_s: int) -> None:
    at = next_try(9, since=0, now=age_s * SECOND, retry_s=PAUSES, give_up_after_s=GIVE_UP_AFTER_S)
    if age_s < GIVE_UP_AFTER_S - 660:
        assert at is not None
    if age_s > GIVE_UP_AFTER_S - 540:
        assert at is None
    if at is not None:
        assert at <= GIVE_UP_AFTER_S * SECOND
