"""What it costs to keep the SIP messages of calls: CPU per call by process, and disk per call.

Two platforms run side by side, one with `trace.sip`, one without, and take the same load by turns. Calls
leave no recording, so that audio is out of the picture.
"""

import asyncio
import sqlite3
import statistics
import time
from pathlib import Path

from bench.cost import ALL_BUT_AUDIO, Cost, idle, per_call, total
from bench.subject import FLOOR_MEDIA, Ours

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.secrecy import vault_of
from xiaohao.simulator.stage import Stage
from xiaohao.trace.keeping import Keeping

_SIZES = "SELECT count(*), coalesce(sum({count}), 0), coalesce(sum(length({column})), 0) FROM {table}"


def subjects(folder: Path) -> tuple[Ours, Ours]:
    """The platform without and with tracing."""
    plain, traced = Ours(folder / "plain"), Ours(folder / "traced")
    plain.name, traced.name = "without", "with"
    media = {"dead_after_s": 600} | FLOOR_MEDIA
    traced.stage = Stage(folder / "traced", media=media, trace={"sip": True})
    return plain, traced


async def report(both: tuple[Ours, Ours], folder: Path, rate: float, seconds: float, rounds: int) -> None:
    print(f"\nTracing: {rate:g} calls/s for {seconds:g} s, {rounds} rounds by turns, no recordings")
    at_rest = {}
    for subject in both:
        subject.pairs = subject.unrecorded
        at_rest[subject.name] = await idle(subject, 5)
        await per_call(subject, folder, rate, 3, at_rest[subject.name])  # warm up
    found: dict[str, list[Cost]] = {subject.name: [] for subject in both}
    for _ in range(rounds):
        for subject in both:
            cost = await per_call(subject, folder, rate, seconds, at_rest[subject.name])
            print(
                f"  {subject.name:>8}: "
                + ", ".join(f"{name} {value:.2f}" for name, value in cost.items())
                + " ms"
            )
            found[subject.name].append(cost)
            subject.sink.take()
    for name in (*ALL_BUT_AUDIO, "all"):
        names = ALL_BUT_AUDIO if name == "all" else (name,)
        more = [
            total(cost, names) - total(base, names)
            for cost, base in zip(found["with"], found["without"], strict=True)
        ]
        base = statistics.median(total(cost, names) for cost in found["without"])
        middle = statistics.median(more)
        print(
            f"  {name}: {base:.2f} ms a call without, {middle:+.2f} ms "
            f"({min(more):+.2f} to {max(more):+.2f}) with tracing, {middle / base if base else 0:+.0%}"
        )
    await asyncio.sleep(4)
    await _disk(both[1])


async def _disk(traced: Ours) -> None:
    """What of the calls lies on the disk, and how quickly it goes again."""
    settings = traced.stage.settings
    place = settings.database.url.removeprefix("sqlite:///")
    with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as database:
        rows, messages, size = database.execute(
            _SIZES.format(count="count", column="messages_sealed", table="sip_messages")
        ).fetchone()
        paths, _, path_size = database.execute(
            _SIZES.format(count="1", column="facts_sealed", table="call_paths")
        ).fetchone()
    print(
        f"  a call: {messages / paths:.1f} SIP messages in {rows / paths:.2f} rows of {size / rows:.0f} "
        f"bytes, {size / paths:.0f} bytes together; its path {path_size / paths:.0f} bytes"
    )
    vault = vault_of(settings)
    database = Database(settings.database.url, vault.key_id)
    keeping = Keeping(database, vault, settings, clock=lambda: now_us() + 400 * 86_400 * 1_000_000)
    began = time.monotonic()
    taken = await keeping.forget_old()
    print(f"  forgotten: {taken / (time.monotonic() - began):,.0f} rows a second")
    await database.close()
