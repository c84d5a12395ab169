"""What `xiaohao recordings` does."""

import asyncio

from xiaohao.clock import SECOND, rfc3339
from xiaohao.recordings import strays as captures
from xiaohao.recordings.strays import Stray
from xiaohao.runtime.commands import opened, plainly
from xiaohao.settings import Settings


def strays(settings: Settings) -> list[str]:
    """A line for each call whose captures lie here and that nobody knows. Raises ChoreFailed."""
    with plainly():
        found = asyncio.run(_strays(settings))
    return [
        f"{rfc3339(int(stray.written_at * SECOND))}  {stray.bytes:>12}  {' '.join(stray.files)}"
        for stray in found
    ]


async def _strays(settings: Settings) -> list[Stray]:
    async with opened(settings) as database:
        await database.agree()
        return await captures.find(database, settings.captures_folder)
