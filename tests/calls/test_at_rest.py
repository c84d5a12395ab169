"""Where people's numbers could stand while a call is recorded and after it: tables, logs, captures, store."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from tests.database.test_at_rest import writings

from .bare import exchange, sdp
from .conftest import Theatre

#: written into headers and session descriptions by both sides: it stands for whatever they say of themselves
_MARK = "+8613572468019"
_LINES = (f"i={_MARK}", f"u=tel:{_MARK}", f"e={_MARK}", f"p={_MARK}", f"a=ssrc:1 cname:{_MARK}", f"a={_MARK}")


def _writing(digits: str) -> str:
    return f"o={digits} {digits} {digits}"


def _held(paths: Iterator[Path], numbers: list[str]) -> list[tuple[str, str]]:
    """In which files which writing of a number stands."""
    found = []
    for path in paths:
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        found += [
            (path.name, name)
            for number in numbers
            for name, writing in writings(number).items()
            # five bytes come up by chance in megabytes of sealed text and sound
            if len(writing) > 8 and (writing in data or writing in data.lower())
        ]
    return found


async def test_nobodys_number_is_left_anywhere(theatre: Theatre) -> None:
    """While it goes on its metadata hold none; after it there is no capture, and none in any file."""
    captures = theatre.stage.settings.captures_folder
    async with exchange(theatre, "127.0.0.121", "127.0.0.122") as bare:
        line = await bare.line(record=True)
        telling, answer = (
            sdp(side.socket.host, 9000, *_LINES)
            .replace("s=-", f"s={_MARK}")
            .replace("o=- 7 7", _writing(_MARK[1:]))
            for side in (line.near, line.far)
        )
        line.invite(content=telling)
        await line.answered(content=answer)
        numbers = [_MARK, line.near.number, line.far.number]
        metadata = list(captures.rglob("rtpengine-meta-*"))
        assert metadata, "the call is recorded"
        assert _held(iter(metadata), numbers) == []
        await line.hang_up()
    call_id = str((await line.cdr())["call_id"])
    await theatre.endpoint.wait_for("recording.ready", call_id, timeout=60)
    for _ in range(300):
        if not list(captures.rglob(f"*{call_id}*")):
            break
        await asyncio.sleep(0.1)
    assert list(captures.rglob(f"*{call_id}*")) == []
    everything = [path for path in theatre.stage.folder.rglob("*") if path.suffix != ".pcap"]
    assert [path.suffix for path in everything if path.name.startswith(call_id)] == [".sealed"]
    assert {"switch.log", "worker.log", "web.log"} <= {path.name for path in everything}
    assert _held(iter(everything), numbers) == []
