"""The engines stopped by themselves, in a fleet whose other processes go on."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from xiaohao.runtime.probes import http_probe
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.stage import Stage

from .families import FOUR, addresses, opened, talk


class Fleet(Stage):
    """Every kind of process by itself, as on several machines."""

    edge: asyncio.subprocess.Process

    async def up(self) -> None:
        self.processes: list[asyncio.subprocess.Process] = []
        await self.command("migrate")
        self.edge = await self._begin("edge")
        for kind in ("switch", "web", "worker"):
            await self._begin(kind)
        for address in (self.settings.switch.listen, self.settings.web.listen):
            ready = http_probe(address, "/readyz")
            async with asyncio.timeout(60):
                while not await ready():  # noqa: ASYNC110 - it is asked, it does not tell
                    await asyncio.sleep(0.1)

    async def _begin(self, kind: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig=TERM"),
            *(sys.executable, "-m", "xiaohao.cli", kind, "--config", str(self.config)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.processes.append(process)
        return process

    async def stop(self) -> None:
        await super().stop()
        for process in self.processes:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in self.processes))


async def test_nobody_stays_connected_with_nobody(tmp_path: Path) -> None:
    """Who talks gets a BYE, whose phone rings a CANCEL, and who calls a refusal; the CDRs say why."""
    async with opened(tmp_path / "fleet", stage_type=Fleet, **addresses(FOUR)) as hall:
        talking = await hall.scene("four", "four")
        call, other = await talk(talking)
        ringing = await hall.scene("four", "four", Behaviour(never_answer=True))
        waiting = await ringing.caller.call(ringing.dialled)
        rung = await ringing.callee.next_call()
        await waiting.wait_ringing()
        fleet = hall.stage
        assert isinstance(fleet, Fleet)
        fleet.edge.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(fleet.edge.wait(), 30) == 0
        assert {each.state for each in (call, other, waiting, rung)} == {"ended"}
        assert (waiting.final_code, rung.final_code) == (480, 487)
        for scene in (talking, ringing):
            cdr = await hall.cdr(scene)
            assert (cdr["reason"], cdr["ended_by"]) == ("platform_stopped", "platform")
