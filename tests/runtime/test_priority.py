"""The worker leaves the machine to the calls."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os
from pathlib import Path
from xiaohao.runtime.worker import stand_back
stand_back()
group = Path("/proc/self/autogroup")
print(os.getpriority(os.PRIO_PROCESS, 0), group.read_text() if group.exists() else "")
"""


def test_the_worker_stands_back() -> None:
    """Its own niceness is raised, and that of its session where the kernel weighs sessions."""
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, start_new_session=True
    ).stdout.strip()
    niceness, _, group = said.partition(" ")
    assert int(niceness) >= 10
    if Path("/proc/sys/kernel/sched_autogroup_enabled").exists() and group:
        assert group.endswith("nice 10")
