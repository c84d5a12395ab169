"""A plan as one picture: whose X, which Y for which passenger, the totals, and other recycle periods.

Matplotlib is imported by whoever imports this module, which is a process of its own (`child.py`).
"""

import io
import re
import warnings
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, cast

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from xiaohao.errors import Refusal
from xiaohao.planning.model import DAY_S, CityPlan, Occupation, Plan
from xiaohao.planning.words import WORDS, Language, Words, period


class Format(StrEnum):
    """The file format of a picture."""

    SVG = "svg"
    PNG = "png"


#: the first one that this machine has draws Chinese; scripts/install.sh brings one of them
_CHINESE_FONTS: Final = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
)
#: an SVG is drawn where it is looked at, with the fonts that are there
_SVG_FONTS: Final = (
    "'DejaVu Sans', 'Helvetica Neue', Arial, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', "
    "'WenQuanYi Micro Hei', sans-serif"
)
_COLOURS: Final = ("#1b6ca8", "#d1582c", "#3c8d40")
_PALE: Final = ("#cddfee", "#f5dbd2", "#d4e5d5")
_INK: Final = "#222222"
_GREY: Final = "#8a8a8a"
_TAG: Final = re.compile(r"<[^>]*>")
_FINE_DIGITS: Final = re.compile(r"(\d\.\d\d)\d+")
_CITIES_SHOWN: Final = 8
_HOUR_S: Final = 3600.0
_LONG_NAME: Final = 14


def draw(plan: Plan, shown: Sequence[Occupation], rest_s: float, language: Language, form: Format) -> bytes:
    """The picture of a plan.

    `shown`: three drivers of one day, from the second midnight on, under the recycle period `rest_s`. Raises
    Refusal: `font_missing`, where this machine cannot write Chinese.
    """
    words = WORDS[language]
    families = _families(language, form, [city.city for city in plan.cities])
    settings: dict[str, Any] = {
        "font.family": families,
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "xiaohao",
        "axes.edgecolor": _GREY,
        "text.color": _INK,
        "axes.unicode_minus": False,
    }
    with mpl.rc_context(cast(Any, settings)), warnings.catch_warnings():
        # Without a Chinese font here, an SVG is still drawn with one where it is looked at.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(12, 10.5), layout="constrained")
        rows = figure.add_gridspec(3, 2, height_ratios=(1.25, 4.2, 2.9), width_ratios=(1.12, 1))
        figure.suptitle(words.title.format(x=plan.x, y=plan.y), fontsize=15, fontweight="bold")
        _drivers(figure.add_subplot(rows[0, :]), plan, words)
        _passengers(figure.add_subplot(rows[1, :]), shown, rest_s, words)
        _table(figure.add_subplot(rows[2, 0]), plan, words)
        _curve(figure.add_subplot(rows[2, 1]), plan, words)
        return _saved(figure, form)


def _families(language: Language, form: Format, names: Sequence[str]) -> list[str]:
    there = {font.name for font in font_manager.fontManager.ttflist}
    chinese = next((name for name in _CHINESE_FONTS if name in there), None)
    needed = language is Language.CHINESE or not all(name.isascii() for name in names)
    if chinese is None and needed and form is Format.PNG:
        raise Refusal(
            "font_missing",
            "No Chinese font",
            "This machine has no font for Chinese: install fonts-noto-cjk, or ask for an SVG.",
            503,
        )
    return ["DejaVu Sans", *([chinese] if chinese else [])]


def _saved(figure: Figure, form: Format) -> bytes:
    target = io.BytesIO()
    if form is Format.PNG:
        figure.savefig(target, format="png", dpi=130)
        return target.getvalue()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": "xiaohao plan"})
    text = target.getvalue().decode()
    for name in ("DejaVu Sans", *_CHINESE_FONTS):
        text = text.replace(f"'{name}', ", "")
        text = text.replace(f"'{name}'", _SVG_FONTS)
    # A hundredth of a point is more than a screen shows, and the file is half as large.
    return _TAG.sub(lambda tag: _FINE_DIGITS.sub(r"\1", tag[0]), text).encode()


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _drivers(axes: Axes, plan: Plan, words: Words) -> None:
    _bare(axes, words.drivers_title)
    for place, colour in enumerate(_COLOURS):
        axes.barh(place, 24, left=0, height=0.66, color=colour)
        text = words.own_number.format(n=place + 1)
        axes.text(0.2, place, text, va="center", color="white", fontsize=8.5)
    rest = period(plan.demand.x_rest_s, words)
    axes.barh(3, 24, left=0, height=0.66, color="#e6e6e6", edgecolor=_GREY, hatch="///", linewidth=0)
    text = words.resting_number.format(n=4, rest=rest)
    axes.text(0.2, 3, text, va="center", fontsize=8.5, bbox={"color": "white", "pad": 1.5})
    axes.set_yticks(range(4), [*(words.driver.format(n=n) for n in (1, 2, 3)), words.former_driver])
    axes.set_xticks([])
    axes.set_xlim(0, 24)
    axes.invert_yaxis()
    axes.spines["bottom"].set_visible(False)


def _passengers(axes: Axes, shown: Sequence[Occupation], rest_s: float, words: Words) -> None:
    axes.set_title(words.passengers_title, loc="left", fontsize=10.5, fontweight="bold", pad=20)
    lane = 0.9 / len(_COLOURS)
    begins, ends = DAY_S, 2 * DAY_S
    passengers: dict[int, int] = {}
    for one in shown:
        if one.rests_until <= begins or one.since >= ends:
            continue
        name = words.passenger.format(n=passengers.setdefault(one.passenger, len(passengers) + 1))
        colour, pale = _COLOURS[one.driver], _PALE[one.driver]
        middle = one.y + (one.driver - 1) * lane
        left, until = max(one.since, begins), min(one.rests_until, ends)
        alive = max(min(one.ends, ends) - left, 0.0)
        at = (left - begins) / _HOUR_S
        axes.barh(middle, (until - left) / _HOUR_S, left=at, height=lane * 0.86, color=pale, clip_on=False)
        axes.barh(middle, alive / _HOUR_S, left=at, height=lane * 0.86, color=colour, clip_on=False)
        if until - left > _HOUR_S:
            start = at + alive / _HOUR_S + 0.06
            axes.text(start, middle, name, va="center", fontsize=6, color=colour, clip_on=True)
    rows = max((one.y for one in shown), default=0) + 1
    axes.set_yticks(range(rows), [f"Y{n}" for n in range(1, rows + 1)])
    axes.hlines([row + 0.5 for row in range(rows - 1)], 0, 24, color="#dddddd", linewidth=0.6)
    axes.set_ylim(rows - 0.45, -0.55)
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 2), [f"{hour:02d}:00" for hour in range(0, 25, 2)])
    axes.set_xlabel(words.hours)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    keys = [Patch(color=c, label=words.driver.format(n=n)) for n, c in enumerate(_COLOURS, start=1)]
    keys += [Patch(color=_INK, label=words.alive), Patch(color=_INK, alpha=0.22, label=words.rests)]
    axes.legend(handles=keys, loc="lower right", bbox_to_anchor=(1, 1), ncols=5, fontsize=8, frameon=False)
    calls = sum(begins <= one.since < ends for one in shown) / len(_COLOURS)
    note = words.passengers_note.format(calls=calls, rest=period(rest_s, words))
    axes.text(0, 1.015, note, transform=axes.transAxes, fontsize=8, color=_GREY)


def _table(axes: Axes, plan: Plan, words: Words) -> None:
    _bare(axes, words.table_title.format(blocking=plan.demand.blocking))
    axes.set_axis_off()
    cities = sorted(plan.cities, key=lambda city: -city.x)
    lines = [(_short(city.city), _figures([city])) for city in cities[:_CITIES_SHOWN]]
    if len(cities) > _CITIES_SHOWN:
        rest = cities[_CITIES_SHOWN:]
        lines.append((f"… +{len(rest)}", _figures(rest)))
    lines.append((words.total, _figures(cities)))
    text = [
        [name, *(f"{value:,.0f}" for value in figures[:-1]), f"{figures[-1]:,.1f}"] for name, figures in lines
    ]
    table = axes.table(text, colLabels=words.columns, loc="upper center", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    table.scale(1.0, 1.35)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#cccccc")
        if row in (0, len(lines)):
            cell.set_text_props(fontweight="bold")
        if row == 0 and column > 0:
            cell.set_text_props(ha="right")
        if column == 4 and row > 0:
            cell.set_text_props(color=_COLOURS[0], fontweight="bold")
        if column == 0:
            cell.set_text_props(ha="left")
    if len(plan.cities) > 1:
        text_below = 0.86 - 0.095 * (len(lines) + 1)
        note = words.shared.format(y=plan.y_shared)
        axes.text(0.01, text_below, note, transform=axes.transAxes, fontsize=9.5)


def _figures(cities: Sequence[CityPlan]) -> list[float]:
    names = ("drivers", "x", "reservations", "y", "refused_a_day")
    return [float(sum(getattr(city, name) for city in cities)) for name in names]


def _short(name: str) -> str:
    return name if len(name) <= _LONG_NAME else name[: _LONG_NAME - 1] + "…"


def _curve(axes: Axes, plan: Plan, words: Words) -> None:
    _bare(axes, words.curve_title)
    choices = plan.choices
    own = [choice.recycle_s == plan.demand.recycle_s for choice in choices]
    colours = [_COLOURS[1] if mine else _COLOURS[0] for mine in own]
    heights = [max(choice.y, 1) for choice in choices]
    axes.bar(range(len(choices)), heights, color=colours, width=0.62)
    axes.set_yscale("log")
    axes.set_ylim(top=max(heights) * 2.2)
    for place, (choice, mine) in enumerate(zip(choices, own, strict=True)):
        text = words.own.format(y=choice.y) if mine else f"{choice.y:,}"
        weight = "bold" if mine else "normal"
        axes.text(place, heights[place] * 1.12, text, ha="center", fontsize=8, fontweight=weight)
    axes.set_xticks(range(len(choices)), [period(choice.recycle_s, words) for choice in choices], fontsize=8)
    axes.set_xlabel(words.curve_x)
    axes.set_ylabel(words.curve_y)
    axes.tick_params(axis="y", which="both", labelsize=8)
