"""The files that rtpengine is given, and talks that are over before they have begun."""

import asyncio
import gc
import os
import time
import warnings
from pathlib import Path

from tests.announcer import audio
from xiaohao.announcer.media import Player, Reels
from xiaohao.announcer.speech import Speech
from xiaohao.announcer.talk import Talk
from xiaohao.announcer.tones import Tones
from xiaohao.calls.model import Call
from xiaohao.edge.ng import Ng
from xiaohao.prompts.service import KEPT_S


def _age(path: Path) -> None:
    long_ago = time.time() - KEPT_S - 60
    os.utime(path, (long_ago, long_ago))


def _prompt(folder: Path, name: str) -> Path:
    path = folder / f"{name}.wav"
    audio.write(path, audio.sweep(400, 900, 0.2))
    return path


async def test_what_no_prompt_uses_is_swept(tmp_path: Path) -> None:
    """A prompt that is still there keeps its file however old; what was left behind goes, but not at once."""
    folder, reels = tmp_path / "reels", Reels(tmp_path / "reels")
    used, gone = _prompt(tmp_path, "used"), _prompt(tmp_path, "gone")
    kept, left = await reels.of(used), await reels.of(gone)
    before = folder / "of-another-switch.nut"
    before.write_bytes(b"")
    gone.unlink()
    _age(kept)
    _age(before)
    await reels.of(_prompt(tmp_path, "new"))
    assert await reels.of(used) == kept
    assert kept.exists()
    assert not before.exists()
    assert left.exists(), "somebody may still be listening"
    _age(left)
    await reels.of(_prompt(tmp_path, "newer"))
    assert not left.exists()
    assert len(list(folder.iterdir())) == 3


async def test_what_is_taken_up_again_is_not_swept(tmp_path: Path) -> None:
    """After a restart, too."""
    path = _prompt(tmp_path, "prompt")
    reel = await Reels(tmp_path / "reels").of(path)
    _age(reel)
    restarted = Reels(tmp_path / "reels")
    assert await restarted.of(path) == reel
    await restarted.of(_prompt(tmp_path, "new"))
    assert reel.exists()


class _Silence:
    """Nothing is said in any situation."""

    def chosen(
        self, customer_id: str | None, pool_id: str | None, binding_prompts: str | None, wanted: str
    ) -> None:
        """No prompt."""


async def test_a_call_that_is_over_at_once(tmp_path: Path) -> None:
    """A restarted switch is told of the answer and of the end in one breath: no work is left lying about."""
    talk = Talk(Speech(_Silence(), Player(Ng("127.0.0.1:9"), tmp_path), on=True), 60, Tones(tmp_path))
    call = Call("call", "edge1", 1, dialled="+861062000001")
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        talk.answered(call)
        talk.ended(call)
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
    assert [str(each.message) for each in complaints] == []
