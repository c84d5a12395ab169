"""What `xiaohao plan` does: a plan from a file or from options, as a table, as a file, as a picture."""

import asyncio
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from xiaohao.api.words import words_of
from xiaohao.errors import Refusal
from xiaohao.planning.computing import compute
from xiaohao.planning.model import DAY_S, Demand, Plan
from xiaohao.planning.service import Planner
from xiaohao.planning.simulation import orders_of, simulate
from xiaohao.planning.theory import Traffic, blocking
from xiaohao.planning.wire import PlanRequest, PlanView
from xiaohao.planning.words import CHINESE, ENGLISH, Language, period
from xiaohao.runtime.commands import opened, plainly
from xiaohao.runtime.errors import ChoreFailed
from xiaohao.secrecy import vault_of
from xiaohao.settings import Settings

_DRIVERS: Final = 20
_SEED: Final = 1
#: the columns: of a city, its drivers' numbers, a driver, its passengers' numbers
_ENGLISH: Final = ("City", "Drivers", "X", "resting", "Calls/d", "Busiest", "Y", "Refused/d", "Y for 0")
_CHINESE: Final = ("城市", "司机", "X", "静置", "呼叫/天", "最多占用", "Y", "失败/天", "零失败Y")


def request_of(file: Path | None, options: dict[str, Any]) -> PlanRequest:
    """The request in a TOML or JSON file, with options in place of what it says. Raises ChoreFailed."""
    document: dict[str, Any] = {}
    if file is not None:
        try:
            text = file.read_text("utf-8")
            document = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise ChoreFailed(f"{file.name}: {error}") from error
        if not isinstance(document, dict):
            raise ChoreFailed(f"{file.name}: is no table of keys and values")
    of_city = {name: options.pop(name) for name in ("city", "drivers", "orders_a_day", "orders_per_driver")}
    if "cities" not in document:
        document["cities"] = [{name: value for name, value in of_city.items() if value is not None}]
    elif any(value is not None for name, value in of_city.items() if name != "city"):
        raise ChoreFailed("the cities stand in the file: leave out the options that describe one")
    document |= {name: value for name, value in options.items() if value is not None}
    return _checked(document)


def _checked(document: dict[str, Any]) -> PlanRequest:
    try:
        return PlanRequest.model_validate(document)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, item['loc']))}: {words_of(item)}" for item in error.errors())
        raise ChoreFailed("; ".join(faults)) from None


def _changed(request: PlanRequest, options: dict[str, Any]) -> PlanRequest:
    """A request with options in place of what it says; none of them describes a city."""
    fields = {name: value for name, value in options.items() if value is not None}
    return _checked({**request.model_dump(), **fields})


async def _from_history(settings: Settings, pool_id: str, days: int) -> PlanRequest:
    with plainly():
        async with opened(settings) as database:
            planner = Planner(database, vault_of(settings))
            return (await planner.history(pool_id, None, days)).request


def plan_of(request: PlanRequest) -> Plan:
    """The plan. Raises ChoreFailed."""
    try:
        return compute(request.demand())
    except Refusal as refusal:
        raise ChoreFailed(refusal.detail) from refusal


def show(plan: Plan, language: Language, console: Console) -> None:
    """Print the plan as tables."""
    chinese = language is Language.CHINESE
    words = CHINESE if chinese else ENGLISH
    console.print(words.title.format(x=plan.x, y=plan.y), style="bold")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, name in enumerate(_CHINESE if chinese else _ENGLISH):
        table.add_column(name, justify="left" if place == 0 else "right")
    for city in plan.cities:
        table.add_row(
            city.city,
            *(f"{value:,}" for value in (city.drivers, city.x, city.x_resting)),
            f"{city.reservations:,.0f}",
            f"{city.busiest_held:.0f}",
            f"{city.y:,}",
            f"{city.refused_a_day:.2f}",
            f"{city.y_never:,}",
        )
    figures = (plan.drivers, plan.x, sum(city.x_resting for city in plan.cities))
    reserved = sum(city.reservations for city in plan.cities)
    refused = sum(city.refused_a_day for city in plan.cities)
    row = [words.total, *(f"{value:,}" for value in figures), f"{reserved:,.0f}", ""]
    table.add_row(*row, f"{plan.y:,}", f"{refused:.2f}", f"{plan.y_never:,}", style="bold")
    console.print(table)
    if len(plan.cities) > 1:
        console.print(words.shared.format(y=plan.y_shared))
    console.print()
    console.print(words.curve_title, style="bold")
    choices = Table(box=None, header_style="bold")
    for name in (words.curve_x, "Y", "节省" if chinese else "saved"):
        choices.add_column(name, justify="right")
    for choice in plan.choices:
        own = choice.recycle_s == plan.demand.recycle_s
        cells = (period(choice.recycle_s, words), f"{choice.y:,}", f"{choice.y_saved:+,}")
        choices.add_row(*cells, style="bold" if own else "")
    console.print(choices)


def write(plan: Plan, file: Path, language: Language) -> None:
    """Write a plan to a file: JSON, CSV, SVG or PNG, as its name ends. Raises ChoreFailed."""
    kind = file.suffix.lower().removeprefix(".")
    try:
        if kind == "json":
            file.write_text(PlanView.of(plan).model_dump_json(indent=2) + "\n", "utf-8")
        elif kind == "csv":
            # The mark lets spreadsheets see that it is UTF-8.
            file.write_bytes(PlanView.of(plan).csv().encode("utf-8-sig"))
        elif kind in ("svg", "png"):
            file.write_bytes(picture(plan, language, kind))
        else:
            raise ChoreFailed(f"{file.name}: name it .json, .csv, .svg or .png")
    except OSError as error:
        raise ChoreFailed(str(error)) from error


def picture(plan: Plan, language: Language, kind: str) -> bytes:
    """The picture of a plan, `svg` or `png`. Raises ChoreFailed."""
    from xiaohao.planning.charts import Format, draw  # noqa: PLC0415 - takes a second to load
    from xiaohao.planning.illustration import illustrate  # noqa: PLC0415

    shown, rest_s = asyncio.run(illustrate(plan.demand))
    try:
        return draw(plan, shown, rest_s, language, Format(kind))
    except Refusal as refusal:
        raise ChoreFailed(refusal.detail) from refusal


def check(demand: Demand, numbers: int, days: int) -> str:
    """Let twenty drivers of the first city work on the real allocator, and say what theory says of them."""
    city = demand.cities[0]
    working = sum(group.drivers for group in city.groups)
    share = min(_DRIVERS / working, 1.0)
    small = replace(
        city,
        orders=tuple(hour * share for hour in city.orders),
        groups=tuple(replace(group, drivers=group.drivers * share) for group in city.groups),
    )
    first_days = int((demand.recycle_s + demand.life_s) // DAY_S) + 1
    seen = asyncio.run(simulate(demand, small, numbers, days=days, first_days=first_days, seed=_SEED))
    traffic = Traffic.of(small, demand, demand.recycle_s)
    expected = len(orders_of(small, demand, first_days + days, _SEED)) / (first_days + days)
    return (
        f"{city.city}, {round(working * share)} drivers on {numbers} numbers for {days} days: "
        f"{seen.refused} of {seen.reservations} refused ({seen.blocking:.4%}; "
        f"theory {blocking(traffic, numbers):.4%}), "
        f"a driver held {seen.held:.2f} on average and {max(seen.busiest)} at most "
        f"(theory {traffic.busiest_mean():.1f} on the busiest moment of a day; {expected:.0f} calls a day)"
    )


def run(
    file: Path | None,
    options: dict[str, Any],
    history: tuple[Settings, str] | None,
    days: int,
    output: list[Path],
    language: str,
    *,
    simulate: bool,
) -> None:
    """Carry out the command. `history`: the configuration and the pool to plan from, instead of a demand.

    Raises ChoreFailed.
    """
    console = Console()
    if history is None:
        request = request_of(file, options)
    else:
        request = _changed(asyncio.run(_from_history(*history, days)), options)
    plan = plan_of(request)
    show(plan, Language(language), console)
    for target in output:
        write(plan, target, Language(language))
        console.print(f"→ {target}", markup=False)
    if simulate:
        console.print(check(plan.demand, plan.cities[0].y, days), markup=False)
