"""`xiaohao events replay`: counts first, sends when told to."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from tests.notifications.conftest import Post
from xiaohao.cli import app
from xiaohao.database.schema import events
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.settings import KEY_VARIABLE


async def test_replay(post: Post, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, bytes(range(32)).hex())  # that of the fixture `vault`
    config = tmp_path / "xiaohao.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n')
    customer = await post.tenants.create_customer("Ride", "https://example.com/")
    dead, fine = [await post.call(customer.id) for _ in range(2)]
    async with post.database.begin() as connection:
        settled = update(events).where(events.c.sequence < 4)
        await connection.execute(settled.where(events.c.call_id == dead).values(state="dead"))
        await connection.execute(settled.where(events.c.call_id == fine).values(state="delivered"))

    async def replay(*options: str) -> str:
        arguments = ["events", "replay", *options, "--config", str(config)]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        if isinstance(result.exception, ChoreFailed):
            return str(result.exception)
        assert result.exit_code == 0, result.output
        return result.output.strip()

    assert await replay("--state", "dead") == "3 events; add --send to send them again"
    assert await post.states(dead) == ["dead", "dead", "dead", "due", "due"]
    chosen = ("--customer", customer.id, "--kind", "call.ringing", "--kind", "call.received")
    assert (
        await replay(*chosen, "--until", "2100-01-01T00:00:00Z") == "4 events; add --send to send them again"
    )
    assert await replay(*chosen, "--call", dead, "--send") == "2 events are sent again"
    assert await post.states(dead) == ["due", "due", "dead", "due", "due"]
    assert await post.states(fine) == ["delivered", "delivered", "delivered", "due", "due"]
    assert await replay("--customer", customer.id) == (
        "say which events: ids, kinds, state, call_id, since or until"
    )
    assert await replay("--state", "lost") == "--state: give one of due, delivered, dead, unwanted"
    assert (await replay("--kind", "call.lost")).startswith("--kind: give one of call.received, call.ringing")
    backwards = ("--since", "2026-11-24T00:00:00Z", "--until", "2026-11-23T00:00:00Z")
    assert await replay(*backwards, "--send") == "must be after since"
    assert await replay("--since", "yesterday") == "--since: give a moment as in 2026-11-23T03:04:05Z"
