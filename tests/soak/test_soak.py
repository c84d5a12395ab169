"""The chaos run in small: the code of `make soak` for half a minute on each database."""

from pathlib import Path
from typing import Literal

import pytest

from .run import Plan, run


@pytest.mark.parametrize(("database", "store"), [("sqlite", "folder"), ("postgresql", "s3")])
async def test_calls_cdrs_events_and_recordings_agree(
    database: Literal["sqlite", "postgresql"], store: Literal["folder", "s3"], tmp_path: Path
) -> None:
    """Nothing is missing, nothing comes twice, and all of a call is told in order."""
    plan = Plan(16, seed=5, database=database, store=store, calls_per_second=10, mean_gap_s=6, recorded=0.3)
    report = await run(plan, tmp_path / "platform")
    print(report.text())
    assert report.account.faults == []
    assert report.account.talks_off == 0
    assert len(report.account.made) >= 150
    assert sum(one.talked_s is not None for one in report.account.made) >= 30
    assert {name.partition(":")[0] for name in report.deck.happened} == {
        *("database", "endpoint", "store", "switch", "web", "worker")
    }
