"""When what may be late is put off."""

from pathlib import Path

import pytest

from xiaohao.runtime.peak import Processors

#: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice (proc(5))
_LINE = "cpu  {user} 0 0 {idle} {iowait} 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"


@pytest.mark.parametrize(
    ("user", "idle", "iowait", "full"),
    [(200, 0, 0, True), (190, 10, 0, True), (180, 20, 0, False), (180, 0, 20, False), (0, 200, 0, False)],
)
def test_processors_are_full_where_next_to_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, user: int, idle: int, iowait: int, full: bool
) -> None:
    said = [
        _LINE.format(user=1000, idle=5000, iowait=30),
        _LINE.format(user=1000 + user, idle=5000 + idle, iowait=30 + iowait),
    ]
    monkeypatch.setattr(Path, "read_text", lambda self: said.pop(0))
    assert Processors().are_full() is full


def test_the_machine_itself_can_be_read() -> None:
    assert Processors().are_full() in (True, False)
