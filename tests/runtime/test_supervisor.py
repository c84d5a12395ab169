"""The supervisor over stand-in processes: what dies comes back, what is stopped is gone, whatever happens."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xiaohao.runtime.processes import alive

PATIENCE_S = 30.0
HOUSE = Path(__file__).with_name("house.py")


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")


class House:
    """A supervisor in a process of its own, and what can be seen of it from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self, *programs: str, before: Callable[[], Any] | None = None, **policy: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HOUSE), str(self.folder), json.dumps(policy), *programs],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,
        )

    def until_ready(self) -> None:
        assert self.process and self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def pid(self, name: str) -> int:
        path = self.folder / "run" / "pids" / f"{name}.pid"
        return int(eventually(lambda: path.exists() and path.read_text(), f"pid file of {name}"))

    def members(self, role: str) -> list[int]:
        return [int(path.suffix[1:]) for path in self.folder.glob(f"{role}.*")]

    def everyone(self) -> list[int]:
        """Every stand-in that ever ran here."""
        return [int(p.suffix[1:]) for p in self.folder.iterdir() if p.suffix[1:].isdigit()]

    def guard(self) -> int:
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        guards = [int(c) for c in children if b"guard.py" in Path(f"/proc/{c}/cmdline").read_bytes()]
        return guards[0] if guards else 0

    def stop(self) -> str:
        """SIGTERM; gives what the supervisor said."""
        assert self.process
        self.process.terminate()
        said = self.process.communicate(timeout=PATIENCE_S)[1]
        assert self.process.returncode == 0
        return said

    def nobody_left(self) -> bool:
        return not any(alive(pid) for pid in self.everyone())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    if house.process and house.process.poll() is None:
        house.process.kill()
        house.process.communicate()
    survivors = [pid for pid in house.everyone() if alive(pid)]
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)


def test_a_killed_child_is_started_again_with_all_its_family(house: House) -> None:
    house.start("engine=family", "other=steady")
    house.until_ready()
    eventually(lambda: len(house.members("worker")) == 3, "three workers")
    first, other, old = house.pid("engine"), house.pid("other"), house.members("worker")

    os.kill(first, signal.SIGKILL)

    second = eventually(lambda: (pid := house.pid("engine")) != first and pid, "another engine")
    assert alive(second)
    assert not any(alive(pid) for pid in old), "workers of the dead engine hold its ports"
    assert house.pid("other") == other, "only the dead one is started again"
    said = house.stop()
    assert "engine ended (signal SIGKILL)" in said
    status = json.loads((house.folder / "run" / "status.json").read_text())
    assert status["engine"]["starts"] == 2
    assert status["other"]["starts"] == 1


def test_who_answers_nothing_any_more_is_started_again(house: House) -> None:
    house.start("stuck=steady", look_every_s=0.05, stuck_after_s=0.3)
    house.until_ready()
    first = house.pid("stuck")
    time.sleep(0.5)
    assert house.pid("stuck") == first, "who answers is left alone"

    (house.folder / "silence").touch()

    second = eventually(lambda: (pid := house.pid("stuck")) != first and pid, "another process")
    time.sleep(0.7)
    assert house.pid("stuck") == second, "who has never answered may still be starting"
    assert "stuck answers nothing any more and is killed" in house.stop()


def test_a_crash_loop_backs_off(house: House) -> None:
    house.start("bad=crash", "good=steady", first_wait_s=0.1, longest_wait_s=0.4)
    crashes = house.folder / "crashes"
    eventually(lambda: crashes.exists() and len(crashes.read_text().splitlines()) >= 6, "six crashes")
    times = [float(line) for line in crashes.read_text().splitlines()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] >= 0.1
    assert gaps[1] >= 0.2
    assert all(gap >= 0.4 for gap in gaps[2:])
    assert alive(house.pid("good"))


def test_what_never_gets_ready_is_reported_with_its_last_words(house: House) -> None:
    house.start("bad=crash", "good=steady", ready_patience_s=4.0)
    assert house.process
    said = house.process.communicate(timeout=PATIENCE_S)[1]
    assert house.process.returncode == 1
    assert "not ready after 4 s: bad" in said
    assert "good" not in said.partition("not ready after")[2]


def test_stops_in_order_and_leaves_nobody(house: House) -> None:
    house.start("first=polite", "second=polite", "third=polite", "engine=family")
    house.until_ready()
    eventually(lambda: len(house.members("polite")) == 3 and len(house.members("worker")) == 3, "all up")
    house.stop()
    assert (house.folder / "goodbyes").read_text().split() == ["first", "second", "third"]
    assert house.nobody_left()
    assert not list((house.folder / "run" / "pids").iterdir())


def test_can_be_stopped_before_it_is_ready(house: House) -> None:
    house.start("bad=crash", "engine=family")
    eventually(lambda: len(house.members("worker")) == 3, "three workers")
    assert "Traceback" not in house.stop()
    assert house.nobody_left()


def test_a_child_deaf_to_sigterm_is_killed(house: House) -> None:
    house.start("stubborn=deaf", stop_patience_s=0.3)
    house.until_ready()
    assert "stubborn did not stop in time" in house.stop()
    assert house.nobody_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_stop_it_too(house: House, number: signal.Signals) -> None:
    house.start("engine=family", before=lambda: signal.signal(number, signal.SIG_DFL))
    house.until_ready()
    assert house.process
    house.process.send_signal(number)
    house.process.communicate(timeout=PATIENCE_S)
    assert house.process.returncode == 0
    assert house.nobody_left()


def test_a_hang_up_of_the_terminal_is_ignored_under_nohup(house: House) -> None:
    house.start("engine=family", before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    house.until_ready()
    assert house.process
    house.process.send_signal(signal.SIGHUP)
    assert house.stop() == "stopping\n"  # once, for SIGTERM


def test_a_second_signal_kills_at_once(house: House) -> None:
    house.start("stubborn=deaf", "engine=family", stop_patience_s=60)
    house.until_ready()
    assert house.process
    house.process.terminate()
    assert house.process.stderr
    assert house.process.stderr.readline() == "stopping\n"
    house.process.terminate()
    house.process.communicate(timeout=PATIENCE_S)
    assert house.process.returncode == 1
    eventually(house.nobody_left, "nobody left")


def test_a_killed_supervisor_leaves_nobody(house: House) -> None:
    house.start("engine=family", "other=steady", "stubborn=deaf")
    house.until_ready()
    eventually(lambda: len(house.members("worker")) == 3, "three workers")
    assert house.process
    house.process.kill()
    house.process.communicate()
    eventually(house.nobody_left, "nobody left")


def test_a_killed_guard_is_replaced(house: House) -> None:
    house.start("engine=family")
    house.until_ready()
    eventually(lambda: len(house.members("worker")) == 3, "three workers")
    first = house.guard()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: house.guard() not in (0, first), "another guard")
    assert house.process
    house.process.kill()
    house.process.communicate()
    eventually(house.nobody_left, "nobody left")


def test_what_survived_supervisor_and_guard_is_gone_after_the_next_start(house: House) -> None:
    house.start("engine=family")
    house.until_ready()
    eventually(lambda: len(house.members("worker")) == 3, "three workers")
    guard, orphans = house.guard(), house.members("worker")
    assert house.process
    os.kill(house.process.pid, signal.SIGSTOP)  # so that it cannot replace the guard
    os.kill(guard, signal.SIGKILL)
    house.process.kill()
    house.process.communicate()
    assert any(alive(pid) for pid in orphans), "the test proves nothing unless some survive"

    house.start("engine=family")
    house.until_ready()
    assert not any(alive(pid) for pid in orphans)
    assert "that an earlier run left behind" in house.stop()


def test_processes_of_another_runtime_folder_are_left_alone(house: House, tmp_path: Path) -> None:
    house.start("engine=family")
    house.until_ready()
    second = House(tmp_path / "second")
    second.folder.mkdir()
    second.start("engine=family")
    second.until_ready()
    second.stop()
    assert alive(house.pid("engine"))
    house.stop()


def test_a_second_supervisor_for_the_same_folder_is_refused(house: House) -> None:
    house.start("engine=steady")
    house.until_ready()
    assert house.process
    second = House(house.folder)
    second.start("engine=steady")
    assert second.process
    said = second.process.communicate(timeout=PATIENCE_S)[1]
    assert second.process.returncode == 1
    assert f"already running with this runtime folder (process {house.process.pid})" in said
    assert alive(house.pid("engine"))


def test_output_goes_to_the_log_file(house: House) -> None:
    house.start("engine=steady")
    house.until_ready()
    log = house.folder / "run" / "logs" / "engine.log"
    eventually(lambda: log.read_text() == "steady is up\n", "the line in the log")
