"""When a delivery that failed is tried again, and when it is given up."""

import random
from collections.abc import Sequence
from typing import Final

from xiaohao.clock import SECOND

_JITTER: Final = 0.1


def next_try(tries: int, since: int, now: int, retry_s: Sequence[int], give_up_after_s: float) -> int | None:
    """The moment of the next try after `tries` failed ones (1 or more); None: there is none.

    None comes later than `give_up_after_s` seconds after `since` (microseconds), the event's beginning.

    `retry_s` are the seconds between tries, the last of which repeats. Each is stretched or shortened by up
    to a tenth at random, so that events that failed together do not come back together.
    """
    pause = retry_s[min(tries, len(retry_s)) - 1]
    at = now + round(pause * SECOND * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret
    return at if at <= since + give_up_after_s * SECOND else None
