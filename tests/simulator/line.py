"""Two carriers whose trunks lead to each other: phones on both sides, no platform in between."""

from collections.abc import Awaitable, Callable
from typing import Any

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone

A_NUMBER, B_NUMBER = "+8613800000001", "+8613900000002"
A_HZ, B_HZ = 500, 700


class Line:
    """Phone `a` on one carrier, phone `b` on the other."""

    def __init__(self, near: Carrier, far: Carrier) -> None:
        self.near, self.far = near, far
        self.a: Phone = near.add_phone(A_NUMBER, A_HZ)
        self.b: Phone = far.add_phone(B_NUMBER, B_HZ, behaviour=Behaviour(answer_after_s=0.05))

    async def ring(
        self, behaviour: Behaviour | None = None, **options: Any
    ) -> tuple[OutgoingCall, IncomingCall]:
        """A dials B; gives both sides of the call as soon as B has it."""
        if behaviour is not None:
            self.b.behaviour = behaviour
        call = await self.a.call(B_NUMBER, **options)
        return call, await self.b.next_call()

    async def talk(
        self, behaviour: Behaviour | None = None, **options: Any
    ) -> tuple[OutgoingCall, IncomingCall]:
        """A dials B and B answers."""
        call, far = await self.ring(behaviour, **options)
        await call.wait_answered()
        await far.wait_answered()
        return call, far


MakeLine = Callable[..., Awaitable[Line]]
