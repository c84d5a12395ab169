"""The command `xiaohao recordings`."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from xiaohao.settings import Settings


def commands(load: Callable[[Path], Settings], default: Path) -> typer.Typer:
    """The commands of recordings; `load` reads a configuration file."""
    app = typer.Typer(help="Recordings, on the machine that made them.", no_args_is_help=True)
    config = typer.Option("--config", metavar="FILE", help="The configuration file (TOML).")
    Config = Annotated[Path, config]  # noqa: N806 - a type

    @app.callback()
    def group() -> None:
        """Recordings, on the machine that made them."""

    @app.command()
    def strays(config: Config = default) -> None:
        """List captures of calls that the database does not know: when, how many bytes, which files."""
        command = importlib.import_module("xiaohao.recordings.command")
        for line in command.strays(load(config)):
            typer.echo(line)

    return app
