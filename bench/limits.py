"""The highest rate with every call going through, and what happens when twice as much is offered."""

import asyncio
import statistics
from pathlib import Path

from bench import latency, machine
from bench.sipp import Outcome, call, callee
from bench.subject import Ours, Subject
from bench.talk import Talkers

_FIRST_RATE = 200.0
#: the search ends when the rates that passed and failed are this close
_CLOSE = 1.05
#: tries at the long load, each a little lower
_CONFIRMATIONS = 6
_LOWER = 0.88
#: where more messages than this part of the calls are sent again, requests wait: a longer load would not pass
_REPEATED = 0.01
#: SIPp's last retransmissions are over
_REST_S = 3.0
_REST_AFTER_FAILURE_S = 15.0


class Probe:
    """One load and what the machine did meanwhile."""

    def __init__(self, subject: Subject, rate: float) -> None:
        self.subject, self.rate = subject, rate
        self.outcome: Outcome | None = None
        self.busy = self.drops = 0.0
        self.used: dict[str, float] = {}

    async def run(self, folder: Path, seconds: float) -> bool:
        """True where every call went through, hardly a message twice, and SIPp offered all in time."""
        before, (work, exists) = self.subject.cpu(), machine.busy()
        drops = machine.udp_drops(self.subject.sip[1])
        async with callee(self.subject, folder) as listener:
            self.outcome = outcome = await call(self.subject, folder, self.rate, seconds)
            heard = machine.own_cpu(listener)
        after, (work_after, exists_after) = self.subject.cpu(), machine.busy()
        self.drops = machine.udp_drops(self.subject.sip[1]) - drops
        self.busy = (work_after - work) / (exists_after - exists)
        self.used = {name: (after[name] - before[name]) / outcome.seconds for name in after}
        self.used["called SIPp"] = heard / outcome.seconds
        in_time = outcome.offering_s <= seconds * 1.03 + 0.5
        keeps_up = outcome.retransmissions <= outcome.offered * _REPEATED
        return outcome.clean and in_time and keeps_up

    def told(self) -> str:
        assert self.outcome is not None
        outcome = self.outcome
        used = ", ".join(f"{name} {value:.2f}" for name, value in self.used.items() if value >= 0.005)
        text = (
            f"{self.rate:.0f}/s: {outcome.completed} of {outcome.offered} went through, "
            f"{outcome.refused} refused, {outcome.failed} failed, "
            f"{outcome.retransmissions} retransmissions, offered in {outcome.offering_s:.1f} s; "
            f"machine {self.busy:.0%} busy, {self.drops:.0f} datagrams dropped; cores: {used}"
        )
        return text + (f"; SIPp: {outcome.errors}" if outcome.errors else "")


async def _passes(subject: Subject, folder: Path, rate: float, seconds: float) -> bool:
    probe = Probe(subject, rate)
    passed = await probe.run(folder, seconds)
    print(f"  {subject.name:>8} {'passed' if passed else 'failed'} {probe.told()}")
    await asyncio.sleep(_REST_S if passed else _REST_AFTER_FAILURE_S)
    return passed


async def highest(subject: Subject, folder: Path, probe_s: float, confirm_s: float) -> float:
    """Calls a second that all go through, for `confirm_s` seconds."""
    low, high = 0.0, 0.0
    rate = _FIRST_RATE
    while not high or high / max(low, 1) > _CLOSE:
        if await _passes(subject, folder, rate, probe_s):
            low = rate
        else:
            high = rate
        rate = (low + high) / 2 if high else rate * 1.5
        if rate < 5:
            return 0.0
    for _ in range(_CONFIRMATIONS):
        if await _passes(subject, folder, low, confirm_s):
            return low
        low *= _LOWER
    return 0.0


async def overload(ours: Ours, folder: Path, rate: float, seconds: float, rest_s: float) -> None:
    """Offer twice the highest rate while a few calls talk; look again after `rest_s` seconds of rest."""
    print(f"\nOverload: {2 * rate:.0f} calls/s for {seconds:g} s, 20 calls talking meanwhile")
    before = await latency.added_ms(ours, folder, min(30, rate / 2), 5)
    async with Talkers(ours, 20) as talkers:
        await talkers.connect(20)
        talking = asyncio.create_task(talkers.talk(seconds + 4))
        await asyncio.sleep(2)
        probe = Probe(ours, 2 * rate)
        await probe.run(folder, seconds)
        heard = await talking
        await talkers.hang_up()
    print(f"  {probe.told()}")
    outcome = probe.outcome
    assert outcome is not None
    print(
        f"  went through: {outcome.completed / outcome.offering_s:.0f}/s, "
        f"{outcome.completed / outcome.offering_s / rate:.0%} of the highest rate "
        f"(target ≥ 90 %); neither through nor refused: {outcome.failed}; "
        f"{outcome.retransmissions / outcome.offered:.2f} "
        f"retransmissions a call; talking calls: {heard['lost']} of {heard['sent']} packets lost"
    )
    await asyncio.sleep(rest_s)
    after = await latency.added_ms(ours, folder, min(30, rate / 2), 5)
    print(
        f"  {rest_s:g} s later every call goes through; INVITE to INVITE before and after: median "
        f"{statistics.median(before):.2f} and {statistics.median(after):.2f} ms, p99 "
        f"{machine.percentile(before, 0.99):.2f} and {machine.percentile(after, 0.99):.2f} ms"
    )


async def report(
    subjects: list[Subject], folder: Path, probe_s: float, confirm_s: float, rest_s: float
) -> None:
    """Both subjects' highest rates, then the overload of ours."""
    print(f"\nHighest rate with every call going through: probes of {probe_s:g} s, then {confirm_s:g} s")
    rates = {s.name: await highest(s, folder, probe_s, confirm_s) for s in subjects}
    ratio = rates["ours"] / rates["floor"] if rates["floor"] else float("nan")
    print(f"  floor {rates['floor']:.0f}/s, ours {rates['ours']:.0f}/s: {ratio:.2f} × (target ≥ 0.7)")
    ours = next(s for s in subjects if isinstance(s, Ours))
    await overload(ours, folder, rates["ours"], probe_s * 2, rest_s)
