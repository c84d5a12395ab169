"""The files that a plan becomes."""

import asyncio
import csv
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from xiaohao.errors import Refusal
from xiaohao.planning import charts
from xiaohao.planning.charts import Format, draw
from xiaohao.planning.computing import compute
from xiaohao.planning.illustration import illustrate
from xiaohao.planning.model import DAY_S, Occupation, Plan
from xiaohao.planning.wire import PlanRequest, PlanView
from xiaohao.planning.words import WORDS, Language, period

REQUEST = {
    "cities": [
        {"city": "北京", "drivers": 900, "orders_a_day": 9000, "orders_per_driver": 15},
        {"city": "=成都<b>", "drivers": 300, "orders_a_day": 3000},
    ],
    "call_probability": 0.5,
    "binding_life_s": 2700,
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compute(PlanRequest.model_validate(REQUEST).demand())


@pytest.fixture(scope="module")
def shown(plan: Plan) -> tuple[list[Occupation], float]:
    return asyncio.run(illustrate(plan.demand))


def test_the_illustration_is_what_the_allocator_did(shown: tuple[list[Occupation], float]) -> None:
    occupations, rest_s = shown
    assert rest_s == DAY_S
    assert {one.driver for one in occupations} == {0, 1, 2}
    for number, one in enumerate(occupations):
        assert one.rests_until == one.ends + rest_s
        for other in occupations[:number]:
            if (one.driver, one.y) == (other.driver, other.y):
                assert other.rests_until <= one.since
    # that is what sharing means: different drivers meet different passengers on one number at the same time
    assert any(
        one.y == other.y and one.driver != other.driver and other.since < one.since < other.ends
        for one in occupations
        for other in occupations
    ) or len({one.y for one in occupations}) < len(occupations)


@pytest.mark.parametrize("language", list(Language))
def test_the_svg_says_everything_in_its_language(
    plan: Plan, shown: tuple[list[Occupation], float], language: Language
) -> None:
    svg = draw(plan, *shown, language, Format.SVG)
    text = "\n".join(ET.fromstring(svg).itertext())
    words = WORDS[language]
    for wanted in (
        words.title.format(x=plan.x, y=plan.y),
        words.drivers_title,
        words.passengers_title,
        words.curve_title,
        words.total,
        "Y1",
        words.driver.format(n=3),
        "北京",
        "=成都<b>",
        f"{plan.y:,}",
    ):
        assert wanted in text
    assert len(svg) < 120_000
    assert draw(plan, *shown, language, Format.SVG) == svg
    assert b"Microsoft YaHei" in svg
    assert not re.search(rb"<(script|image|foreignObject)|href=\"http", svg)


def test_the_png_shows_chinese_and_not_boxes(plan: Plan, shown: tuple[list[Occupation], float]) -> None:
    chinese, english = (
        np.asarray(Image.open(io.BytesIO(draw(plan, *shown, language, Format.PNG))).convert("L"))
        for language in (Language.CHINESE, Language.ENGLISH)
    )
    assert chinese.shape == english.shape
    assert chinese.shape[1] > 1500
    # The title's characters differ from one another: a font without them would draw one box again and again.
    title = chinese[:40]
    columns = np.flatnonzero((title < 128).any(axis=0))
    glyphs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    pictures = {title[:, glyph[0] : glyph[-1] + 1].tobytes() for glyph in glyphs}
    assert len(pictures) > 18


def test_a_machine_without_a_chinese_font_says_so(
    plan: Plan, shown: tuple[list[Occupation], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "_CHINESE_FONTS", ("No Such Font",))
    with pytest.raises(Refusal) as refused:
        draw(plan, *shown, Language.CHINESE, Format.PNG)
    assert refused.value.code == "font_missing"
    assert draw(plan, *shown, Language.CHINESE, Format.SVG).startswith(b"<?xml")


def test_the_table_for_a_spreadsheet(plan: Plan) -> None:
    rows = list(csv.DictReader(io.StringIO(PlanView.of(plan).csv())))
    assert [row["city"] for row in rows] == ["北京", "'=成都<b>", "total"]
    for name in ("drivers", "x", "y", "y_never", "x_resting"):
        assert int(rows[2][name]) == int(rows[0][name]) + int(rows[1][name])
    assert float(rows[2]["reservations"]) == 6000.0


def test_lengths_of_time() -> None:
    assert [period(seconds, WORDS[Language.ENGLISH]) for seconds in (0, 30, 90, 5400, 129_600)] == [
        "none",
        "30 s",
        "1.5 min",
        "1.5 h",
        "1.5 d",
    ]
