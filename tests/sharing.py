"""How several processes share the tests: a module goes to one of them, platforms to two at a time.

A platform is started once so, and two cores never carry three of them, whose calls would be late.
"""

from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

#: folders whose modules have one platform together
_TOGETHER: Final = ("tests/calls", "tests/announcer")
#: where calls are made, with the platform's real processes
_PLATFORMS: Final = (
    *_TOGETHER,
    "tests/soak/",
    "tests/prompts/test_heard.py",
    "tests/runtime/test_platform.py",
    "tests/simulator/test_demo.py",
)
_AT_ONCE: Final = 2
#: what takes longest is begun first, so that nothing is waited for alone at the end
_LONG: Final = (
    *_TOGETHER,
    "tests/soak/test_soak.py",
    "tests/notifications/test_delivery.py",
    "tests/calls/test_kills.py",
    "tests/calls/test_restarts.py",
    "tests/api/test_description.py",
    "tests/notifications/test_feed.py",
)
#: modules of these that have platforms of their own
_APART: Final = {
    f"tests/calls/test_{name}.py"
    for name in (
        "edge_alone",
        "full_disk",
        "ipv6",
        "kills",
        "outages",
        "overload",
        "restarts",
        "searcher",
        "tls",
    )
}


class Sharing(LoadScopeScheduling):
    """Hands out modules: those with platforms first, because they take longest together."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module in _APART:
            return module
        return next((folder for folder in _TOGETHER if module.startswith(f"{folder}/")), module)

    def _assign_work_unit(self, node: WorkerController) -> None:
        at_work = {
            scope
            for units in self.assigned_work.values()
            for scope, tests in units.items()
            if scope.startswith(_PLATFORMS) and not all(tests.values())
        }
        wants_platform = len(at_work) < _AT_ONCE
        units = [*(scope for scope in _LONG if scope in self.workqueue), *self.workqueue]
        chosen = next((scope for scope in units if scope.startswith(_PLATFORMS) == wants_platform), None)
        if chosen is not None:
            self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)
