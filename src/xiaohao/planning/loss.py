"""Refusals of a driver whose orders come and go with the hours: the loss system, step by step through a day.

Erlang's formula holds where arrivals and departures are in balance. Under a recycle period of some hours they
are not: numbers fill up through the morning while hardly any come back, and the formula, fed with the load of
each moment, says too little by up to a third. So the chances of 0, 1 … n relations are followed through the
day (Kolmogorov's equations of a birth and death process): births at the rate of the reservations; deaths at
the rate at which relations that were accepted earlier come to their end, for each of those that are there.
Without refusals this gives the exact answer; with them what is left out is that the ages of relations depend
a little on their number. `tests/planning/test_theory.py` counts how little that is.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

#: chance of a birth, and of a death with every number taken, in one fine step
_CHANGE_A_STEP: Final = 0.4
_MOST_FINE: Final = 60
_DAYS: Final = 10
_SETTLED: Final = 5e-3
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Day:
    """A day that repeats itself, of one driver of each group.

    `arrivals`: reservations in each step, a row a group. `load`: mean relations without refusals. `lasting`
    and `ending`: the share of relations that are still there, and that end, so many steps (modulo a day)
    after the step of their reservation.
    """

    arrivals: Array
    load: Array
    lasting: Array
    ending: Array


def refused(day: Day, numbers: Counts) -> Array:
    """The chance of being refused, by row of `numbers`, group and step.

    `numbers`: in each row a try, how many numbers each group's drivers are offered.
    """
    walk = _Walk(day, numbers)
    before = np.zeros(numbers.shape)
    for _ in range(_DAYS):
        shares = walk.through_a_day()
        total = (day.arrivals * shares).sum(axis=2)
        if np.all(np.abs(total - before) <= _SETTLED * total + _TINY):
            break
        before = total
    return shares


def fine_steps(pace: float) -> int:
    """Fine steps of a step in which `pace` things happen: hardly two in one."""
    return int(np.clip(np.ceil(pace / _CHANGE_A_STEP), 1, _MOST_FINE))


class _Walk:
    """The chances of each number of relations, day after day until one is like the other."""

    def __init__(self, day: Day, numbers: Counts) -> None:
        self._day = day
        self._states = np.arange(int(numbers.max()) + 1, dtype=np.float64)
        self._room = (self._states < numbers[:, :, None]).astype(np.float64)
        self._chances = self._at_midnight(numbers)
        #: what was accepted in each of the last day's steps
        self._accepted = np.repeat(day.arrivals[None], numbers.shape[0], axis=0)
        steps = np.arange(day.arrivals.shape[1])
        back = (steps[:, None] - steps[None, :]) % steps.size
        self._lasting, self._ending = day.lasting[back], day.ending[back]
        self._fine = self._steps(int(numbers.max()))

    def _at_midnight(self, numbers: Counts) -> Array:
        """Poisson, cut off at the number of Y."""
        logarithms = np.cumsum(np.log(np.maximum(self._states, 1.0)))
        mean = np.maximum(self._day.load[:, -1:], _TINY)
        chances = np.exp(self._states * np.log(mean) - mean - logarithms)
        cut = chances[None] * (self._states <= numbers[:, :, None])
        whole: Array = cut / np.maximum(cut.sum(axis=2, keepdims=True), 1e-300)
        return whole

    def _steps(self, most: int) -> int:
        hazard = (self._accepted[:1] @ self._ending.T) / np.maximum(
            self._accepted[:1] @ self._lasting.T, _TINY
        )
        pace = float((self._day.arrivals + most * np.minimum(hazard[0], 1.0)).max())
        return fine_steps(pace)

    def through_a_day(self) -> Array:
        """The chance of being refused in each step."""
        shares = np.empty_like(self._accepted)
        for step in range(shares.shape[2]):
            lasting = np.maximum(self._accepted @ self._lasting[step], _TINY)
            hazard = np.minimum(self._accepted @ self._ending[step] / lasting, 1.0)
            shares[:, :, step] = self._through_a_step(self._day.arrivals[:, step], hazard)
            self._accepted[:, :, step] = self._day.arrivals[:, step] * (1.0 - shares[:, :, step])
        return shares

    def _through_a_step(self, arrivals: Array, hazard: Array) -> Array:
        up = self._room * (arrivals[:, None] / self._fine)
        down = self._states * (hazard[:, :, None] / self._fine)
        stay = up + down
        chances, full = self._chances, 1.0 - self._room
        refused = np.zeros(hazard.shape)
        for _ in range(self._fine):
            first = _change(chances, up, down, stay)
            second = _change(chances + first, up, down, stay)
            refused += ((chances + first / 2.0) * full).sum(axis=2)
            chances = chances + (first + second) / 2.0
        self._chances = chances
        share: Array = refused / self._fine
        return share


def _change(chances: Array, up: Array, down: Array, stay: Array) -> Array:
    moved: Array = -chances * stay
    moved[..., 1:] += (chances * up)[..., :-1]
    moved[..., :-1] += (chances * down)[..., 1:]
    return moved
