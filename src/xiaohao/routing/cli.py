"""The command `xiaohao routing`."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from xiaohao.routing.model import LONGEST_WAIT_S
from xiaohao.settings import Settings


def commands(load: Callable[[Path], Settings], default: Path) -> typer.Typer:
    """The commands of scheme 2; `load` reads a configuration file."""
    app = typer.Typer(help="Calls that their customers decide.", no_args_is_help=True)
    config = typer.Option("--config", metavar="FILE", help="The configuration file (TOML).")
    Config = Annotated[Path, config]  # noqa: N806 - a type

    @app.callback()
    def group() -> None:
        """Calls that their customers decide."""

    @app.command()
    def test(
        customer: Annotated[str, typer.Option(metavar="ID", help="The customer (cus_…).")],
        dialled: Annotated[str, typer.Option(metavar="NUMBER", help="A number of that customer.")],
        caller: Annotated[str, typer.Option(metavar="NUMBER", help="Who calls; without it, hidden.")] = "",
        attempt: Annotated[int, typer.Option(min=1, max=1000, help="From 2 on as if the caller waited.")] = 1,
        waited_ms: Annotated[int, typer.Option(min=0, max=LONGEST_WAIT_S * 1000, help="For so long.")] = 0,
        queue: Annotated[str, typer.Option(metavar="NAME", help="In this queue.")] = "queue",
        config: Config = default,
    ) -> None:
        """Play a call against a customer's URL: question, answer, time, verdict. Nobody's phone rings.

        Exit status 1 when the answer could not be carried out.
        """
        command = importlib.import_module("xiaohao.routing.command")
        again = (attempt, queue, waited_ms)
        trial = command.test(load(config), customer, caller or None, dialled, again)
        _show(trial)
        if trial["decision"]["verdict"] != "answered":
            raise typer.Exit(1)

    return app


def _show(trial: dict[str, Any]) -> None:
    typer.echo(json.dumps(trial["question"], indent=2))
    for attempt in trial["attempts"]:
        status = "" if attempt["status"] is None else f"HTTP {attempt['status']}, "
        problem = "" if attempt["problem"] is None else f": {attempt['problem']}"
        took = f"{attempt['took_ms']} ms"
        typer.echo(f"\n{attempt['url']} URL: {status}{took}, {attempt['verdict']}{problem}")
        if attempt["answer"] is not None:
            typer.echo(attempt["answer"])
    decision = trial["decision"]
    problem = f": {decision['problem']}" if decision["problem"] else ""
    typer.echo(f"\nverdict: {decision['verdict']}{problem}")
    typer.echo(f"decided by {decision['decided_by']} after {decision['took_ms']} ms: {decision['action']}")
    if wait := trial["wait"]:
        again, most = f"asked again after {wait['retry_after_s']} s", f"{wait['max_wait_s']} s at the most"
        typer.echo(f"  waits in {wait['queue']!r}, {again}, {most}, then {wait['otherwise']}")
    if trial["callee"]:
        typer.echo(f"  to {trial['callee']}, showing {trial['displayed']}")
    if trial["reason"]:
        typer.echo(f"  refused with {trial['reason']}")
    if trial["prompt"]:
        typer.echo(f"  after the prompt {trial['prompt']!r}")
    if not trial["is_asked"]:
        typer.echo("Calls to this number do not ask: see docs/routing.md.")
