"""The worker notices that the machine's clock was set back, and only that."""

from pathlib import Path
from typing import Any

import pytest

from xiaohao.runtime import worker
from xiaohao.runtime.worker import Worker
from xiaohao.settings import Settings


class Clocks:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_795_492_800.0, 77.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


async def test_it_looks_at_a_start_and_after_each_time_it_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XIAOHAO_MASTER_KEY", "00" * 32)
    settings = Settings(runtime_folder=str(tmp_path))
    settings.database.url = f"sqlite:///{tmp_path}/xiaohao.db"
    clocks, asked = Clocks(), []
    one = Worker(settings)
    monkeypatch.setattr(worker, "time", clocks)

    async def pull_in(*longest_s: Any) -> int:
        asked.append(longest_s)
        return 0

    monkeypatch.setattr(one._feed, "pull_in", pull_in)
    monkeypatch.setattr(one._conversions, "pull_in", pull_in)
    for _ in range(9):
        await one._look_at_the_clock()
    assert asked == [(1265.0,), ()] * 5
    for set_by in (0, 3600, -5, 0.5):  # forth, and steered a little
        clocks.pass_(2)
        clocks.wall += set_by
        await one._look_at_the_clock()
    assert len(asked) == 10
    clocks.wall -= 3600
    for _ in range(9):
        await one._look_at_the_clock()
    assert asked == [(1265.0,), ()] * 10
    await one._conversions.close()
    await one._database.close()
