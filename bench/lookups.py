"""What recognising a call costs with few and with very many live bindings, and what a binding takes on disk.

Method: a SQLite database for each size, filled directly: a binding has one X of its driver (ten bindings a
driver) and one Y of 20,000, its two legs, every index, blobs as long as the real ones. Keys lie evenly over
their range, which lets the rows come in the order of the table. Then the look-up of the switch, with the
judgement, 20,000 times for each size, in turns of 200 for one size after the other, so that whatever else the
machine does meets all sizes alike; callers are drawn at random, half of them A and half B. Before, 2,000
for each that do not count, and each file is read through once, so that the system has it in its memory as far
as that goes. The file was written once and in order; one that has lived has emptier pages
(`allocations` says how many bytes a binding takes there).
"""

import os
import random
import sqlite3
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.machine import percentile
from sqlalchemy import Index
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateIndex

from xiaohao.bindings.recognition import Outcome, judge
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import bindings, legs
from xiaohao.switch.lookup import lookup_for

_CUSTOMER = "cus_0123456789abcdef0123456789abcdef"
_PER_DRIVER = 10
_YS = 20_000
_LOOK_UPS = 20_000
_TURN = 200
_SEALED = 1 + 12 + 14 + 16


def _key(place: int, of: int) -> bytes:
    return (place * (1 << 62) // of).to_bytes(8) + (place * 0x9E3779B97F4A7C15 & (1 << 64) - 1).to_bytes(8)


def _x(driver: int) -> str:
    return f"+86139{driver:08}"


def _y(binding: int) -> str:
    return f"+86106{binding % _YS:07}"


def _a_key(binding: int, count: int) -> bytes:
    return _key(binding // _PER_DRIVER, count)


def _b_key(binding: int, count: int) -> bytes:
    # behind all keys of A, which begin with a bit that is 0
    key = _key(binding, count)
    return bytes([key[0] | 0x80]) + key[1:]


async def fill(path: Path, count: int) -> float:
    """A database with so many live bindings; gives the seconds it took."""
    began = time.perf_counter()
    database = Database(f"sqlite:///{path}")
    await database.migrate()
    await database.close()
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
        connection.execute(f"PRAGMA {setting}")
    indexes = [index for table in (bindings, legs) for index in sorted(table.indexes, key=_name)]
    connection.execute("BEGIN")
    for index in indexes:
        connection.execute(f"DROP INDEX {index.name}")
    connection.execute(
        "INSERT INTO customers (id, name, state, created_at, updated_at) VALUES (?, 'c', 'active', 0, 0)",
        (_CUSTOMER,),
    )
    _insert(connection, "numbers", _numbers(count))
    _insert(connection, "bindings", _bindings(count))
    _insert(connection, "legs", _legs_of_a(count))
    _insert(connection, "legs", _legs_of_b(count))
    for index in indexes:
        connection.execute(str(CreateIndex(index).compile(dialect=dialect())))
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return time.perf_counter() - began


def _name(index: Index) -> str:
    return str(index.name)


def _insert(connection: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows)
    names, markers = ", ".join(first), ", ".join("?" * len(first))
    statement = f"INSERT INTO {table} ({names}) VALUES ({markers})"
    connection.execute(statement, tuple(first.values()))
    connection.executemany(statement, (tuple(row.values()) for row in rows))


def _numbers(count: int) -> Iterator[dict[str, Any]]:
    common = {
        "customer_id": _CUSTOMER,
        "pool_id": "pool_1",
        "last_used_at": 0,
        "created_at": 0,
        "updated_at": 0,
    }
    for driver in range(-(-count // _PER_DRIVER)):
        key = _key(driver, count)
        mine = {"assigned_to_key": key, "assigned_by": _CUSTOMER, "fixed": 0, "verification": "verified"}
        yield {"number": _x(driver), "kind": "mobile", "state": "in_service", **mine, **common}
    for place in range(min(_YS, count)):
        nobody = {"assigned_to_key": None, "assigned_by": None, "fixed": 0, "verification": "none"}
        yield {"number": _y(place), "kind": "landline", "state": "available", **nobody, **common}


def _id(binding: int) -> str:
    return f"bnd_{0x01990000_0000_7000_8000_000000000000 + (binding << 40):032x}"


def _bindings(count: int) -> Iterator[dict[str, Any]]:
    sealed = os.urandom(_SEALED)
    for binding in range(count):
        yield {
            "id": _id(binding),
            "customer_id": _CUSTOMER,
            "mode": "axyb",
            "state": "live",
            "a_key": _a_key(binding, count),
            "a_sealed": sealed,
            "b_key": _b_key(binding, count),
            "b_sealed": sealed,
            "x": _x(binding // _PER_DRIVER),
            "y": _y(binding),
            "direction": "both",
            "y_on_demand": 0,
            "expires_at": 1 << 60,
            "record": 1,
            "order_ref": f"order {binding}",
            "created_at": binding,
            "updated_at": binding,
        }


def _leg(binding: int) -> dict[str, Any]:
    return {
        "binding_id": _id(binding),
        "customer_id": _CUSTOMER,
        "mode": "axyb",
        "state": "live",
        "barred": 0,
        "valid_until": 1 << 60,
        "record": 1,
        "order_ref": f"order {binding}",
    }


def _legs_of_a(count: int) -> Iterator[dict[str, Any]]:
    sealed = os.urandom(_SEALED)
    for binding in range(count):
        yield {
            "caller_key": _a_key(binding, count),
            "dialled": _y(binding),
            "role": "a",
            "callee_sealed": sealed,
            "display": _x(binding // _PER_DRIVER),
            **_leg(binding),
        }


def _legs_of_b(count: int) -> Iterator[dict[str, Any]]:
    sealed = os.urandom(_SEALED)
    for binding in range(count):
        yield {
            "caller_key": _b_key(binding, count),
            "dialled": _x(binding // _PER_DRIVER),
            "role": "b",
            "callee_sealed": sealed,
            "display": _y(binding),
            **_leg(binding),
        }


async def report(folder: Path, sizes: list[int]) -> None:
    """Print the times of look-ups and the bytes."""
    print("\nLook-up of a live binding, SQLite")
    paths = {}
    for count in sizes:
        paths[count] = folder / f"{count}.db"
        took = await fill(paths[count], count)
        size = paths[count].stat().st_size
        each = f"{size / 2**20:.0f} MiB, {size / count:.0f} bytes each"
        print(f"  {count} bindings: {each}; filled in {took:.0f} s")
    for path in paths.values():
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    looking = {count: lookup_for(Database(f"sqlite:///{path}").url) for count, path in paths.items()}
    times: dict[int, list[float]] = {count: [] for count in sizes}
    rng = random.Random(1)
    for turn in range(-2_000 // _TURN, _LOOK_UPS // _TURN):
        for count, lookup in looking.items():
            for _ in range(_TURN):
                binding = rng.randrange(count)
                by_a = rng.random() < 0.5
                key = _a_key(binding, count) if by_a else _b_key(binding, count)
                dialled = _y(binding) if by_a else _x(binding // _PER_DRIVER)
                began = time.perf_counter()
                now = now_us()
                match = judge(await lookup.find(key, dialled, now), now)
                took = time.perf_counter() - began
                if match.outcome is not Outcome.CONNECT or match.binding_id != _id(binding):
                    raise RuntimeError(f"{match.outcome} where {_id(binding)} is live")
                if turn >= 0:
                    times[count].append(took * 1e6)
    first = percentile(times[sizes[0]], 0.99)
    for count, of_size in times.items():
        p99 = percentile(of_size, 0.99)
        print(
            f"  {count}: median {statistics.median(of_size):.0f} µs, p99 {p99:.0f} µs,"
            f" {p99 / first:.2f} × the first (target 1.3)"
        )
    for lookup in looking.values():
        await lookup.close()
    for path in paths.values():
        path.unlink()
