"""The web process: the API behind uvicorn, until SIGTERM."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import structlog
import uvicorn

from xiaohao.api.app import create_app
from xiaohao.api.protocol import BoundedProtocol
from xiaohao.database.engine import Database
from xiaohao.notifications.streams import Streams
from xiaohao.runtime import garbage
from xiaohao.secrecy import Vault, vault_of
from xiaohao.settings import Settings, host_port

#: requests that are at work when the process is told to stop get so long to end
_GRACE_S: Final = 10
_BACKLOG: Final = 2048
#: so many new objects are looked through for cycles at a time; a batch of 1,000 bindings makes half as many
_OBJECTS_MORE: Final = 50_000

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Serve the API until SIGTERM or SIGINT; requests at work are finished first.

    Raises DatabaseUnavailable when the database cannot be brought up to date or has another master key,
    OSError when the address is taken, SettingsError.
    """
    vault = vault_of(settings)
    database = Database(settings.database.url, vault.key_id)
    try:
        await database.migrate()
        await database.agree()
        server = _server(settings, database, vault)
        garbage.keep_what_is_there(_OBJECTS_MORE)
        await server.serve()
        if not server.started:
            raise OSError(f"cannot listen on {settings.web.listen}")
    finally:
        await database.close()


class _Server(uvicorn.Server):
    """Ends with status 0 on a signal, where uvicorn would send the signal to itself once more."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams as well, which have no end of their own."""
        self._streams.stop()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _server(settings: Settings, database: Database, vault: Vault) -> _Server:
    host, port = host_port(settings.web.listen)
    app = create_app(settings, database, vault)
    config = uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=port,
        http=BoundedProtocol,
        ws="none",
        # URLs are not written down: one that a client made up wrongly may hold a number.
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_S,
    )
    log.info("web starts", listen=settings.web.listen)
    return _Server(config, app.state.streams)
