"""A phone that this project did not write hears what it should in early media; its keys are understood."""

import asyncio
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from tests.announcer import audio
from tests.announcer.conftest import SpeakingTheatre
from tests.announcer.test_dialogues import Desk, the_desk  # noqa: F401 – a fixture
from tests.announcer.test_refusals import recorded
from tests.calls.test_strangers import STRANGER_HZ, Softphone, recording
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.stage import free_ports

HOST = "127.0.3.81"


@pytest_asyncio.fixture(name="softphone", scope="module", loop_scope="session")
async def pjsip(
    speaking: SpeakingTheatre, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Softphone]:
    """PJSIP's user agent at a trunk of its own."""
    folder = tmp_path_factory.mktemp("softphone")
    (port,) = free_ports(HOST, 1)
    await speaking.stage.add_trunk("softphone", (HOST, port))
    await speaking.trunks_in_force()
    tone = folder / "tone.wav"
    with wave.open(str(tone), "wb") as file:
        file.setparams((1, 2, audio.RATE, 0, "NONE", ""))
        samples = np.sin(2 * np.pi * STRANGER_HZ * np.arange(2 * audio.RATE) / audio.RATE) * 12_000
        file.writeframes(samples.astype("<i2").tobytes())
    command = (sys.executable, "-m", "tests.calls.test_strangers", HOST, str(port), str(tone))
    root, pipe = Path(__file__).parents[2], asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=root)
    phone = Softphone(process, folder)
    await phone.until("ready")
    yield phone
    assert process.stdin is not None
    process.stdin.close()
    await process.communicate()


async def most_like(softphone: Softphone, path: Path, sounds: dict[str, audio.Sound]) -> str | None:
    """The prompt that it has heard since it was told to record, if one is much more like it than the others.

    Its jitter buffer leaves a packet out here and there, so that none is quite like it.
    """
    await softphone.do("keep")
    sound = (await recording(path)).astype(np.int16)
    likeness = {name: audio.find(prompt, sound).likeness for name, prompt in sounds.items()}
    second, first = sorted(likeness, key=lambda name: likeness[name])[-2:]
    return first if likeness[first] > 1.4 * likeness[second] else None


async def test_it_hears_dials_and_is_connected(desk: Desk, softphone: Softphone, tmp_path: Path) -> None:
    """The request in early media, keys by RFC 4733, and both hear each other."""
    host, port = desk.theatre.stage.sip
    await softphone.do("record", str(tmp_path / "asked.wav"))
    await softphone.do("call", f"sip:{desk.x}@{host}:{port}", "+8613799990001")
    await softphone.until("talks")
    await asyncio.sleep(1.8)
    assert await most_like(softphone, tmp_path / "asked.wav", desk.theatre.sounds) == "ask_extension"
    await softphone.do("keys", "123#")
    phone = desk.phones["123"]
    called = await phone.next_call(8)
    await called.wait_answered()
    assert called.display == desk.x
    assert await called.wait_heard(STRANGER_HZ)
    assert await softphone.hears(phone.tone_hz)
    await softphone.do("hang_up")
    await softphone.until("over")
    await called.wait_ended()


async def test_it_is_answered_and_then_connected(desk: Desk, softphone: Softphone, tmp_path: Path) -> None:
    """The same where its trunk wants an answer before the request: ring-back, then the callee."""
    theatre, phone = desk.theatre, desk.phones["7"]
    phone.behaviour = Behaviour(answer_after_s=1.0)
    await theatre.change_trunk("softphone", answers="asked")
    host, port = theatre.stage.sip
    await softphone.do("record", str(tmp_path / "answered.wav"))
    await softphone.do("call", f"sip:{desk.x}@{host}:{port}", "+8613799990003")
    await softphone.until("talks")
    await asyncio.sleep(1.4)
    assert await most_like(softphone, tmp_path / "answered.wav", theatre.sounds) == "ask_extension"
    await softphone.do("keys", "7#")
    called = await phone.next_call(8)
    assert await softphone.hears(450)
    await called.wait_answered()
    assert called.display == desk.x
    assert await called.wait_heard(STRANGER_HZ)
    assert await softphone.hears(phone.tone_hz)
    await called.hang_up()
    await softphone.until("over")
    cdr = await recorded(theatre, desk.x)
    assert (cdr["reason"], cdr["caller"]) == ("callee_hung_up", "+8613799990003")
    signals = await theatre.signals(cdr["call_id"])
    assert signals == ["received", "announcer_answers", "ringing", "answered", "ended"]
    await theatre.change_trunk("softphone", answers="connected")


async def test_it_hears_why_it_is_refused(
    speaking: SpeakingTheatre, softphone: Softphone, tmp_path: Path
) -> None:
    """The prompt of the reason in early media, and then the end."""
    pair = await speaking.pair()
    host, port = speaking.stage.sip
    await softphone.do("record", str(tmp_path / "refused.wav"))
    await softphone.do("call", f"sip:{pair.y}@{host}:{port}", "+8613799990002")
    await softphone.until("over")
    assert await most_like(softphone, tmp_path / "refused.wav", speaking.sounds) == "unknown_caller"
