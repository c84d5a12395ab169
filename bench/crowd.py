"""A database with any number of live bindings, filled directly, to look calls up in.

A binding has one X of its driver (ten bindings a driver) and one Y of 20,000, and its two legs, with every
index and blobs as long as the real ones. Keys lie evenly over their range, which lets the rows come in the
order of the keys, and indexes are made at the end: as good as a database that was written anew.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Index, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex

from xiaohao.database.engine import Database
from xiaohao.database.schema import bindings, legs, numbers

CUSTOMER = "cus_0123456789abcdef0123456789abcdef"
_PER_DRIVER = 10
_YS = 20_000
_SEALED = 1 + 4 + 12 + 14 + 16
#: mixes the bits of the second half of a key
_ODD = 2_654_435_761
#: keys of B lie behind all keys of A, which begin with a bit that is 0
_BEHIND_A = 1 << 63

Row = dict[str, Any]


def _key(place: int, of: int, first: int = 0) -> bytes:
    return (first + place * ((1 << 62) // of)).to_bytes(8) + (place * _ODD).to_bytes(8)


def x_of(binding: int) -> str:
    """The X of a binding's driver."""
    return f"+86139{binding // _PER_DRIVER:08}"


def y_of(binding: int) -> str:
    """The Y of a binding."""
    return f"+86106{binding % _YS:07}"


def a_key(binding: int, count: int) -> bytes:
    """The key of its driver, where there are so many bindings."""
    return _key(binding // _PER_DRIVER, count)


def b_key(binding: int, count: int) -> bytes:
    """The key of its passenger."""
    return _key(binding, count, _BEHIND_A)


def id_of(binding: int) -> str:
    """As ids are made: in the order of time."""
    return f"bnd_{0x01990000_0000_7000_8000_000000000000 + (binding << 40):032x}"


async def fill(url: str, count: int) -> float:
    """Make the tables and so many live bindings; gives the seconds it took."""
    began = time.perf_counter()
    database = Database(url)
    await database.migrate()
    await database.close()
    (_fill_sqlite if database.is_sqlite else _fill_postgresql)(url, count)
    return time.perf_counter() - began


def _tables(count: int) -> list[tuple[str, Iterator[Row]]]:
    return [
        ("customers", _customers()),
        ("numbers", _numbers(count)),
        ("bindings", _bindings(count)),
        ("legs", _legs("a", count)),
        ("legs", _legs("b", count)),
    ]


def _fill_sqlite(url: str, count: int) -> None:
    connection = sqlite3.connect(Path(make_url(url).database or ""), isolation_level=None)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN")
    for index in _indexes():
        connection.execute(f"DROP INDEX {index.name}")
    for table, rows in _tables(count):
        first = next(rows)
        names, markers = ", ".join(first), ", ".join("?" * len(first))
        statement = f"INSERT INTO {table} ({names}) VALUES ({markers})"
        connection.execute(statement, tuple(first.values()))
        connection.executemany(statement, (tuple(row.values()) for row in rows))
    for index in _indexes():
        connection.execute(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def _fill_postgresql(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("SET synchronous_commit = off")
        for index in _indexes():
            connection.execute(f"DROP INDEX {index.name}")
        for table, rows in _tables(count):
            first = next(rows)
            with connection.cursor().copy(f"COPY {table} ({', '.join(first)}) FROM STDIN") as copy:
                copy.write_row(tuple(first.values()))
                for row in rows:
                    copy.write_row(tuple(row.values()))
        for index in _indexes():
            connection.execute(str(CreateIndex(index).compile(dialect=postgresql.dialect())))
        connection.execute("VACUUM ANALYZE")


def _indexes() -> list[Index]:
    return [index for table in (numbers, bindings, legs) for index in sorted(table.indexes, key=_name)]


def _name(index: Index) -> str:
    return str(index.name)


def _customers() -> Iterator[Row]:
    yield {"id": CUSTOMER, "name": "c", "state": "active", "created_at": 0, "updated_at": 0}


def _numbers(count: int) -> Iterator[Row]:
    common = {
        "customer_id": CUSTOMER,
        "pool_id": "pool_1",
        "fixed": False,
        "last_used_at": 0,
        "created_at": 0,
        "updated_at": 0,
    }
    for binding in range(0, count, _PER_DRIVER):
        mine = {"assigned_to_key": a_key(binding, count), "assigned_by": CUSTOMER, "verification": "verified"}
        yield {"number": x_of(binding), "kind": "mobile", "state": "in_service", **mine, **common}
    for binding in range(min(_YS, count)):
        nobody = {"assigned_to_key": None, "assigned_by": None, "verification": "none"}
        yield {"number": y_of(binding), "kind": "landline", "state": "available", **nobody, **common}


def _bindings(count: int) -> Iterator[Row]:
    sealed = os.urandom(_SEALED)
    for binding in range(count):
        yield {
            "id": id_of(binding),
            "customer_id": CUSTOMER,
            "mode": "axyb",
            "state": "live",
            "a_key": a_key(binding, count),
            "a_sealed": sealed,
            "b_key": b_key(binding, count),
            "b_sealed": sealed,
            "x": x_of(binding),
            "y": y_of(binding),
            "direction": "both",
            "y_on_demand": False,
            "expires_at": 1 << 60,
            "record": True,
            "order_ref": f"order {binding}",
            "created_at": binding,
            "updated_at": binding,
        }


def _legs(role: str, count: int) -> Iterator[Row]:
    key, dialled, display = (a_key, y_of, x_of) if role == "a" else (b_key, x_of, y_of)
    sealed = os.urandom(_SEALED)
    for binding in range(count):
        yield {
            "caller_key": key(binding, count),
            "dialled": dialled(binding),
            "role": role,
            "callee_sealed": sealed,
            "display": display(binding),
            "binding_id": id_of(binding),
            "customer_id": CUSTOMER,
            "mode": "axyb",
            "state": "live",
            "barred": False,
            "valid_until": 1 << 60,
            "record": True,
            "order_ref": f"order {binding}",
        }
