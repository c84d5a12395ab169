"""What the command line does beside supervising: serve one kind, migrate, make a key.

Kept apart from the supervisor, which does without the database's libraries and stays small.
"""

import asyncio
import contextlib
import importlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Final

import uvloop

from xiaohao import log
from xiaohao.database.engine import Database, DatabaseUnavailable
from xiaohao.errors import Refusal
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import SecrecyError, Vault
from xiaohao.settings import Settings
from xiaohao.tenants.service import Tenants

#: where each kind's `async def run(settings)` is; it is cancelled on SIGTERM
_KINDS: Final = {
    "switch": "xiaohao.switch.main",
    "web": "xiaohao.api.main",
    "worker": "xiaohao.runtime.worker",
}


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        raise ChoreFailed(refusal.detail) from refusal
    except (DatabaseUnavailable, SecrecyError, OSError) as error:
        raise ChoreFailed(str(error)) from error


def serve(kind: str, settings: Settings) -> None:
    """Run one kind of process (switch, web, worker) until SIGTERM or SIGINT. Raises ChoreFailed."""
    log.configure(settings.log_level)
    with _plainly():
        uvloop.run(_until_signal(kind, settings))


async def _until_signal(kind: str, settings: Settings) -> None:
    """Run the kind's `run` to its end, or cancel it on a signal and wait until it has tidied up."""
    task = asyncio.ensure_future(importlib.import_module(_KINDS[kind]).run(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.database.url)
    try:
        yield database
    finally:
        await database.close()


def migrate(settings: Settings) -> None:
    """Bring the database's schema up to date. Raises ChoreFailed."""
    with _plainly():
        asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    async with _database(settings) as database:
        await database.migrate()


def create_key(settings: Settings, customer_id: str | None, label: str) -> str:
    """A new API key of a customer (None: of the operator): its text. Raises ChoreFailed."""
    with _plainly():
        return asyncio.run(_create_key(settings, customer_id, label))


async def _create_key(settings: Settings, customer_id: str | None, label: str) -> str:
    async with _database(settings) as database:
        await database.migrate()
        _, text = await Tenants(database, Vault(settings.master_key())).create_key(customer_id, label)
        return text
