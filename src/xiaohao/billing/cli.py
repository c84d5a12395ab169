"""The command `xiaohao billing`."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from xiaohao.settings import Settings

Month = Annotated[str, typer.Argument(metavar="YYYY-MM", help="The month.")]
Until = Annotated[str, typer.Option(metavar="YYYY-MM", help="The last month, unless it is the same.")]
Customer = Annotated[str, typer.Option(metavar="ID", help="One customer only (cus_…).")]
Processes = Annotated[
    int, typer.Option(min=1, max=16, help="So many share a large month; the calls' own work has the others.")
]

_WIDE = 160


def _commands() -> ModuleType:
    """Imported only when needed: the command line stays quick without the database's libraries."""
    return importlib.import_module("xiaohao.billing.commands")


def commands(load: Callable[[Path], Settings], default: Path) -> typer.Typer:
    """The commands of billing; `load` reads a configuration file."""
    app = typer.Typer(help="Rating, months, invoices, carriers' files.", no_args_is_help=True)
    config = typer.Option("--config", metavar="FILE", help="The configuration file (TOML).")
    Config = Annotated[Path, config]  # noqa: N806 - a type

    @app.command()
    def rate(config: Config = default) -> None:
        """Rate every call that is not rated yet; the worker does so by itself."""
        typer.echo(f"{_commands().rate(load(config))} calls rated")

    @app.command()
    def close(month: Month, customer: Customer = "", config: Config = default) -> None:
        """Close a month and draft its invoices. Killed or called again, it goes on where it was."""
        typer.echo(f"{_commands().close(load(config), month, customer or None)} closed")

    @app.command()
    def rerate(
        month: Month,
        until: Until = "",
        customer: Customer = "",
        processes: Processes = 1,
        config: Config = default,
    ) -> None:
        """Rate months anew and report what would change. Nothing does before it is accepted."""
        customers = [customer] if customer else []
        found = _commands().rerate(load(config), month, until or month, customers, processes)
        _show(found)

    @app.command()
    def accept(
        rerating: Annotated[list[str], typer.Argument(metavar="ID…")], config: Config = default
    ) -> None:
        """Let months that were rated anew count. Killed, it goes on where it was."""
        for rerating_id, state in _commands().accept(load(config), rerating):
            typer.echo(f"{rerating_id} {state}")

    @app.command("what-if")
    def what_if(
        month: Month,
        customer: Annotated[str, typer.Option(metavar="ID", help="The customer (cus_…).")],
        terms: Annotated[Path, typer.Option(metavar="FILE", help="Other terms (JSON).")],
        config: Config = default,
    ) -> None:
        """Show what a month would have cost under other terms."""
        found = _commands().what_if(load(config), month, customer, terms)
        _side_by_side(found)

    @app.command()
    def pdf(
        invoice: Annotated[str, typer.Argument(metavar="ID")],
        to: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
        language: Annotated[str, typer.Option(help="zh or en")] = "zh",
        config: Config = default,
    ) -> None:
        """Print an invoice."""
        words = importlib.import_module("xiaohao.billing.words")
        if language not in list(words.Language):
            raise typer.BadParameter("zh or en")
        _commands().pdf(load(config), invoice, words.Language(language), to)
        typer.echo(str(to))

    @app.command()
    def reconcile(
        month: Month,
        file: Annotated[Path, typer.Argument(help="The carrier's CDR file (CSV).")],
        trunk: Annotated[str, typer.Option(metavar="ID", help="The trunk (trk_…).")],
        mapping: Annotated[Path, typer.Option(metavar="FILE", help="How to read it (JSON).")],
        config: Config = default,
    ) -> None:
        """Compare a carrier's file with our calls."""
        found = _commands().reconcile(load(config), trunk, month, file, mapping)
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))

    return app


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(*(rows[0] if rows else ("nothing",)))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    # ids are copied from here: they are not to be folded
    console = Console()
    console.width = max(console.width, _WIDE)
    console.print(table)


def _side_by_side(found: dict[str, Any]) -> None:
    table = Table("item", "kind", "actual", "what if")
    sides: dict[tuple[str, str], dict[str, list[str]]] = {}
    for side in ("actual", "what_if"):
        for line in found[side]["lines"]:
            key = (line["item"], line["kind"] or "")
            sides.setdefault(key, {}).setdefault(side, []).append(line["amount"])
    for (item, kind), amounts in sides.items():
        table.add_row(item, kind, *(" + ".join(amounts.get(side, [])) for side in ("actual", "what_if")))
    table.add_section()
    table.add_row("total with tax", "", found["actual"]["gross"], found["what_if"]["gross"])
    Console().print(table)
    typer.echo(f"difference: {found['difference']}")
