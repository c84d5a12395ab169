"""The command `xiaohao`."""

import asyncio
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from xiaohao import __version__
from xiaohao.billing.cli import commands as billing_commands
from xiaohao.edge.kamailio import EngineMissing
from xiaohao.ivr.cli import commands as graph_commands
from xiaohao.recordings.cli import commands as recording_commands
from xiaohao.routing.cli import commands as routing_commands
from xiaohao.runtime import check, garbage, programs, status
from xiaohao.runtime.errors import ChoreFailed, SupervisorError
from xiaohao.runtime.processes import Program
from xiaohao.runtime.supervisor import Supervisor
from xiaohao.settings import Settings, SettingsError

# Tracebacks with local variables would show real numbers: they stay off.
app = typer.Typer(
    help="xiaohao (小号): a self-hosted number-masking platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="API keys, and the master key.", no_args_is_help=True)
app.add_typer(keys, name="key")
cdrs = typer.Typer(help="Records of calls that have ended.", no_args_is_help=True)
app.add_typer(cdrs, name="cdrs")
events = typer.Typer(help="Events that customers are told of.", no_args_is_help=True)
app.add_typer(events, name="events")
numbers = typer.Typer(help="Numbers in bulk.", no_args_is_help=True)
app.add_typer(numbers, name="numbers")

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="The configuration file (TOML).")]
#: errors whose text is all that an operator needs
_PLAIN = (SettingsError, SupervisorError, EngineMissing, ChoreFailed)
DEFAULT_CONFIG = Path("xiaohao.toml")


def _load(config: Path) -> Settings:
    if not config.is_file():
        raise SettingsError(
            f"there is no configuration file {config}: give one with --config, "
            "or begin with a copy of docs/xiaohao.example.toml"
        )
    return check.require(Settings.load(config))


def _chores() -> ModuleType:
    """Imported only when needed: `up` runs for months and does without the database's libraries."""
    return importlib.import_module("xiaohao.runtime.chores")


def _serve(kind: str, config: Path) -> None:
    garbage.put_off()
    _chores().serve(kind, _load(config))


@app.command()
def up(
    config: Config = DEFAULT_CONFIG,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what every process writes.")] = False,
) -> None:
    """Start the whole platform on this machine and keep it running until SIGTERM or Ctrl-C."""
    settings = _load(config)

    def say_ready() -> None:
        typer.echo(
            f"xiaohao is ready: API http://{settings.web.listen}, SIP {', '.join(settings.edge.listen)}, "
            f"logs in {Path(settings.runtime_folder) / 'logs'}"
        )

    _supervise(
        settings,
        programs.platform(settings, config),
        verbose,
        prepare=lambda: programs.migrate(config),
        when_ready=say_ready,
    )


@app.command()
def edge(
    config: Config = DEFAULT_CONFIG,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what every process writes.")] = False,
) -> None:
    """Start and keep the engines only: Kamailio and rtpengine."""
    settings = _load(config)

    def say_ready() -> None:
        typer.echo(f"edge is ready: SIP {', '.join(settings.edge.listen)}")

    _supervise(settings, programs.edge(settings), verbose, prepare=lambda: None, when_ready=say_ready)


def _supervise(settings: Settings, what: list[Program], verbose: bool, **hooks: Any) -> None:
    supervisor = Supervisor(what, Path(settings.runtime_folder), verbose=verbose)
    asyncio.run(supervisor.run(**hooks))


@app.command()
def switch(config: Config = DEFAULT_CONFIG) -> None:
    """Start the switch only: it decides each call and keeps its state."""
    _serve("switch", config)


@app.command()
def web(config: Config = DEFAULT_CONFIG) -> None:
    """Start the HTTP API only."""
    _serve("web", config)


@app.command()
def worker(config: Config = DEFAULT_CONFIG) -> None:
    """Start the worker only: notifications, recordings, expiry."""
    _serve("worker", config)


@app.command()
def migrate(config: Config = DEFAULT_CONFIG) -> None:
    """Bring the database's schema up to date (`up` does it by itself)."""
    _chores().migrate(_load(config))


@keys.command("create")
def create_key(
    operator: Annotated[bool, typer.Option("--operator", help="A key of the operator.")] = False,
    customer: Annotated[str, typer.Option(metavar="ID", help="A key of this customer (cus_…).")] = "",
    label: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Make an API key and print it. It is shown this once only."""
    if operator == bool(customer):
        raise typer.BadParameter("give either --operator or --customer ID")
    typer.echo(_chores().create_key(_load(config), customer or None, label))


@keys.command("rotate")
def rotate_key(
    new_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The new key; made when missing. Otherwise beside the old one."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Seal everything in the database with a new master key. The platform must be stopped.

    Run again after an interruption it goes on where it stopped.
    """
    typer.echo(_chores().rotate_key(_load(config), new_key_file))


@events.command("replay")
def replay_events(
    customer: Annotated[str, typer.Option(metavar="ID", help="Of this customer only (cus_…).")] = "",
    ids: Annotated[list[str] | None, typer.Option("--id", help="This event; may be repeated.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="This kind; may be repeated.")] = None,
    state: Annotated[str, typer.Option(help="dead, delivered or unwanted; without it, all three.")] = "",
    call: Annotated[str, typer.Option(metavar="ID", help="What tells of this call.")] = "",
    since: Annotated[str, typer.Option(metavar="MOMENT", help="From then on, 2026-11-23T03:04:05Z.")] = "",
    until: Annotated[str, typer.Option(metavar="MOMENT", help="Before then.")] = "",
    send: Annotated[bool, typer.Option("--send", help="Really send; without it, only count.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Send events to customers again: those that could not be delivered, or any others."""
    wanted = {
        "customer_id": customer,
        "ids": ids,
        "kinds": kinds,
        "state": state,
        "call_id": call,
        "since": since,
        "until": until,
    }
    count = _chores().replay_events(_load(config), wanted, send)
    typer.echo(f"{count} events are sent again" if send else f"{count} events; add --send to send them again")


@app.command("check-config")
def check_config(config: Config = DEFAULT_CONFIG) -> None:
    """Look for mistakes in a configuration file."""
    _load(config)
    typer.echo(f"{config} is fine")


@app.command("status")
def show_status(config: Config = DEFAULT_CONFIG) -> None:
    """Show every process of this machine; exit status 1 when one is not ready."""
    lines = asyncio.run(status.look(_load(config)))
    typer.echo(status.table(lines))
    if not all(line.ready for line in lines):
        raise typer.Exit(1)


app.add_typer(graph_commands, name="graphs")
app.add_typer(billing_commands(_load, DEFAULT_CONFIG), name="billing")
app.add_typer(routing_commands(_load, DEFAULT_CONFIG), name="routing")
app.add_typer(recording_commands(_load, DEFAULT_CONFIG), name="recordings")


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
) -> None:
    """Show masked calls on this machine, with simulated carriers and phones."""
    raise typer.Exit(importlib.import_module("xiaohao.simulator.demo").run(keep=keep))


@app.command()
def plan(
    file: Annotated[Path | None, typer.Argument(help="The demand, as TOML or JSON.")] = None,
    city: Annotated[str | None, typer.Option(help="Name of the one city, without a file.")] = None,
    drivers: Annotated[int | None, typer.Option(help="Drivers who have an X.")] = None,
    orders: Annotated[float | None, typer.Option(help="Orders a day of all drivers together.")] = None,
    orders_per_driver: Annotated[float | None, typer.Option(help="A day, of a driver who works.")] = None,
    call_probability: Annotated[float | None, typer.Option(help="Share of orders with a call.")] = None,
    life: Annotated[float | None, typer.Option(help="Seconds that a binding lives.")] = None,
    recycle: Annotated[float | None, typer.Option(help="Recycle period of the Y, in seconds.")] = None,
    blocking: Annotated[float | None, typer.Option(help="Share of reservations that may be refused.")] = None,
    pool: Annotated[str | None, typer.Option(metavar="ID", help="Plan from the history of a pool.")] = None,
    days: Annotated[int, typer.Option(min=1, max=92, help="Days of history, or of the simulation.")] = 7,
    output: Annotated[
        list[Path] | None, typer.Option(help="Write .json, .csv, .svg, .png; repeatable.")
    ] = None,
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    simulate: Annotated[bool, typer.Option("--simulate", help="Try it on the real allocator.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Say how many numbers drivers and passengers need, and draw it."""
    options = {
        "city": city,
        "drivers": drivers,
        "orders_a_day": orders,
        "orders_per_driver": orders_per_driver,
        "call_probability": call_probability,
        "binding_life_s": life,
        "recycle_s": recycle,
        "blocking": blocking,
    }
    if language not in ("en", "zh"):
        raise typer.BadParameter("en or zh", param_hint="--language")
    history = None if pool is None else (_load(config), pool)
    command = importlib.import_module("xiaohao.planning.command")
    command.run(file, options, history, days, output or [], language, simulate=simulate)


@numbers.command("import")
def import_numbers(
    file: Annotated[Path, typer.Argument(help="A CSV or XLSX file; its first line names the columns.")],
    valid_only: Annotated[bool, typer.Option("--valid-only", help="Take the good rows of a file.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of it.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what became of every row: CSV.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Put numbers into the inventory: all of a file or none. Exit status 1 when a row was refused."""
    command = importlib.import_module("xiaohao.inventory.command")
    take = command.Take.VALID if valid_only else command.Take.ALL
    if not command.import_numbers(_load(config), file, take, dry_run, report):
        raise typer.Exit(1)


@numbers.command("export")
def export_numbers(
    file: Annotated[Path, typer.Argument(help="The file to write: .csv or .xlsx.")],
    inventory: Annotated[
        bool, typer.Option("--inventory", help="How many there are, by kind, city, carrier and state.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write all numbers, or the inventory table, into a file."""
    command = importlib.import_module("xiaohao.inventory.command")
    what = command.What.INVENTORY if inventory else command.What.NUMBERS
    rows = command.export_numbers(_load(config), file, what)
    typer.echo(f"{rows} rows in {file}")


@cdrs.command("export")
def export_cdrs(
    file: Annotated[Path, typer.Argument(help="The file to write: .csv or .parquet.")],
    since: Annotated[str, typer.Option(metavar="MOMENT", help="Calls from then on.")] = "",
    until: Annotated[str, typer.Option(metavar="MOMENT", help="Calls before then.")] = "",
    customer: Annotated[str, typer.Option(metavar="ID", help="Calls of this customer.")] = "",
    number: Annotated[str, typer.Option(help="A platform number that was dialled or shown.")] = "",
    trunk: Annotated[str, typer.Option(metavar="ID", help="The trunk that brought or took them.")] = "",
    reason: Annotated[str, typer.Option(help="Why they ended.")] = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write CDRs into a file, the oldest first, with real numbers in full; noted in the audit log."""
    wanted = {"since": since, "until": until, "number": number, "reason": reason}
    command = importlib.import_module("xiaohao.calls.command")
    size = command.export(_load(config), file, {**wanted, "customer_id": customer, "trunk_id": trunk})
    typer.echo(f"{size:,} bytes in {file}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line. What an operator can put right ends in one clear line, not in a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except _PLAIN as error:
        typer.echo(f"xiaohao: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        # a folder of somebody else's, most of all: the platform ran as root once, say
        typer.echo(f"xiaohao: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
