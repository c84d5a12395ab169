"""Runs a supervisor over stand-ins, in a process of its own that a test can kill.

usage: house.py FOLDER POLICY PROGRAM… with POLICY as JSON and PROGRAM as NAME=BEHAVIOUR
"""

import asyncio
import json
import sys
from pathlib import Path

from xiaohao.runtime.errors import SupervisorError
from xiaohao.runtime.processes import Program
from xiaohao.runtime.supervisor import Policy, Supervisor


def program(name: str, behaviour: str, folder: Path) -> Program:
    def is_up() -> bool:
        return any(folder.glob(f"{behaviour}.*"))

    async def ready() -> bool:
        return is_up()

    async def lives() -> bool:
        return not (folder / "silence").exists()

    script = Path(__file__).with_name("standin.py")
    return Program(name, [sys.executable, str(script), behaviour, str(folder), name], ready, lives=lives)


def main() -> None:
    folder = Path(sys.argv[1])
    policy = Policy(**json.loads(sys.argv[2]))
    programs = [program(*argument.split("="), folder) for argument in sys.argv[3:]]
    supervisor = Supervisor(programs, folder / "run", policy)
    try:
        asyncio.run(supervisor.run(prepare=lambda: None, when_ready=lambda: print("ready", flush=True)))
    except SupervisorError as error:
        sys.exit(str(error))


main()
