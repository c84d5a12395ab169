"""What accountants get: PDF in two languages with real fonts, workbook, CSV, JSON."""

import csv
import io
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.billing.scenes import LANDLINE, MOBILE, STANDARD, Scene
from tests.billing.worlds import MONTH
from xiaohao.billing import pdf
from xiaohao.billing.invoices import Invoice
from xiaohao.billing.sheets import CALL_COLUMNS, csv_of, orders_csv
from xiaohao.billing.terms import ServiceItem
from xiaohao.billing.words import WORDS, Language, capital_amount, counted
from xiaohao.billing.workbook import write_xlsx
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault


@pytest.fixture
def database_url(tmp_path: Path, sqlite_template: Path) -> str:
    """What is printed is the same on both databases: one is enough here."""
    copy = tmp_path / "xiaohao.db"
    copy.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{copy}"


@pytest.fixture
async def issued(database: Database, vault: Vault) -> tuple[Scene, Invoice]:
    scene = Scene(database, vault)
    scene.closing = type(scene.closing)(database, scene.rater, "讯众通信\nNo. 1, Haidian", scene.clock)
    customer_id = await scene.customer(LANDLINE, "+864001234567")
    for seconds, reference in ((61, "=1+1"), (600, "ride 2"), (None, None)):
        await scene.call(customer_id, seconds, order_ref=reference, record=True, displayed=MOBILE)
        await scene.call(customer_id, seconds, "+864001234567")
    scene.month_is_over()
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    return scene, await scene.invoices.issue(invoice_id)


def poppler(*command: str) -> str:
    """What a reader of PDF written by strangers finds."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("language", Language)
async def test_the_pdf_says_what_the_invoice_says(
    issued: tuple[Scene, Invoice], language: Language, tmp_path: Path
) -> None:
    _, invoice = issued
    file = tmp_path / "invoice.pdf"
    file.write_bytes(pdf.render(invoice, language))
    text = poppler("pdftotext", "-layout", str(file), "-")
    words = WORDS[language]
    for said in (words["invoice"], "2026-000001", "2026-11", "讯众通信", "Sougu", "+864001234567", "83.24"):
        assert said in text, said
    for line in (invoice.document or {})["lines"]:
        assert words[line["item"]] in text
    fonts = poppler("pdffonts", str(file))
    rows = [row.split() for row in fonts.splitlines()[2:]]
    # every glyph comes from the font that was meant, and is in the file
    assert rows and all("NotoSansCJKsc" in row[0] and "yes" in row for row in rows), fonts


SAID = {
    Language.CHINESE: (
        "通信费、录音优惠 12.5%",
        "每月最低消费 5000.00 元",
        "整月 60.00 元",
        "2 人日",
        "3 条",
    ),
    Language.ENGLISH: ("12.5 % off Call minutes, Recording", "at least 5000.00", "part of a month of 60.00"),
}


@pytest.mark.parametrize("language", Language)
async def test_what_the_platform_says_is_in_the_document_s_language(
    database: Database, vault: Vault, tmp_path: Path, language: Language
) -> None:
    scene = Scene(database, vault)
    customer_id = await scene.customer("+861062000109")
    terms = {**STANDARD, "discounts": [{"percent": "12.5", "items": ["minutes", "recording"]}]}
    await scene.billing.add_contract(customer_id, MONTH, {**terms, "minimum": "5000"})
    await scene.number(customer_id, "+864001234567")
    await scene.call(customer_id, 61, record=True)
    for item, quantity in ((ServiceItem.DEVELOPMENT_DAY, 2), (ServiceItem.PROMPT, 3)):
        await scene.billing.add_entry(customer_id, MONTH, item, Decimal(quantity), None, "notes of people")
    scene.month_is_over()
    invoice = await scene.invoices.get(str(await scene.closing.close(customer_id, MONTH)))
    file = tmp_path / "invoice.pdf"
    file.write_bytes(pdf.render(invoice, language))
    text = poppler("pdftotext", "-layout", str(file), "-")
    for said in SAID[language]:
        assert said.replace(" ", "") in "".join(text.split()), said


async def test_orders_add_up_to_the_calls(issued: tuple[Scene, Invoice]) -> None:
    scene, invoice = issued
    raw = b"".join([part async for part in orders_csv(scene.invoices.calls(invoice))])
    rows = {row["order_ref"]: row for row in csv.DictReader(io.StringIO(raw.decode("utf-8-sig")))}
    assert set(rows) == {"", "'=1+1", "ride 2"}
    assert (rows["ride 2"]["calls"], rows["ride 2"]["seconds"], rows["ride 2"]["total"]) == (
        "1",
        "600",
        "2.62",
    )
    assert sum(int(row["total"].replace(".", "")) for row in rows.values()) == 324
    assert sum(int(row["calls"]) for row in rows.values()) == 6


async def test_the_picture_shows_each_day(issued: tuple[Scene, Invoice]) -> None:
    _, invoice = issued
    prepared = pdf.prepared(invoice, Language.ENGLISH)
    heights = [bar["height"] for bar in prepared["bars"]]
    assert len(heights) == 30
    assert [place for place, height in enumerate(heights, 1) if height] == [2]
    assert prepared["peak"] == "highest day: 2026-11-02; minutes: 24, calls: 6"


async def test_csv_and_workbook_hold_every_call(issued: tuple[Scene, Invoice], tmp_path: Path) -> None:
    scene, invoice = issued
    raw = b"".join([part async for part in csv_of(scene.invoices.calls(invoice))])
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    assert len(rows) == 6
    assert tuple(rows[0]) == CALL_COLUMNS
    assert sum(int(row["total"].replace(".", "")) for row in rows) == 324  # 83.24 less 80 of rent
    assert "'=1+1" in {row["order_ref"] for row in rows}
    path = tmp_path / "invoice.xlsx"
    await write_xlsx(path, invoice.document or {}, scene.invoices.calls(invoice), Language.ENGLISH)
    book = openpyxl.load_workbook(path)
    levels = ["Charges", "By application", "By kind of number", "By number", "By day"]
    assert book.sheetnames == [*levels, "Calls"]
    lines = {row[0]: row for row in book["Charges"].values}
    assert lines["Recording"] == ("Recording", None, 2, "calls", 0.1, 0.2, None)
    assert sum(row[5] for row in list(book["Charges"].values)[1:]) == pytest.approx(83.24)
    for level, column in zip(levels[1:4], "NMO", strict=True):
        assert book[level][f"{column}1"].value == "Amount"
        assert sum(cell.value for cell in book[level][column][1:]) == pytest.approx(83.24), level
    calls: list[tuple[Any, ...]] = list(book["Calls"].values)
    assert len(calls[0]) == len(CALL_COLUMNS)
    assert round(sum(row[-1] for row in calls[1:]), 2) == 3.24
    assert [row[2] for row in calls if row[2] == "=1+1"] == ["=1+1"]
    assert all(cell.data_type != "f" for row in book["Calls"].iter_rows() for cell in row)


async def test_a_credit_note_is_printed(issued: tuple[Scene, Invoice], tmp_path: Path) -> None:
    scene, invoice = issued
    note = await scene.invoices.credit(invoice.id, 10_600_000, "two calls failed")
    file = tmp_path / "note.pdf"
    file.write_bytes(pdf.render(await scene.invoices.get(note.id), Language.ENGLISH))
    text = poppler("pdftotext", str(file), "-")
    for said in ("Credit note", "Draft", "2026-000001", "-10.60", "-10.00", "two calls failed"):
        assert said in text, said


@pytest.mark.parametrize(
    ("cents", "text"),
    [
        (0, "零元整"),
        (5, "伍分"),
        (10, "壹角整"),
        (105, "壹元零伍分"),
        (123_456, "壹仟贰佰叁拾肆元伍角陆分"),
        (1_000_000, "壹万元整"),
        (1_000_500, "壹万零伍元整"),
        (10_000_000_00, "壹仟万元整"),
        (1_0000_0001_00, "壹亿零壹元整"),
        (100_100_00, "壹拾万零壹佰元整"),
        (-106_00, "负壹佰零陆元整"),
    ],
)
def test_capital_figures(cents: int, text: str) -> None:
    assert capital_amount(cents) == text


def test_both_languages_have_every_word() -> None:
    assert set(WORDS[Language.ENGLISH]) == set(WORDS[Language.CHINESE])


def test_one_of_a_thing_is_not_many() -> None:
    def said(item: str, unit: str, quantity: str, language: Language) -> str:
        return counted({"item": item, "unit": unit, "quantity": quantity}, WORDS[language])

    assert [said("rent", "number", one, Language.ENGLISH) for one in ("1", "2")] == ["number", "numbers"]
    assert said("support_day", "piece", "1", Language.ENGLISH) == "person-day"
    assert said("rent", "number", "1", Language.CHINESE) == "个"
