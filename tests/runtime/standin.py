"""A child process for the supervisor's tests that behaves as engines do, at its best and at its worst.

usage: standin.py BEHAVIOUR FOLDER
"""

import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    behaviour, folder = sys.argv[1], Path(sys.argv[2])
    if behaviour == "crash":
        with (folder / "crashes").open("a") as file:
            file.write(f"{time.monotonic()}\n")
        sys.exit(3)
    if behaviour == "family":  # as Kamailio: a main process and workers, in one process group
        for _ in range(3):
            if os.fork() == 0:
                record(folder, "worker")
                linger()
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "polite":
        signal.signal(signal.SIGTERM, lambda *_: goodbye(folder, sys.argv[3]))
    record(folder, behaviour)
    print(f"{behaviour} is up", flush=True)
    linger()


def record(folder: Path, role: str) -> None:
    (folder / f"{role}.{os.getpid()}").touch()


def goodbye(folder: Path, name: str) -> None:
    with (folder / "goodbyes").open("a") as file:
        file.write(f"{name}\n")
    sys.exit(0)


def linger() -> None:
    while True:
        time.sleep(3600)


main()
