"""What a plan costs to compute, told before it is begun: nobody plans at the expense of all others."""

import math
from collections.abc import Sequence
from typing import Final

from xiaohao.errors import validation_failed
from xiaohao.planning.computing import LARGEST_LOAD
from xiaohao.planning.model import RECYCLE_CHOICES, Demand
from xiaohao.planning.theory import Traffic, fine_steps

#: of a plan that is asked for over the network, seconds of one of today's processors
MOST_S: Final = 6.0
#: measured: a cell of the walk through the day, followed until days are alike; one of the plain formulas
_WALK_S: Final = 7.7e-8
_PLAIN_S: Final = 1.0e-8
#: what each fine step costs however little there is to do in it
_STEP_S: Final = 5e-3


def check_effort(demand: Demand) -> None:
    """Raises Refusal: `validation_failed`, where a plan takes longer than MOST_S."""
    seconds = effort_s(demand)
    if seconds <= MOST_S:
        return
    count = len(demand.cities)
    fewer = math.floor(count * MOST_S / seconds)
    if fewer >= 1 and count > 1:
        detail = f"these {count} cities take too long to compute at once: plan about {fewer} at a time"
    else:
        detail = (
            "takes too long to compute: fewer groups, or fewer orders a driver, or a shorter recycle period"
        )
    raise validation_failed("cities", detail)


def effort_s(demand: Demand) -> float:
    """About how many seconds `compute` takes, from the size of what it works out for each recycle period."""
    total = 0.0
    for recycle_s in {*RECYCLE_CHOICES, demand.recycle_s}:
        traffics = [Traffic.of(city, demand, recycle_s) for city in demand.cities]
        loads = [float(traffic.load.max(initial=0.0)) for traffic in traffics]
        if max(loads, default=0.0) > LARGEST_LOAD:
            continue
        plain = sum(t.load.size * _states(load) for t, load in zip(traffics, loads, strict=True))
        # The plan's own period is worked through for the busiest driver, too.
        total += _PLAIN_S * plain * (10.0 if recycle_s == demand.recycle_s else 1.0)
        total += _walk_s([traffic for traffic in traffics if not traffic.is_steady])
    return total


def _states(load: float) -> float:
    return load + 4.0 * math.sqrt(load) + 4.0


def _walk_s(traffics: Sequence[Traffic]) -> float:
    """Cities are walked through the day together, and the largest decides for all how finely."""
    if not traffics:
        return 0.0
    most = max(_states(float(traffic.load.max())) for traffic in traffics)
    fine = max(fine_steps(traffic, most) for traffic in traffics)
    cells = most * sum(traffic.load.size for traffic in traffics)
    return fine * (_STEP_S + _WALK_S * cells)
