"""`xiaohao demo` as a new user runs it: what it shows, what it leaves running, and how it fails."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.demo import EVENTS


class Running:
    """A demo, and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, text: str, within_s: float = 60) -> None:
        """Read on until this was said."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within_s):
            while text not in self.said:
                line = await self.process.stdout.readline()
                assert line, f"ended without saying {text!r}:\n{self.said}"
                self.said += line.decode()

    async def end(self) -> int:
        """Read to the end; the exit status."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            self.said += (await self.process.stdout.read()).decode()
            return await self.process.wait()


@asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xiaohao.cli", "demo", *options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def test_five_masked_calls_and_what_is_left_running(tmp_path: Path) -> None:
    """Everything is shown and right; with --keep the printed command and softphone work."""
    async with demo(tmp_path, "--keep") as running:
        await running.until("Logs ")
        said = running.said
        assert "PASSED  5 masked calls" in said, said
        for title in (
            *("1. Driver calls passenger", "2. Passenger calls back", "3. Driver calls back"),
            *("4. Driver calls passenger, scheme 2", "5. Passenger calls back, scheme 2"),
        ):
            assert title in said
        assert said.count("its display shows +8617000000001\n") == 2
        assert said.count("its display shows +8617000000003\n") == 1
        assert len(re.findall(r"its display shows \+86106200000\d\n", said)) == 2
        assert said.count("Hz heard: yes, ") == 5
        for kind in EVENTS:
            assert len(re.findall(rf"{kind} \+\d+ ms", said)) == 5
        assert len(re.findall(r"the customer answers .*: connect after \d+ ms", said)) == 2
        assert said.count("ended by caller (caller_hung_up, Q.850 16)") == 5
        recordings = re.findall(r"recording 录音 (\S+)", said)
        assert len(recordings) == 5
        assert all((tmp_path / path).stat().st_size > 10_000 for path in recordings)
        assert "13800000001" not in said.partition("Everything goes on running")[0]

        async with demo(tmp_path) as second:
            assert await second.end() == 1
            assert "another demo is running" in second.said

        printed = re.search(r"Reserve a call +(curl.*?\n.*?\n.*?)\n", said)
        assert printed
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", printed[1], stdout=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        answer = json.loads((await shell.communicate())[0])

        softphone = re.search(
            r"server ([\d.]+):(\d+) .*?caller (\S+),\s+user (\S+), password (\S+);", said, re.DOTALL
        )
        assert softphone
        host, port, number, user, password = softphone.groups()
        async with Carrier("127.0.0.64", edge=(host, int(port)), username=user, password=password) as line:
            call = await line.add_phone(number, 500).call(answer["dial"])
            await call.wait_answered(timeout=10)
            assert await call.wait_heard(880)
            await call.hang_up()
        running.process.send_signal(signal.SIGINT)
        assert await running.end() == 0


async def test_what_went_wrong_is_said(tmp_path: Path) -> None:
    """rtpengine dies in the middle of the first call: the verdict names it and the exit status is 1."""
    async with demo(tmp_path) as running:
        await running.until("its display shows")
        pid_file = tmp_path / "run" / "demo" / "run" / "pids" / "rtpengine.pid"
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        assert await running.end() == 1
        assert "FAILED  " in running.said
        assert "PASSED" not in running.said
