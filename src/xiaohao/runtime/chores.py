"""What the command line does beside supervising: serve one kind, migrate, make keys, replace the master key.

Kept apart from the supervisor, which does without the database's libraries and stays small.
"""

import asyncio
import contextlib
import importlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from xiaohao import log
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.database.errors import DatabaseInUse
from xiaohao.notifications.feed import Feed, Wanted
from xiaohao.notifications.model import EventState, Kind
from xiaohao.rotation.files import KeyFiles
from xiaohao.rotation.model import RotationFailed
from xiaohao.rotation.service import Progress, Rotation
from xiaohao.runtime import garbage
from xiaohao.runtime.commands import opened, plainly, read_choice, read_span
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import vault_of
from xiaohao.settings import KEY_VARIABLE, Settings
from xiaohao.tenants.service import Tenants

#: where each kind's `async def run(settings)` is; it is cancelled on SIGTERM
_KINDS: Final = {
    "switch": "xiaohao.switch.main",
    "web": "xiaohao.api.main",
    "worker": "xiaohao.runtime.worker",
}


def serve(kind: str, settings: Settings) -> None:
    """Run one kind of process (switch, web, worker) until SIGTERM or SIGINT. Raises ChoreFailed."""
    log.configure(settings.log_level)
    with plainly():
        uvloop.run(_until_signal(kind, settings))


async def _until_signal(kind: str, settings: Settings) -> None:
    """Run the kind's `run` to its end, or cancel it on a signal and wait until it has tidied up."""
    if kind != "web":  # which brings it up to date itself
        await _check_schema(settings)
    kind_of_process = importlib.import_module(_KINDS[kind])
    garbage.keep_what_is_there()
    task = asyncio.ensure_future(kind_of_process.run(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _check_schema(settings: Settings) -> None:
    """Raises ChoreFailed where the database is of another version, or empty; not where it is away."""
    with contextlib.suppress(DatabaseUnavailable):
        async with opened(settings) as database:
            if not await database.is_up_to_date():
                raise ChoreFailed(
                    "the database has not the schema of this version: run `xiaohao migrate` first"
                )


def migrate(settings: Settings) -> None:
    """Bring the database's schema up to date. Raises ChoreFailed."""
    with plainly():
        asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    async with opened(settings) as database:
        await database.migrate()
        await database.agree()


def create_key(settings: Settings, customer_id: str | None, label: str) -> str:
    """A new API key of a customer (None: of the operator): its text. Raises ChoreFailed."""
    with plainly():
        return asyncio.run(_create_key(settings, customer_id, label))


async def _create_key(settings: Settings, customer_id: str | None, label: str) -> str:
    async with opened(settings) as database:
        await database.migrate()
        await database.agree()
        _, text = await Tenants(database, vault_of(settings)).create_key(customer_id, label)
        return text


def replay_events(settings: Settings, wanted: Mapping[str, Any], send: bool) -> int:
    """Send events again, or only count them; gives their number. Raises ChoreFailed.

    `wanted` has the fields of `notifications.feed.Wanted`, moments as RFC 3339.
    """
    with plainly():
        return asyncio.run(_replay_events(settings, _wanted(wanted), send))


def _wanted(fields: Mapping[str, Any]) -> Wanted:
    chosen = {name: value for name, value in fields.items() if value}
    read_span(chosen)
    if "state" in chosen:
        chosen["state"] = read_choice("state", EventState, chosen["state"])
    if "kinds" in chosen:
        chosen["kinds"] = [read_choice("kind", Kind, kind).value for kind in chosen["kinds"]]
    return Wanted(**chosen)


async def _replay_events(settings: Settings, wanted: Wanted, send: bool) -> int:
    async with opened(settings) as database:
        await database.agree()
        feed = Feed(database, vault_of(settings))
        return await (feed.replay(wanted) if send else feed.count_replayable(wanted))


def rotate_key(settings: Settings, new_key_file: Path | None) -> str:
    """Seal the database with another master key and put that in the old one's place; gives what to tell.

    Raises ChoreFailed; run again it goes on where it stopped.
    """
    from_environment = bool(os.environ.get(KEY_VARIABLE))
    files = KeyFiles.of(settings, new_key_file, from_environment)
    with plainly(DatabaseInUse, RotationFailed):
        if files.in_use is not None and not files.in_use.exists():
            raise ChoreFailed(f"there is no master key {files.in_use}: nothing was sealed with it")
        old = settings.master_key()
        with _progress() as progress:
            rows = asyncio.run(_rotate_key(settings, old, files, progress))
        kept = files.swap(old)
    said = f"{rows} rows are sealed with the new master key. "
    if kept is None:
        return said + f"Put the key in {files.coming} into {KEY_VARIABLE} before you start the platform."
    return said + f"It is in {files.in_use}; the old one is kept in {kept} for what is still under it."


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """A bar a table, on the terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(table: str, done: int, total: int) -> None:
            if total and table not in tasks:
                tasks[table] = bars.add_task(table, total=total)
            if table in tasks:
                bars.update(tasks[table], completed=done)

        yield show


async def _rotate_key(settings: Settings, old: bytes, files: KeyFiles, progress: Progress) -> int:
    database = Database(settings.database.url)
    try:
        await database.migrate()
        # Alone from before there is a new key: no other run can take up one that is removed again.
        with database.fence.alone():
            made = not files.coming.exists()
            rotation = Rotation(database, old, files.new_key(lambda: os.urandom(32)), progress)
            try:
                return await rotation.run_alone()
            except Exception:
                if made and not await rotation.has_begun():
                    files.coming.unlink()
                raise
    finally:
        await database.close()
