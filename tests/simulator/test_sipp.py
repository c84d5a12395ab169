"""SIPp as the other end: somebody else's idea of SIP must agree with the phones'."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.simulator.line import A_HZ, A_NUMBER

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier

HERE = Path(__file__).parent
HOST = "127.0.0.5"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Sipp:
    """One SIPp process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.address = process, (HOST, port)

    async def finish(self) -> None:
        """Wait for its end; all its calls must have succeeded."""
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode == 0, (out + err).decode()[-3000:]


@asynccontextmanager
async def sipp(folder: Path, *arguments: str) -> AsyncIterator[Sipp]:
    program = shutil.which("sipp")
    assert program is not None, "the Debian package sip-tester is missing"
    port, media = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        *("-i", HOST, "-p", str(port), "-mi", HOST, "-mp", str(media), "-nostdin", "-timeout", "15"),
        *("-timeout_error", "-trace_err", "-skip_rlimit"),
        cwd=folder,
        env={"TERM": "dumb"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Sipp(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("transport", ["u1", "t1"])
async def test_sipps_own_caller(tmp_path: Path, transport):
    kind = "udp" if transport == "u1" else "tcp"
    async with Carrier("127.0.0.2", edge=(HOST, 1), transport=kind) as carrier:
        phone = carrier.add_phone(A_NUMBER, A_HZ, behaviour=Behaviour(answer_after_s=0.05))
        target = f"{carrier.address[0]}:{carrier.address[1]}"
        scenario = ("-sn", "uac", "-s", A_NUMBER, "-m", "10", "-r", "20", "-d", "200", "-t", transport)
        async with sipp(tmp_path, *scenario, target) as stranger:
            await stranger.finish()
        assert [call.final_code for call in phone.calls] == [200] * 10
        assert not any(call.ended_by_us for call in phone.calls)
        assert carrier.errors == []
        assert carrier.complaints == []


async def test_caller_with_prack_hold_and_info(tmp_path: Path):
    async with Carrier("127.0.0.2", edge=(HOST, 1)) as carrier:
        behaviour = Behaviour(reliable_provisional=True, early_media=True)
        phone = carrier.add_phone(A_NUMBER, A_HZ, behaviour=behaviour)
        target = f"{carrier.address[0]}:{carrier.address[1]}"
        scenario = ("-sf", str(HERE / "sipp_caller.xml"), "-s", A_NUMBER, "-m", "5", "-r", "20")
        async with sipp(tmp_path, *scenario, target) as stranger:
            await stranger.finish()
        assert [call.dtmf_received for call in phone.calls] == ["8"] * 5
        assert carrier.errors == []
        assert carrier.complaints == []


async def test_callee_with_prack_and_echo(tmp_path: Path):
    scenario = ("-sf", str(HERE / "sipp_callee.xml"), "-m", "3", "-rtp_echo")
    async with sipp(tmp_path, *scenario) as stranger, Carrier("127.0.0.2", edge=stranger.address) as carrier:
        phone = carrier.add_phone(A_NUMBER, A_HZ)
        # SIPp echoes on one port for all its calls: one after the other
        for _ in range(3):
            call = await phone.call("+8613900000002")
            await call.wait_answered()
            assert await call.wait_heard(A_HZ, seconds=0.3)
            assert await call.hang_up() == 200
            assert call.provisional_codes == [180]
        await stranger.finish()
        assert carrier.errors == []
        assert carrier.complaints == []
