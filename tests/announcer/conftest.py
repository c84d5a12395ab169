"""A platform that speaks, for all tests of this folder: each situation has a sliding tone of its own."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.announcer import audio
from tests.calls.conftest import _SECRET, LIMITS, Theatre
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.customer import CustomerEndpoint
from xiaohao.simulator.stage import Stage

#: situation → from and to which pitch it slides, and for how long
SWEEPS = {
    "unknown_caller": (300, 1500, 1.0),
    "unknown_number": (1600, 400, 1.0),
    "binding_expired": (500, 2900, 1.0),
    "callee_busy": (2500, 700, 0.8),
    "callee_no_answer": (900, 2100, 0.8),
    "callee_unreachable": (3000, 300, 0.8),
    "callee_number_invalid": (350, 3200, 0.8),
    "platform_error": (1200, 3100, 0.8),
    "ask_extension": (450, 2600, 0.6),
    "wrong_extension": (2800, 1100, 0.4),
    "ask_last_digits": (2300, 450, 0.6),
    "wrong_last_digits": (600, 3000, 0.4),
    "ask_order_code": (1800, 2900, 0.6),
    "wrong_order_code": (2950, 1250, 0.4),
    "no_more_tries": (800, 2400, 0.4),
    "before_connect": (2200, 600, 0.6),
    "waiting": (700, 900, 0.5),
    "whisper": (3100, 1500, 0.8),
    "recorded": (550, 1900, 0.4),
    "max_duration_soon": (1300, 2700, 0.5),
    "goodbye": (2600, 1700, 0.5),
    "queued": (1700, 3000, 0.4),
    "our_music": (400, 1200, 0.5),
    "queue_timeout": (2700, 500, 0.5),
    "queue_full": (2400, 800, 0.5),
    "number_not_in_service": (1000, 1300, 8.0),
}


TERMS: dict[str, Any] = {
    "media": {"dead_after_s": 4},
    "calls": LIMITS | {"ring_s": 2},
    "announcements": {"warn_s": 3},
    "trace": {"sip": True},
    "routing": {"waiting_calls": 2},
}
#: not said in every call
WHILE_CONNECTING = ("before_connect", "waiting", "whisper", "recorded", "max_duration_soon", "goodbye")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder share the session's event loop, because they share the platform."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.calls)


class SpeakingTheatre(Theatre):
    """The platform with everybody around it, and its prompts."""

    sounds: dict[str, audio.Sound]
    #: of the platform: what is said in it is what lies there
    shelf: Path

    def put(self, *situations: str) -> None:
        """From now on these are said, too."""
        for name in situations:
            audio.write(self.shelf / f"{name}.wav", self.sounds[name])

    def take_away(self, *situations: str) -> None:
        """They are not said any more."""
        for name in situations:
            (self.shelf / f"{name}.wav").unlink()

    async def will_hear(self, call: Any, name: str) -> bool:
        """Whether within some seconds a phone's call has received this prompt, whole."""
        for _ in range(300):
            if audio.is_heard(self.sounds[name], call.received_audio):
                return True
            await asyncio.sleep(0.1)
        return False

    async def change_trunk(self, name: str, **changes: Any) -> None:
        """Set fields of a trunk; in force when this returns."""
        listed = (await self.stage.request("GET", "/v1/trunks?limit=100"))["items"]
        [trunk] = [one for one in listed if one["name"] == name]
        body = {"name": name, "state": "active", "spec": trunk["spec"] | changes}
        await self.stage.request("PUT", f"/v1/trunks/{trunk['id']}", body)
        await self.trunks_in_force()

    async def signals(self, call_id: str) -> list[str]:
        """What was signalled in a call that has ended, once its path is there (a moment after its record)."""
        entries: list[dict[str, Any]] = []
        for _ in range(300):
            entries = (await self.stage.request("GET", f"/v1/calls/{call_id}/path"))["entries"]
            if any(entry["kind"] == "decision" for entry in entries):
                break
            await asyncio.sleep(0.1)
        return [entry["what"] for entry in entries if entry["kind"] == "signal"]

    def hears(self, call: Any) -> list[str]:
        """The situations whose prompts a phone's call has received, whole."""
        heard = call.received_audio
        return [name for name, sound in self.sounds.items() if audio.is_heard(sound, heard)]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def speaking(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SpeakingTheatre]:
    folder = tmp_path_factory.mktemp("speaking")
    sounds = {name: audio.sweep(*shape) for name, shape in SWEEPS.items()}
    (folder / "sounds").mkdir()
    stage = Stage(folder / "platform", host="127.0.3.1", **TERMS)
    async with AsyncExitStack() as stack:
        with put_prompts(folder):
            await stack.enter_async_context(stage)
        endpoint = await stack.enter_async_context(CustomerEndpoint("127.0.3.4", secret=_SECRET))
        mobile = await stack.enter_async_context(Carrier("127.0.3.2", edge=stage.sip))
        city = await stack.enter_async_context(Carrier("127.0.3.3", edge=stage.sip))
        theatre = SpeakingTheatre(stage, mobile, city, endpoint)
        theatre.sounds, theatre.shelf = sounds, folder / "sounds"
        theatre.put(*(name for name in sounds if name not in WHILE_CONNECTING))
        await theatre.furnish()
        yield theatre
        theatre.find_numbers_at_rest()
        assert not mobile.errors
        assert not city.errors


#: run by every Python process of the platform: the prompts of a folder in place of the stored ones
_SITE = """
from pathlib import Path
from xiaohao.prompts import model, service

def chosen(self, customer_id, pool_id, binding_id, wanted):
    path = Path({folder!r}, wanted + ".wav")
    if path.exists():
        return model.Prompt(wanted, wanted, path, (path.stat().st_size - 44) // 16, ())

service.Prompts.chosen = chosen
"""


@contextmanager
def put_prompts(folder: Path) -> Iterator[None]:
    """Let the platform that is started meanwhile find the prompts."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE.format(folder=str(folder / "sounds")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        yield
