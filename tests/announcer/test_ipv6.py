"""What callers with IPv6 hear of the platform."""

from pathlib import Path

import pytest

from tests.calls.families import FOUR, SIX, addresses, opened, talk
from xiaohao.simulator.behaviour import Behaviour

from . import audio
from .conftest import put_prompts


@pytest.mark.parametrize(("hosts", "callee"), [((SIX,), "six over TCP"), ((FOUR, SIX), "four")])
async def test_connected_and_not_connected(tmp_path: Path, hosts: tuple[str, ...], callee: str) -> None:
    """By the platform, and by the callee: where both have IPv6, and where the callee has IPv4."""
    said = {"unknown_caller": audio.sweep(300, 1500, 1.0), "callee_busy": audio.sweep(2500, 700, 0.8)}
    (tmp_path / "sounds").mkdir()
    for name, sound in said.items():
        audio.write(tmp_path / "sounds" / f"{name}.wav", sound)
    with put_prompts(tmp_path):
        async with opened(tmp_path / "platform", **addresses(*hosts)) as hall:
            scene = await hall.scene("six", callee)
            call, _ = await talk(scene)
            await call.hang_up()
            assert (await hall.cdr(scene))["reason"] == "caller_hung_up"
            stranger = hall.carriers["six"].add_phone("+8613712350001", 0)
            refused = await stranger.call(scene.dialled)
            await refused.wait_ended(15)
            assert (refused.final_code, refused.provisional_codes) == (403, [183])
            assert audio.is_heard(said["unknown_caller"], refused.received_audio)
            busy = await hall.scene("six", callee, Behaviour(reject_with=(486, "Busy Here")))
            call = await busy.caller.call(busy.dialled)
            await call.wait_ended(15)
            assert call.final_code == 486
            assert audio.is_heard(said["callee_busy"], call.received_audio)
