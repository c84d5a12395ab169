"""The long chaos run: `python -m tests.soak` (`make soak`)."""

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from bench.machine import about

from .run import Plan, run

_STORES: dict[str, Literal["folder", "s3"]] = {"sqlite": "folder", "postgresql": "s3"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="what goes wrong when")
    parser.add_argument(
        "--database", choices=["sqlite", "postgresql"], nargs="+", default=["sqlite", "postgresql"]
    )
    parser.add_argument(
        "--store",
        choices=["folder", "s3"],
        help="where recordings are kept; without it in a folder with SQLite, and in S3 with PostgreSQL",
    )
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second")
    parser.add_argument("--gap", type=float, default=20.0, help="seconds between the mishaps of one part")
    parser.add_argument("--clock", action="store_true", help="set the platform's clock forth and back, too")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and database")
    parser.add_argument("--log", action="store_true", help="print every mishap")
    options = parser.parse_args()
    print(about(), f"seed {options.seed}", sep="\n", flush=True)
    faults = 0
    for database in options.database:
        seconds = options.minutes * 60 / len(options.database)
        store = options.store or _STORES[database]
        plan = Plan(seconds, options.seed, database, store, options.rate, options.gap, clock=options.clock)
        folder = Path(tempfile.mkdtemp(prefix="soak-", dir=os.environ.get("BENCH_FOLDER", "."))).resolve()
        try:
            report = asyncio.run(run(plan, folder / "platform"))
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
        if options.log:
            print(*report.deck.log, sep="\n")
        print(report.text(), flush=True)
        faults += len(report.account.faults)
    return 1 if faults else 0


sys.exit(main())
