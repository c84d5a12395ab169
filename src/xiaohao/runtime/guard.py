"""The supervisor's last will: kills the process groups it was told of once its supervisor is gone.

The supervisor names groups as arguments and as `+PGID` and `-PGID` lines in our standard input, which it
holds open. End of file means that it is dead, however it died: the kernel closes the pipe even after
`kill -9`. Whole groups are named because Kamailio's children outlive a Kamailio that is killed.

Runs as a script of its own with nothing but the standard library, so that it stays small.
"""

import contextlib
import os
import signal
import sys


def follow(lines: "list[bytes]", groups: set[int]) -> None:
    """Apply `+PGID` and `-PGID` lines to `groups`."""
    for line in lines:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)


def main() -> None:
    """Read lines until the end of file, then kill what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = {int(group) for group in sys.argv[1:]}
    for line in sys.stdin.buffer:
        follow([line], groups)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
