"""What becomes of a run of the tests when one of them hangs."""

import subprocess
import sys
from pathlib import Path

from tests.repository.files import ROOT

COMMAND = (
    *(sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"),
    *("-o", "faulthandler_timeout=3", "--numprocesses", "2"),
)


def test_a_test_that_hangs_is_named_and_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_xdist_make_scheduler\n")
    good = "def test_good():\n    pass\n"
    hanging = "async def test_hanging():\n    await __import__('asyncio').sleep(600)\n\n\n"
    (tmp_path / "test_hangs.py").write_text(hanging + good)
    (tmp_path / "test_good.py").write_text(good)
    run = subprocess.run(
        [*COMMAND, str(tmp_path)],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert run.returncode == 1
    said = run.stdout + run.stderr
    assert "test_hangs.py::test_hanging - worker" in said
    assert said.count("Timeout (0:00:03)!") == 1, "it was begun again"
