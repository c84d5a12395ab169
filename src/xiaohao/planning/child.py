"""One plan or picture in a process of its own: the API's process answers others meanwhile.

`python -m xiaohao.planning.child`: reads a JSON `Task` from its standard input and writes the plan's JSON or
the picture to its standard output; a refusal goes to standard error as JSON, with exit status 3.
"""

import asyncio
import os
import resource
import sys
from typing import Final

import msgspec

from xiaohao.errors import Refusal
from xiaohao.planning.computing import compute
from xiaohao.planning.effort import check_effort
from xiaohao.planning.wire import PlanRequest, PlanView
from xiaohao.planning.words import Language

REFUSED: Final = 3
_NICENESS: Final = 10
_CPU_S: Final = 15


class Task(msgspec.Struct, frozen=True):
    """What the process is to do; without `format` the plan itself is wanted."""

    request: msgspec.Raw
    format: str | None = None
    language: str = Language.ENGLISH.value


class Refused(msgspec.Struct, frozen=True):
    """A refusal on its way to the process that asked."""

    code: str
    title: str
    detail: str
    status: int
    extra: dict[str, object]


def work(task: Task) -> bytes:
    """The plan's JSON, or the picture. Raises Refusal."""
    request = PlanRequest.model_validate_json(bytes(task.request))
    demand = request.demand()
    check_effort(demand)
    plan = compute(demand)
    if task.format is None:
        return PlanView.of(plan).model_dump_json().encode()
    # Matplotlib takes longer to load than most plans take to compute.
    from xiaohao.planning.charts import Format, draw  # noqa: PLC0415
    from xiaohao.planning.illustration import illustrate  # noqa: PLC0415

    shown, rest_s = asyncio.run(illustrate(plan.demand))
    return draw(plan, shown, rest_s, Language(task.language), Format(task.format))


def main() -> int:
    """Do one task."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    # Ends even if the process that asked is no more, and whatever was not foreseen.
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    try:
        sys.stdout.buffer.write(work(msgspec.json.decode(sys.stdin.buffer.read(), type=Task)))
    except Refusal as refusal:
        said = Refused(refusal.code, refusal.title, refusal.detail, refusal.status, refusal.extra)
        sys.stderr.buffer.write(msgspec.json.encode(said))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
