"""`xiaohao graphs`: what its commands are called with."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer(help="Announcement graphs in files.", no_args_is_help=True)
_Source = Annotated[str, typer.Argument(metavar="FILE", help="A JSON file, or the name of a built-in graph.")]


@commands.command("check")
def check(
    source: _Source,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", help="A prompt that there is; may be repeated.")
    ] = None,
) -> None:
    """Say everything that is wrong with a graph; exit status 1 when something is."""
    found = importlib.import_module("xiaohao.ivr.command").check_file(source, prompts or [])
    for line in found:
        typer.echo(line)
    if found:
        raise typer.Exit(1)
    typer.echo(f"{source} is fine")


@commands.command("draw")
def draw(source: _Source, output: Annotated[Path, typer.Argument(help="The picture: .svg.")]) -> None:
    """Draw a graph."""
    importlib.import_module("xiaohao.ivr.command").draw_file(source, output)


@commands.command("try")
def try_graph(
    source: _Source,
    events: Annotated[
        list[str] | None,
        typer.Argument(help="digits:123#, played, timeout, looked:found, started:12 …, in their order."),
    ] = None,
) -> None:
    """Say what a dialogue does when all this happens."""
    typer.echo(importlib.import_module("xiaohao.ivr.command").try_file(source, events or []))


@commands.command("schema")
def schema() -> None:
    """Print the JSON Schema of graphs."""
    importlib.import_module("xiaohao.ivr.command").print_schema()
