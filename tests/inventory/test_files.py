"""Number files, as spreadsheets and people write them."""

import csv
import zipfile
from datetime import date
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.inventory import files
from xiaohao.inventory.columns import HeaderError, Reader, References
from xiaohao.inventory.files import FileError, Format
from xiaohao.numbers.intake import Fault
from xiaohao.numbers.model import DialledBy, NumberSpec, NumberState

NAMES = References({"drivers": "pool_1", "pool_1": "pool_1"}, {"Ride": "cus_1"}, {"east": "trk_1"})


def read(path: Path, format_: Format = Format.CSV) -> list[tuple[int, list[str]]]:
    return list(files.rows(path, format_))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_as_it_comes(tmp_path: Path, encoding: str, delimiter: str) -> None:
    path = tmp_path / "numbers.csv"
    lines = ["号码,城市", "13900000001, 北京 ", ",", "'+861062000001,"]
    path.write_text("\r\n".join(lines).replace(",", delimiter), encoding=encoding)
    assert read(path) == [(1, ["号码", "城市"]), (2, ["13900000001", "北京"]), (4, ["+861062000001", ""])]


def test_a_long_file_that_is_not_utf_8_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_bytes(b"number\n" + b"13900000001\n" * 10_000 + "北京".encode("gb18030"))
    with pytest.raises(FileError, match="utf-8"):
        read(path)


def test_xlsx_with_numbers_for_numbers(tmp_path: Path) -> None:
    path = tmp_path / "numbers.xlsx"
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    for row in (
        ["number", "displayable", "valid_until", "city"],
        [13900000001, True, date(2027, 1, 31), " 北京 "],
        [None, None, None, None],
        ["01062000001", False, None, 755.0],
    ):
        sheet.append(row)
    workbook.save(path)
    assert read(path, Format.XLSX) == [
        (1, ["number", "displayable", "valid_until", "city"]),
        (2, ["13900000001", "true", "2027-01-31", "北京"]),
        (4, ["01062000001", "false", "", "755"]),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"number\n13900000001\n", b"PK\x03\x04 but no archive", b"\xd0\xcf\x11\xe0 of old"]
)
def test_what_is_no_xlsx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "numbers.xlsx"
    path.write_bytes(content)
    with pytest.raises(FileError):
        read(path, Format.XLSX)


@pytest.mark.parametrize(
    "cell",
    [
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        '<row r="99999999999"><c r="A99999999999"><v>1</v></c></row>',
        '<row r="4294967295"><c r="A4294967295"><v>1</v></c></row>',
        '<row r="2"><c r="XFD2"><v>1</v></c></row>',
        '<row r="2"><c r="A2" t="s"><v>999999</v></c></row>',
        '<row r="2"><c r="A2" t="inlineStr"><is><t>' + "1" * 40_000 + "</t></is></c></row>",
        "<row",
    ],
)
def test_no_sheet_hurts_the_process_that_asks(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "numbers.xlsx"
    whole = tmp_path / "whole.xlsx"
    workbook = openpyxl.Workbook()
    workbook.save(whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as altered:
        for name in source.namelist():
            text = source.read(name).decode()
            if name.endswith("sheet1.xml"):
                first = '<row r="1"><c r="A1" t="inlineStr"><is><t>number</t></is></c></row>'
                text = text.replace("<sheetData>", f"<sheetData>{first}{cell}")
                assert cell in text
            altered.writestr(name, text)
    with pytest.raises(FileError):
        read(path, Format.XLSX)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('number,carrier\n1,"abc\n2,x\n', 2),
        ('number,carrier\n1,x\n2,"abc\n3,x"\n4,x\n', 3),
        ('number,carrier\n1,x\n2,"a"b\n', 3),
        ('number,carrier\n1,"' + "2,x\n" * 100_000, 2),
    ],
)
def test_a_quote_swallows_no_row(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=f"^line {line}:"):
        read(path)


@given(st.text(max_size=20))
def test_no_cell_is_a_formula(text: str) -> None:
    cell = files.guarded(text)
    assert cell == text or (cell == f"'{text}" and text[0] in "=+-@\t\r")
    assert not cell.startswith(("=", "-", "@", "\t", "\r"))
    assert not cell.startswith("+") or (cell[1:].isascii() and cell[1:].isdigit())


def test_what_is_written_can_be_read_and_runs_nothing(tmp_path: Path) -> None:
    header = ("number", "note", "count")
    found = [("+8613900000001", "=1+1", 7), ("+861062000001", None, 8)]
    table, sheet = tmp_path / "t.csv", tmp_path / "t.xlsx"
    assert files.write_csv(table, header, found) == files.write_xlsx(sheet, header, found) == 2
    with table.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1] == ["+8613900000001", "'=1+1", "7"]
    assert read(table)[1:] == [
        (2, ["+8613900000001", "=1+1", "7"]),
        (3, ["+861062000001", "", "8"]),
    ]
    cells = openpyxl.load_workbook(sheet).active
    assert cells is not None
    assert [cell.data_type for cell in next(cells.iter_rows(min_row=2))] == ["s", "s", "n"]
    assert read(sheet, Format.XLSX)[1] == (2, ["+8613900000001", "=1+1", "7"])


def test_columns_in_both_languages_and_any_order() -> None:
    english = Reader(["Pool", "number", "kind", "displayed as", "dialled_by", "state"], NAMES)
    chinese = Reader(["号码池", "号码", "", "外显号码", "可拨打", "状态"], NAMES)
    wanted = NumberSpec(
        "13900000001",
        "pool_1",
        displayed_as="01062000001",
        dialled_by=DialledBy.DOMESTIC,
        state=NumberState.IN_STOCK,
    )
    assert english.spec(["drivers", "13900000001", "x", "01062000001", "domestic", "in_stock"]) == wanted
    assert chinese.spec(["pool_1", "13900000001", "x", "01062000001", "国内", "库存"]) == wanted


def test_every_cell_is_understood_or_refused() -> None:
    names = ("number", "customer", "trunk", "city", "displayable", "documents", "valid_until", "carrier")
    reader = Reader(names, NAMES)
    good = ["13900000001", "Ride", "east", "深圳", "否", "卷宗 1；合同 2", "2027/1/31", "移动"]
    spec = reader.spec(good)
    assert isinstance(spec, NumberSpec)
    assert (spec.customer_id, spec.trunk_id, spec.city, spec.displayable) == ("cus_1", "trk_1", "755", False)
    assert (spec.documents, spec.carrier) == (("卷宗 1", "合同 2"), "移动")
    assert spec.valid_until == 1_801_411_200_000_000  # the end of the day in China
    bad = ["", "Nobody", "west", "Suzhou", "perhaps", ";".join("123456789" * 9), "tomorrow", "x" * 201]
    for place, cell in enumerate(bad):
        fault = reader.spec([*good[:place], cell, *good[place + 1 :]])
        assert isinstance(fault, Fault)
        assert fault.field == names[place]
        assert not cell or cell not in fault.detail
    for control in ("\x00", "\n", "\x7f"):
        fault = reader.spec([*good[:7], f"a{control}b"])
        assert isinstance(fault, Fault)
        assert (fault.field, "control" in fault.detail) == ("carrier", True)
    assert reader.spec([*good, "more"]) == Fault("row", "has more cells than the header")


@pytest.mark.parametrize(
    "header", [["pool"], ["number", "号码"], ["number", "colour"], ["number", "\x01"], []]
)
def test_headers_that_name_no_columns(header: list[str]) -> None:
    with pytest.raises(HeaderError):
        Reader(header, NAMES)
