"""Phones that this project did not write talk through the platform: SIPp, and PJSIP's user agent.

Whatever the platform and the simulator agree on by mistake shows here. Run as a program this module is the
process in which PJSIP lives, so that its threads stay out of the tests' own.
"""

import asyncio
import contextlib
import os
import select
import shutil
import sys
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.stage import free_ports

from .conftest import Theatre

SCENARIOS = Path(__file__).parent / "scenarios"
RATE_HZ = 8000
STRANGER_HZ = 700
#: how strangers call themselves, where nobody else needs to know
NAME = "Geheimrat"


@dataclass
class Trunk:
    """A trunk of strangers: they call from its address, and are called there with its numbers on show."""

    host: str
    port: int
    pool_id: str
    transport: str


@dataclass
class Bound:
    """A stranger and the owner of a simulated phone who are bound to each other."""

    theatre: Theatre
    number: str
    phone: Phone
    binding: dict[str, Any]

    async def over(self, call: OutgoingCall | IncomingCall, hung_up: str) -> None:
        """The phone's call ends, nothing of the stranger was told to it, and one CDR says who hung up."""
        await call.wait_ended()
        got = b"".join(message.raw for message in call.messages if message.direction == "in")
        assert got
        assert not [mark for mark in (self.number[3:], NAME) if mark.encode() in got]
        (cdr,) = await self.theatre.until_cdrs(f"/v1/cdrs?binding_id={self.binding['id']}", 1)
        assert (cdr["reason"], cdr["ended_by"]) == (f"{hung_up}_hung_up", hung_up)
        assert cdr["talk_ms"] > 500


async def bind(theatre: Theatre, trunk: Trunk, stranger: str) -> Bound:
    """Two new people; the stranger is "caller" or "callee" of the call to come."""
    if stranger == "caller":
        pair = await theatre.pair()
        return Bound(theatre, pair.driver.number, pair.passenger, pair.binding)
    serial = len(theatre.numbers)
    phone, number = theatre.mobile.add_phone(f"+86188{serial:08}", 400), f"+86189{serial:08}"
    theatre.numbers |= {number}
    binding = await theatre.customer.reserve(phone.number, number, trunk.pool_id, theatre.y_pool)
    return Bound(theatre, number, phone, binding)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def trunks(theatre: Theatre) -> dict[str, Trunk]:
    """One for SIPp over UDP, one for SIPp over TCP and one for PJSIP."""
    opened: dict[str, Trunk] = {}
    for serial, (name, transport) in enumerate({"udp": "udp", "tcp": "tcp", "pjsip": "udp"}.items(), 1):
        host = f"127.0.0.{80 + serial}"
        (port,) = free_ports(host, 1)
        # a SIPp scenario of a call knows nothing of OPTIONS
        spec = {"transport": transport, "probe": name == "pjsip"}
        trunk_id = await theatre.stage.add_trunk(f"stranger {name}", (host, port), **spec)
        pool_id = await theatre.stage.add_pool(f"strangers {name}", theatre.customer)
        shown = [f"+861719{serial:03}{n:04}" for n in range(10)]
        await theatre.stage.add_numbers(shown, trunk_id, pool_id)
        opened[name] = Trunk(host, port, pool_id, transport)
    await theatre.trunks_in_force()
    return opened


async def start_sipp(
    theatre: Theatre, trunk: Trunk, folder: Path, bound: Bound, scenario: str, *, waits: bool
) -> asyncio.subprocess.Process:
    """SIPp calls, or is ready for one call; it hangs up or waits for BYE, and sends back what it hears."""
    binary = shutil.which("sipp")
    assert binary, "SIPp is missing: apt-get install sip-tester"
    (media_port,) = free_ports(trunk.host, 1)
    # fmt: off
    process = await asyncio.create_subprocess_exec(
        binary, *(["{}:{}".format(*theatre.stage.sip)] if scenario == "caller" else []),
        "-sf", str(SCENARIOS / f"{scenario}.xml"), "-m", "1", "-nostdin", "-timeout", "15s", "-timeout_error",
        "-t", "u1" if trunk.transport == "udp" else "t1", "-i", trunk.host, "-p", str(trunk.port),
        "-mi", trunk.host, "-mp", str(media_port), "-rtp_echo", *(["-set", "waits", "1"] if waits else []),
        "-key", "number", bound.number, "-key", "dialled", bound.binding["y"], "-key", "name", NAME,
        "-trace_msg", "-message_file", "messages.log", "-trace_err", "-error_file", "errors.log",
        cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
    )
    # fmt: on
    for _ in range(600):
        if scenario == "caller" or listens(trunk):
            return process
        await asyncio.sleep(0.05)
    raise AssertionError("SIPp does not listen")


def listens(trunk: Trunk) -> bool:
    """Whether there is a socket with the trunk's address (proc(5) writes it in hexadecimal, backwards)."""
    address = "".join(f"{int(part):02X}" for part in reversed(trunk.host.split(".")))
    return f"{address}:{trunk.port:04X} 00000000:0000" in Path("/proc/net", trunk.transport).read_text()


@pytest.mark.parametrize("hangs_up", ["caller", "callee"])
@pytest.mark.parametrize("stranger", ["caller", "callee"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sipp(
    theatre: Theatre, trunks: dict[str, Trunk], tmp_path: Path, transport: str, stranger: str, hangs_up: str
) -> None:
    """SIPp calls and is called. The phone hears itself from there, so sound goes both ways."""
    bound = await bind(theatre, trunks[transport], stranger)
    waits = hangs_up != stranger
    sipp = await start_sipp(theatre, trunks[transport], tmp_path, bound, stranger, waits=waits)
    dialled = str(bound.binding["y"])
    call = await (bound.phone.next_call() if stranger == "caller" else bound.phone.call(dialled))
    await call.wait_answered()
    assert await call.wait_heard(bound.phone.tone_hz)
    if waits:
        await call.hang_up()
    await bound.over(call, hangs_up)
    assert await asyncio.wait_for(sipp.wait(), 60) == 0, "the call has not gone as the scenario says"
    messages = (tmp_path / "messages.log").read_text()
    assert bound.phone.number[3:] not in messages
    shown = call.display if stranger == "caller" else messages.partition("From: <sip:")[2].partition("@")[0]
    assert shown == bound.binding["x"]


class Softphone:
    """PJSIP's user agent in a process of its own; takes every call at once."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process, self._folder, self._recordings = process, folder, 0

    async def until(self, event: str) -> None:
        """Pass over what it tells until it tells this."""
        async with asyncio.timeout(30):
            while line := (await self._process.stdout.readline()).decode():
                if line == f"softphone {event}\n":
                    return
        raise AssertionError(f"PJSIP ended before {event!r}; is it there? pip install pjsua2-python")

    async def do(self, *words: str) -> None:
        """Give a command: call URI NUMBER, hold, resume, hang_up, keys DIGITS, record FILE (this
        call, or the next from its first sound), keep."""
        self._process.stdin.write((" ".join(words) + "\n").encode())
        await self._process.stdin.drain()

    async def hears(self, hz: int | None) -> bool:
        """Whether within some seconds it hears the tone `hz`, or nothing."""
        for _ in range(10):
            self._recordings += 1
            path = self._folder / f"heard{self._recordings}.wav"
            await self.do("record", str(path))
            await asyncio.sleep(0.4)
            await self.do("keep")
            samples = await recording(path)
            loudest = np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / len(samples)
            silent = np.abs(samples).max() < 100
            if silent if hz is None else not silent and abs(loudest - hz) < 10:
                return True
        return False


async def recording(path: Path) -> np.ndarray:
    """The samples of a WAV file, when it is closed: until then its header tells of none."""
    for _ in range(1500):
        with contextlib.suppress(EOFError, wave.Error), wave.open(str(path), "rb") as file:
            if frames := file.readframes(file.getnframes()):
                return np.frombuffer(frames, "<i2").astype(float)
        await asyncio.sleep(0.02)
    raise AssertionError("PJSIP recorded nothing")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def softphone(
    trunks: dict[str, Trunk], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Softphone]:
    folder, trunk, pipe = tmp_path_factory.mktemp("softphone"), trunks["pjsip"], asyncio.subprocess.PIPE
    tone = str(folder / "tone.wav")
    with wave.open(tone, "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        samples = np.sin(2 * np.pi * STRANGER_HZ * np.arange(2 * RATE_HZ) / RATE_HZ) * 12_000
        file.writeframes(samples.astype("<i2").tobytes())
    command = (sys.executable, "-m", __name__, trunk.host, str(trunk.port), tone)
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=root)
    phone = Softphone(process, folder)
    await phone.until("ready")
    yield phone
    process.stdin.close()
    await process.communicate()


@pytest.mark.parametrize("hangs_up", ["caller", "callee"])
@pytest.mark.parametrize("stranger", ["caller", "callee"])
async def test_pjsip(
    theatre: Theatre, trunks: dict[str, Trunk], softphone: Softphone, stranger: str, hangs_up: str
) -> None:
    """Both hear each other, neither while the stranger holds, both again afterwards; either may hang up."""
    bound = await bind(theatre, trunks["pjsip"], stranger)
    if stranger == "caller":
        host, port = theatre.stage.sip
        await softphone.do("call", f"sip:{bound.binding['y']}@{host}:{port}", bound.number)
    dialled = str(bound.binding["y"])
    call = await (bound.phone.next_call() if stranger == "caller" else bound.phone.call(dialled))
    await softphone.until("talks")
    await call.wait_answered()
    assert await softphone.hears(bound.phone.tone_hz)
    assert await call.wait_heard(STRANGER_HZ)
    await softphone.do("hold")
    await softphone.until("holds")
    assert any(b"\r\na=sendonly" in got.raw for got in call.messages if got.direction == "in")
    assert await softphone.hears(None)
    assert await call.wait_silence()
    await softphone.do("resume")
    await softphone.until("talks")
    assert await softphone.hears(bound.phone.tone_hz)
    assert await call.wait_heard(STRANGER_HZ)
    await (softphone.do("hang_up") if hangs_up == stranger else call.hang_up())
    await softphone.until("over")
    await bound.over(call, hangs_up)


def live_as_softphone(host: str, port: int, tone: str) -> None:
    """Be PJSIP until standard input ends: commands come there, events go to standard output."""
    import pjsua2 as pj

    def tell(event: str) -> None:
        print("softphone", event, flush=True)

    class Call(pj.Call):
        def onCallState(self, _: pj.OnCallStateParam) -> None:  # noqa: N802 – PJSIP's name
            if self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED:
                calls.remove(self)
                tell("over")

        def onCallMediaState(self, _: pj.OnCallMediaStateParam) -> None:  # noqa: N802 – PJSIP's name
            info = self.getInfo()  # what it holds lives as long as it
            if info.media[0].status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                player.startTransmit(self.getAudioMedia(-1))
                for recorder in recorders:
                    self.getAudioMedia(-1).startTransmit(recorder)
            tell("talks" if info.media[0].status == pj.PJSUA_CALL_MEDIA_ACTIVE else "holds")

    class Account(pj.Account):
        def __init__(self, number: str) -> None:
            super().__init__()
            config = pj.AccountConfig()
            config.idUri = f'"{NAME}" <sip:{number}@{host}:{port}>'
            config.mediaConfig.transportConfig.boundAddress = host  # or its sound comes from another address
            self.create(config)
            accounts.append(self)

        def onIncomingCall(self, arrived: pj.OnIncomingCallParam) -> None:  # noqa: N802 – PJSIP's name
            calls.append(Call(self, arrived.callId))
            calls[-1].answer(terms(statusCode=200))

    def terms(*, statusCode: int = 0, flag: int = 0) -> pj.CallOpParam:  # noqa: N803 – PJSIP's name
        made = pj.CallOpParam(True)
        made.statusCode, made.opt.flag = statusCode, flag
        return made

    def follow(words: list[str]) -> None:
        match words:
            case ["call", uri, number]:
                calls.append(Call(Account(number)))
                calls[-1].makeCall(uri, terms())
            case ["hold"]:
                calls[-1].setHold(terms())
            case ["resume"]:
                calls[-1].reinvite(terms(flag=pj.PJSUA_CALL_UNHOLD))
            case ["hang_up"]:
                calls[-1].hangup(terms())
            case ["keys", digits]:
                calls[-1].dialDtmf(digits)
            case ["record", path]:
                recorders.append(pj.AudioMediaRecorder())
                recorders[-1].createRecorder(path)
                if calls:
                    calls[-1].getAudioMedia(-1).startTransmit(recorders[-1])
            case ["keep"]:
                recorders.pop()

    config, transport, endpoint = pj.EpConfig(), pj.TransportConfig(), pj.Endpoint()
    config.uaConfig.threadCnt, config.logConfig.consoleLevel = 0, 1
    config.medConfig.clockRate, config.medConfig.noVad = RATE_HZ, True
    transport.boundAddress, transport.port = host, port
    endpoint.libCreate()
    endpoint.libInit(config)
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.audDevManager().setNullDev()
    endpoint.libStart()
    player, calls, recorders, accounts = pj.AudioMediaPlayer(), [], [], []
    player.createPlayer(tone)
    Account("nobody")
    tell("ready")
    while True:
        endpoint.libHandleEvents(10)
        if select.select([sys.stdin], [], [], 0)[0]:
            said = os.read(sys.stdin.fileno(), 4096).decode()
            if not said:
                os._exit(0)  # PJSIP takes seconds to go politely
            for line in said.splitlines():
                follow(line.split())


if __name__ == "__main__":
    live_as_softphone(sys.argv[1], int(sys.argv[2]), sys.argv[3])
