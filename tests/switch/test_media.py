"""Noticing that rtpengine was restarted, and which calls that took."""

from pathlib import Path
from typing import Any

import pytest

from xiaohao.clock import SECOND, now_us
from xiaohao.edge.ng import NgError
from xiaohao.switch.media import MediaWatch, identity_of


class NgDouble:
    """An rtpengine that knows some calls, or does not answer."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.away = False

    async def command(self, name: str, **parameters: Any) -> dict[str, Any]:
        if self.away:
            raise NgError("no answer")
        if name == "ping":
            return {"result": "pong"}
        call_id = parameters["call_id"]
        found = call_id in self.known
        if name == "delete":
            self.known.discard(call_id)
        return {"result": "ok" if found else "error"}


class Scene:
    def __init__(self, folder: Path) -> None:
        self.pid_file = folder / "rtpengine.pid"
        self.pid_file.write_text("17\n")
        self.ng = NgDouble("talks", "rings")
        #: call → when it was answered
        self.calls: dict[str, int | None] = {"talks": 1, "rings": None}
        self.lost: list[str] = []
        self.watch = MediaWatch(
            self.ng,  # type: ignore[arg-type]
            lambda: identity_of(self.pid_file),
            self.with_media,
            self.lost.append,
        )

    def with_media(self, answered_before: int | None = None) -> list[str]:
        if answered_before is None:
            return list(self.calls)
        return [call for call, at in self.calls.items() if at is not None and at < answered_before]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_restart_ends_the_calls_that_are_forgotten(scene: Scene) -> None:
    await scene.watch.look()
    await scene.watch.look()
    assert not scene.lost
    scene.ng.known = {"new"}
    scene.calls["new"] = None
    scene.pid_file.write_text("18\n")
    await scene.watch.look()
    assert scene.lost == ["talks", "rings"]
    await scene.watch.look()
    assert scene.lost == ["talks", "rings"]


async def test_a_restart_is_seen_again_after_a_look_that_failed(scene: Scene) -> None:
    await scene.watch.look()
    scene.ng.known = set()
    scene.pid_file.write_text("18\n")
    scene.ng.away = True
    with pytest.raises(NgError):
        await scene.watch.look()
    scene.ng.away = False
    await scene.watch.look()
    assert scene.lost == ["talks", "rings"]


async def test_answered_calls_are_checked_without_a_restart(scene: Scene) -> None:
    scene.calls["answered just now"] = now_us() + SECOND
    scene.ng.known = set()
    await scene.watch.check_answered()
    assert scene.lost == ["talks"]
    await scene.watch.check("rings")
    assert scene.lost == ["talks", "rings"]


async def test_media_is_released_as_far_as_rtpengine_answers(scene: Scene) -> None:
    await scene.watch.release(["talks", "unknown"])
    assert scene.ng.known == {"rings"}
    scene.ng.away = True
    await scene.watch.release(["rings"])
    assert scene.ng.known == {"rings"}


def test_identity(tmp_path: Path) -> None:
    assert identity_of(tmp_path / "none") == ""
    file = tmp_path / "pid"
    file.write_text("17\n")
    assert identity_of(file).startswith("17 ")
