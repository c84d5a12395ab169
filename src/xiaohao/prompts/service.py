"""Which prompt is played: answered from memory, for the switch.

`load` is run again and again; what somebody changed is in force with the next run. `chosen` never waits and
never raises into a call.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from xiaohao.bindings.model import PromptMoment
from xiaohao.calls.model import Reason
from xiaohao.database.engine import Database
from xiaohao.prompts import making, store
from xiaohao.prompts.model import (
    DEFAULT,
    NOTHING,
    ONLY_IF_CHOSEN,
    SITUATIONS,
    Language,
    Prompt,
    Situation,
    situation_of,
)

_log = structlog.get_logger()

#: a file that no prompt names any more stays so long: somebody may be listening to it
KEPT_S: Final = 4 * 3600
_SWEEP_S: Final = 600
#: what a binding names its prompts for
MOMENTS: Final[dict[str, PromptMoment]] = {
    Situation.BEFORE_CONNECT: PromptMoment.TO_CALLER,
    Situation.WAITING: PromptMoment.RINGING,
    Situation.WHISPER: PromptMoment.TO_CALLEE,
    Situation.MAX_DURATION_SOON: PromptMoment.NEAR_END,
    **{reason.value: PromptMoment.REFUSED for reason in Reason if situation_of(reason) is not None},
}
_OPERATOR: Final = ""


class Prompts:
    """The prompts of all customers, and the default set, as this machine has them in its `folder`."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder
        self._known = 0
        self._defaults: dict[str, Prompt] = {}
        #: by id; owner and name → id; owner, pool and situation → id
        self._prompts: dict[str, tuple[str, Prompt]] = {}
        self._named: dict[tuple[str, str], str] = {}
        self._choices: dict[tuple[str, str, str], str] = {}
        self._swept_at = time.monotonic()

    async def prepare(self) -> None:
        """Make the default set on this machine if it has none, in a process apart: some seconds then."""
        if making.default_set(self._folder) is not None:
            return
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xiaohao.prompts.making", str(self._folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if process.returncode:
            _log.error("default_prompts_not_made", detail=said.decode(errors="replace").strip()[-300:])

    async def load(self) -> None:
        """Bring what has changed into memory and onto this machine. Raises DatabaseUnavailable, OSError."""
        async with self._database.read() as connection:
            mark = await store.mark(connection)
            if mark == self._known:
                return
            prompts = await store.changed_prompts(connection, self._known)
            choices = await store.changed_choices(connection, self._known)
        for row in prompts:
            await self._fetch(row)
        self._take(prompts, choices)
        self._known = mark

    async def keep_up(self) -> None:
        """Once in a while: take the default set as soon as it is there, sweep up. Raises OSError."""
        if not self._defaults and (place := making.default_set(self._folder)) is not None:
            self._defaults = making.read(place)
        if time.monotonic() - self._swept_at > _SWEEP_S:
            self._swept_at = time.monotonic()
            await asyncio.to_thread(self._sweep)

    def chosen(
        self,
        customer_id: str | None,
        pool_id: str | None,
        binding_prompts: str | None,
        wanted: str,
    ) -> Prompt | None:
        """The prompt for a situation, or the one of that name or id.

        A situation's is looked for at the binding (`binding_prompts`: JSON, moment → name), in the customer's
        choice for the pool of the dialled number and for all pools, in the operator's for both, and in the
        default set, which is silent in the situations of ONLY_IF_CHOSEN. A name (or `prm_…`) is looked for
        among the customer's own and those that the operator shares. None: nothing is to be said.
        """
        if wanted not in SITUATIONS:
            return self._by_name(customer_id, wanted, None)
        moment = MOMENTS.get(wanted)
        if binding_prompts and moment is not None:
            name = _names(binding_prompts).get(moment.value)
            if isinstance(name, str):
                found = self._by_name(customer_id, name, wanted)
                if found is not None or name == NOTHING:
                    return found
        for owner in (customer_id, _OPERATOR):
            for pool in (pool_id, ""):
                if owner is None or pool is None:
                    continue
                chosen = self._choices.get((owner, pool, wanted))
                if chosen == NOTHING:
                    return None
                if chosen == DEFAULT:
                    return self._defaults.get(wanted)
                if chosen is not None and (known := self._prompts.get(chosen)) is not None:
                    return known[1]
        return None if wanted in ONLY_IF_CHOSEN else self._defaults.get(wanted)

    def has(self, customer_id: str, name: str) -> bool:
        """Whether a customer may have something of this name played; yes as long as nothing is known yet."""
        return not self._defaults or name == NOTHING or self.chosen(customer_id, None, None, name) is not None

    def _by_name(self, customer_id: str | None, name: str, situation: str | None) -> Prompt | None:
        if name == DEFAULT and situation is not None:
            return self._defaults.get(situation)
        for owner in (customer_id, _OPERATOR):
            if owner is None:
                continue
            found = self._prompts.get(self._named.get((owner, name), name))
            if found is not None and found[0] in (customer_id, _OPERATOR):
                return found[1]
        return self._defaults.get(name)

    def _take(self, prompts: list[Any], choices: list[Any]) -> None:
        for row in prompts:
            before = self._prompts.pop(row["id"], None)
            if before is not None:
                self._named.pop((before[0], before[1].name), None)
        for row in prompts:
            if row["version"] and row["sha256"] is not None:
                languages = tuple(Language(one) for one in json.loads(row["languages"]))
                prompt = Prompt(
                    row["id"], row["name"], self._file(row["sha256"]), row["duration_ms"], languages
                )
                self._prompts[prompt.id] = (row["owner"], prompt)
                self._named[row["owner"], prompt.name] = prompt.id
        for row in choices:
            key = (row["owner"], row["pool_id"], row["situation"])
            if row["prompt_id"] is None:
                self._choices.pop(key, None)
            else:
                self._choices[key] = row["prompt_id"]

    def _file(self, sha256: str) -> Path:
        return self._folder / "uploaded" / f"{sha256}.wav"

    async def _fetch(self, row: Mapping[Any, Any]) -> None:
        if not row["version"] or row["sha256"] is None or self._file(row["sha256"]).is_file():
            return
        async with self._database.read() as connection:
            audio = await store.audio(connection, row["id"], row["version"])
        if audio is not None:  # else it was replaced a moment ago: the next run brings what came
            await asyncio.to_thread(_write, self._file(row["sha256"]), audio)

    def _sweep(self) -> None:
        """Delete files that no prompt has named for a while."""
        wanted = {prompt.path for _, prompt in tuple(self._prompts.values())}
        folder = self._folder / "uploaded"
        for path in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if path in wanted:
                    os.utime(path)
                elif path.stat().st_mtime < time.time() - KEPT_S:
                    path.unlink()


def _names(document: str) -> dict[str, Any]:
    try:
        found = json.loads(document)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
