"""Who calls: people in pairs, each call on the next free pair, and what its caller saw of it."""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field

from tests.calls.conftest import Pair, Theatre
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.call import CallOver, PhoneCall
from xiaohao.simulator.outgoing import OutgoingCall

#: how the callee behaves, in turn; half of them without voices, which cost the machine most
_WAYS = (
    Behaviour(answer_after_s=0.1),
    Behaviour(answer_after_s=0.2, send_rtp=False, send_rtcp=False),
    Behaviour(answer_after_s=0.1, hang_up_after_s=0.6),
    Behaviour(answer_after_s=0.2, send_rtp=False, send_rtcp=False),
    Behaviour(reject_with=(486, "Busy Here"), reject_after_s=0.3, send_rtp=False, send_rtcp=False),
    Behaviour(answer_after_s=0.1, hang_up_after_s=0.4, send_rtp=False, send_rtcp=False),
    Behaviour(never_answer=True, send_rtp=False, send_rtcp=False),
    Behaviour(answer_after_s=0.1, send_rtp=False, send_rtcp=False),
)
_SECONDS_A_PAIR = 12
_PATIENCE_S = 40.0
_CALLEE_S = 100.0
_AT_ONCE_S = 0.02


@dataclass(frozen=True)
class Made:
    """One call as its caller saw it. `code` is the final one, 0 where none came."""

    binding_id: str
    code: int
    #: how long both talked; None where nobody answered
    talked_s: float | None


@dataclass
class Load:
    """Calls at a steady rate."""

    theatre: Theatre
    rate: float
    seed: int
    #: the share of the pairs whose calls are recorded
    recorded: float = 1.0
    made: list[Made] = field(default_factory=list)
    #: that were due when every pair was talking
    left_out: int = 0
    #: callees who were never told that the call is over: the messages of both sides
    forgotten: list[str] = field(default_factory=list)
    #: callers whose own phone never came to an end with the call
    stuck: int = 0
    _free: list[Pair] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def prepare(self) -> None:
        """Bind everybody."""
        count = int(self.rate * _SECONDS_A_PAIR)
        for serial in range(count):
            record = serial % 10 < self.recorded * 10
            pair = await self.theatre.pair(_WAYS[serial % len(_WAYS)], record=record)
            pair.driver.behaviour = Behaviour(send_rtp=pair.passenger.behaviour.send_rtp, send_rtcp=False)
            self._free.append(pair)

    async def offer(self, seconds: float) -> None:
        """Call for so long; returns when every call has ended."""
        dice = random.Random(f"{self.seed} load")
        began = time.monotonic()
        for serial in range(int(seconds * self.rate)):
            await asyncio.sleep(max(began + serial / self.rate - time.monotonic(), 0))
            if serial % 200 == 0:
                self.theatre.mobile.forget_ended()
                self.theatre.city.forget_ended()
            if not self._free:
                self.left_out += 1
                continue
            lasts_s = dice.uniform(0.3, 1.2)
            # who gives up does so while it rings, or about when the call is decided
            patience_s = dice.choice((lasts_s, dice.uniform(0.0, _AT_ONCE_S)))
            task = asyncio.create_task(self._call(self._free.pop(0), lasts_s, patience_s))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.gather(*self._running)

    @staticmethod
    async def _give_up(call: OutgoingCall) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(call.cancel(), _PATIENCE_S)

    async def _call(self, pair: Pair, lasts_s: float, patience_s: float) -> None:
        call = await pair.driver.call(pair.y)
        gives_up = pair.passenger.behaviour.never_answer
        try:
            await call.wait_answered(patience_s if gives_up else _PATIENCE_S)
            await asyncio.sleep(lasts_s)
            await call.hang_up()
        except CallOver:
            pass
        except TimeoutError:
            await self._give_up(call)
        try:
            await call.wait_ended(_PATIENCE_S)
        except TimeoutError:
            self.stuck += 1
        while not pair.passenger.incoming.empty():
            # who answers when the edge has given up on the trunk ends that alone, after RFC 3261's 32 s
            heard = pair.passenger.incoming.get_nowait()
            try:
                await heard.wait_ended(_CALLEE_S)
            except TimeoutError:
                self.forgotten.append(f"{heard.call_id}: {_told_of(call)}; callee {_told_of(heard)}")
        code = 0 if call.timed_out else call.final_code or 0
        talked = None if call.answered_at is None else (call.ended_at or call.answered_at) - call.answered_at
        self.made.append(Made(str(pair.binding["id"]), code, talked))
        self._free.append(pair)


def _told_of(call: PhoneCall) -> str:
    """How its messages begin, and when they came or went."""
    lines = [(one, one.raw.partition(b" sip:")[0][:20].decode(errors="replace")) for one in call.messages]
    return ", ".join(f"{one.at_us / 1e6 % 1000:.3f} {one.direction} {line!r}" for one, line in lines)
