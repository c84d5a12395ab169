"""A file of numbers into the inventory: seconds, CPU and memory, on SQLite and on PostgreSQL.

Method: a CSV file with so many rows, half of them landlines and half mobile numbers with a document each, is
imported into an empty inventory, all or none, by the same code as `xiaohao numbers import`. The CPU is this
process's (on SQLite all of it, on PostgreSQL without the server's).

Run: `python -m bench.imports [rows]`
"""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import about
from tests.postgresql import Cluster

from xiaohao.database.direct import Direct
from xiaohao.database.engine import Database
from xiaohao.inventory import files
from xiaohao.inventory.bulk_store import CACHE_KIB
from xiaohao.inventory.files import Format
from xiaohao.inventory.importing import Import
from xiaohao.pools.model import Policy
from xiaohao.pools.service import Pools
from xiaohao.secrecy import Vault

VAULT = Vault(bytes(range(32)))


def write(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write("number,pool,carrier,documents\n")
        for row in range(rows):
            mobile = f"139{row:08d},drivers,Carrier A,archive {row}\n"
            file.write(mobile if row % 2 else f"010{60_000_000 + row},drivers,Carrier B,\n")


async def furnish(url: str) -> Database:
    database = Database(url)
    await database.migrate()
    await Pools(database, VAULT).create("drivers", Policy())
    await database.close()
    return database


def measure(name: str, url: str, path: Path) -> None:
    database = asyncio.run(furnish(url))
    direct = Direct(database.url, cache_kib=CACHE_KIB)
    cpu, began = time.process_time(), time.monotonic()
    report = Import(direct, VAULT).run(files.rows(path, Format.CSV))
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    direct.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"  {name}: {report.added} numbers in {seconds:.1f} s, {cpu:.1f} s of CPU, {peak} MiB at the most")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(about())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as folder:
        path = Path(folder) / "numbers.csv"
        write(path, rows)
        measure("SQLite", f"sqlite:///{folder}/xiaohao.db", path)
        with Cluster.started() as cluster:
            cluster.create("imports")
            measure("PostgreSQL", cluster.url("imports"), path)


if __name__ == "__main__":
    main()
