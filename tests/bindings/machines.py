"""Runs hypothesis' state machines on one database, which serves all examples."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from tests.world import World

from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault


@contextmanager
def one_world(database_url: str, vault: Vault) -> Iterator[tuple[asyncio.Runner, World]]:
    """A world, and what runs its coroutines; its database is closed at the end."""
    with asyncio.Runner() as runner:
        database = Database(database_url)
        try:
            yield runner, World(database, vault)
        finally:
            runner.run(database.close())


def drive(machine: Callable[[], RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
