"""The fixtures of the simulator's tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.simulator.line import Line, MakeLine

from xiaohao.simulator.carrier import Carrier


@pytest.fixture
async def make_line() -> AsyncIterator[MakeLine]:
    """Makes lines; options: `near` and `far` with the arguments of each `Carrier`, others for both.

    When the test is over no carrier may have met anything that is wrong.
    """
    async with AsyncExitStack() as stack:
        lines: list[Line] = []

        async def make(
            near: dict[str, Any] | None = None, far: dict[str, Any] | None = None, **both: Any
        ) -> Line:
            one = await stack.enter_async_context(Carrier("127.0.0.2", edge=("", 0), **both, **(near or {})))
            two = await stack.enter_async_context(
                Carrier("127.0.0.3", edge=one.address, **both, **(far or {}))
            )
            one.edge = two.address
            lines.append(Line(one, two))
            return lines[-1]

        yield make
        for line in lines:
            assert line.near.errors == []
            assert line.far.errors == []
            assert line.near.complaints == []
            assert line.far.complaints == []


@pytest.fixture
async def line(make_line: MakeLine) -> Line:
    """A line over UDP with RFC 3261's timers."""
    return await make_line()
