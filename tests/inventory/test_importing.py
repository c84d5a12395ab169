"""Files of numbers into the inventory, and tables out of it, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update
from tests.world import World, person, x_number, y_number

from xiaohao.database.direct import Direct
from xiaohao.database.schema import legs, number_history, numbers, pools, verifications
from xiaohao.errors import Refusal
from xiaohao.inventory import files
from xiaohao.inventory.exporting import What, export, inventory, totals
from xiaohao.inventory.files import Format
from xiaohao.inventory.importing import Import
from xiaohao.inventory.model import Outcome, Report, RowReport, Take
from xiaohao.numbers.lifecycle import Reason
from xiaohao.numbers.model import NumberSpec, NumberState, Verification

Lines = list[list[str]]
HEADER = ["number", "pool", "documents"]


@pytest.fixture
def direct(world: World) -> Iterator[Direct]:
    direct = Direct(world.database.url)
    yield direct
    direct.close()


def run(world: World, direct: Direct, lines: Lines, **options: object) -> tuple[Report, list[RowReport]]:
    told: list[RowReport] = []
    job = Import(direct, world.vault, listener=told.append, **options)  # type: ignore[arg-type]
    return job.run(enumerate(lines, 1)), told


async def count(world: World) -> int:
    async with world.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(numbers))).scalar_one())


async def test_a_file_comes_in_as_by_hand(world: World, direct: Direct) -> None:
    customer = await world.customer()
    pool = await world.pool(customer, 60, [])
    lines = [
        HEADER,
        [x_number(1), "pool", "archive 1"],
        [x_number(2), pool.id, ""],
        ["010 6200 0001", "", ""],
    ]
    report, told = run(world, direct, lines, by="key_1")
    assert (report.rows, report.added, report.refused, report.written) == (3, 3, 0, True)
    assert told == [
        RowReport(2, Outcome.ADDED, x_number(1)),
        RowReport(3, Outcome.ADDED, x_number(2)),
        RowReport(4, Outcome.ADDED, "+861062000001"),
    ]
    first = await world.numbers.get_number(x_number(1))
    assert (first.customer_id, first.pool_id) == (customer.id, pool.id)
    assert (first.verification, first.state) == (Verification.VERIFIED, NumberState.AVAILABLE)
    assert (await world.numbers.get_number(x_number(2))).verification is Verification.PENDING
    (entry,) = await world.numbers.history(x_number(1), None, 10)
    assert (entry.reason, entry.changed_by, entry.customer_id) == (Reason.IMPORTED, "key_1", customer.id)
    (proof,) = await world.verifications.page("", 10)
    assert (proof.number, proof.documents) == (x_number(1), ("archive 1",))
    again, _ = run(world, direct, lines)
    assert (again.added, again.unchanged, again.written) == (0, 3, False)
    async with world.database.read() as connection:
        for table, rows in ((number_history, 3), (verifications, 1)):
            found = await connection.execute(select(func.count()).select_from(table))
            assert found.scalar_one() == rows


BAD: Lines = [
    HEADER,
    [x_number(1), "drivers", ""],
    ["12", "drivers", ""],
    [x_number(1), "drivers", ""],
    [x_number(2), "nowhere", ""],
    [person(2), "", ""],
    [x_number(9), "", ""],
    [y_number(1), "drivers", "archive"],
]


async def furnish(world: World) -> None:
    ride = await world.ride(xs=10, ys=1)
    await ride.reserve(1, 2, x=x_number(10))
    await world.pools.create("drivers", ride.x_pool.policy)


@pytest.mark.parametrize("take", Take)
async def test_all_or_the_valid_ones(world: World, direct: Direct, take: Take) -> None:
    await furnish(world)
    lines = [*BAD, ["+8613800009999", "drivers", ""]]
    lines[1] = ["+8613800008888", "drivers", ""]
    lines[3] = lines[1]
    before = await count(world)
    report, told = run(world, direct, lines, take=take)
    assert [(row.line, row.field) for row in told if row.outcome is Outcome.REFUSED] == [
        (3, "number"),
        (4, "number"),
        (5, "pool"),
        (6, "number"),
        (7, "number"),
        (8, "verification"),
    ]
    assert [row.number for row in report.faults] == [None] * 6
    assert (report.rows, report.added, report.refused) == (8, 2, 6)
    assert report.written == (take is Take.VALID)
    assert await count(world) == before + (2 if take is Take.VALID else 0)


async def test_a_dry_run_changes_nothing(world: World, direct: Direct) -> None:
    report, _ = run(world, direct, [HEADER, [x_number(1), "", ""]], dry_run=True)
    assert (report.added, report.written) == (1, False)
    assert await count(world) == 0


async def test_more_than_one_chunk(world: World, direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xiaohao.inventory.importing._CHUNK", 10)
    seen: list[tuple[int, int]] = []
    report, _ = run(
        world,
        direct,
        [
            ["number", "displayed_as", "documents"],
            *([x_number(n), x_number(0) if n > 20 else "", "" if n else "archive 1"] for n in range(95)),
        ],
        progress=lambda read, written: seen.append((read, written)),
    )
    assert report.added == await count(world) == 95
    assert seen[-1] == (95, 95)
    assert (await world.numbers.get_number(x_number(94))).displayed_as == x_number(0)


async def test_somebody_adds_one_of_them_meanwhile(
    world: World, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.pool(None, 60, [x_number(2)])
    monkeypatch.setattr("xiaohao.inventory.bulk_store.Bulk.there", lambda _self, _wanted: {})
    with pytest.raises(Refusal) as refused:
        run(world, direct, [HEADER, [x_number(1), "", ""], [x_number(2), "", ""]])
    assert refused.value.code == "number_exists"
    assert await count(world) == 1


async def test_a_header_that_says_nothing(world: World, direct: Direct) -> None:
    for lines in ([["a", "b"]], []):
        with pytest.raises(Refusal) as refused:
            run(world, direct, lines)
        assert refused.value.code == "file_header_wrong"


@pytest.mark.parametrize("format_", Format)
async def test_what_comes_out_goes_in_again(
    world: World, direct: Direct, tmp_path: Path, format_: Format
) -> None:
    customer = await world.customer("=cmd()")
    await world.pool(customer, 60, [x_number(1), y_number(1), "+8675588880001"])
    path = tmp_path / "numbers"
    assert export(direct, path, format_, What.NUMBERS) == 3
    rows = [cells for _, cells in files.rows(path, format_)]
    assert [row[0] for row in rows[1:]] == [y_number(1), x_number(1), "+8675588880001"]
    shown = dict(zip(rows[0], rows[3], strict=True))
    assert (shown["city_name"], shown["province"], shown["customer"]) == ("深圳", "广东", "=cmd()")
    report, _ = run(world, direct, rows)
    assert (report.unchanged, report.refused) == (3, 0)


@pytest.mark.parametrize("format_", Format)
async def test_an_export_goes_into_an_empty_inventory(
    world: World, direct: Direct, tmp_path: Path, format_: Format
) -> None:
    ride = await world.ride(xs=2, ys=1)
    await ride.reserve(1, 2)
    late = "+8675588880001"
    await world.numbers.add_numbers([NumberSpec(late, customer_id=ride.customer.id)])
    early = NumberSpec("4001234567", customer_id=ride.customer.id, displayed_as=late)
    await world.numbers.add_numbers([early, NumberSpec("01062009998"), NumberSpec("01062009999")])
    await world.numbers.suspend("01062009998")
    await world.numbers.retire("01062009999")
    async with world.database.begin() as connection:
        await connection.execute(update(pools).values(name=pools.c.id))
    path = tmp_path / "numbers"
    assert export(direct, path, format_, What.NUMBERS) == 7
    async with world.database.begin() as connection:
        for table in (numbers, number_history, verifications):
            await connection.execute(delete(table))
        await connection.execute(delete(legs))
    report, told = run(world, direct, [cells for _, cells in files.rows(path, format_)], take=Take.VALID)
    assert [row.field for row in report.faults] == ["state", "state"]
    assert (report.added, told[-1].number) == (5, "+864001234567")
    assert (await world.numbers.get_number("4001234567")).displayed_as == late
    used = await world.numbers.get_number(x_number(1))
    assert (used.state, used.pool_id) == (NumberState.AVAILABLE, ride.x_pool.id)


async def test_what_cannot_be_shown_in_place_of_another(world: World, direct: Direct) -> None:
    await world.pool(None, 60, [y_number(n) for n in range(1, 5)])
    await world.numbers.suspend(y_number(1))
    await world.numbers.take_to_stock(y_number(2))
    await world.numbers.retire(y_number(3))
    await world.numbers.change_number(y_number(4), {"pool_id": None})
    lines = [
        ["number", "displayed_as", "documents", "state"],
        ["4001234561", y_number(1), "", ""],
        ["4001234562", y_number(2), "", ""],
        ["4001234563", y_number(3), "", ""],
        ["4001234564", y_number(4), "", ""],
        [x_number(1), "", "", ""],
        [x_number(2), "", "archive 1", ""],
        [x_number(3), "", "archive 1", "in_stock"],
        ["4001234565", x_number(1), "", ""],
        ["4001234566", x_number(2), "", ""],
        ["4001234567", x_number(3), "", ""],
    ]
    report, _ = run(world, direct, lines, take=Take.VALID)
    assert [(row.line, row.field) for row in report.faults] == [
        (line, "displayed_as") for line in (2, 3, 4, 9, 11)
    ]
    assert report.added == 5
    await world.numbers.suspend(y_number(4))
    again, _ = run(world, direct, [lines[0], lines[4]])
    assert (again.unchanged, again.refused) == (1, 0)


async def test_the_inventory_table(world: World, direct: Direct, tmp_path: Path) -> None:
    ride = await world.ride(xs=3, ys=4)
    await ride.reserve(1, 2)
    await world.numbers.suspend(x_number(3))
    lines = inventory(direct)
    assert [(line.kind, line.city, line.total) for line in lines] == [
        ("landline", "10", 4),
        ("mobile", None, 3),
    ]
    assert lines[1].states == {
        NumberState.AVAILABLE: 1,
        NumberState.IN_SERVICE: 1,
        NumberState.SUSPENDED: 1,
    }
    assert totals(lines)[NumberState.AVAILABLE] == 5
    path = tmp_path / "t.csv"
    assert export(direct, path, Format.CSV, What.INVENTORY) == 3
    cells = [row for _, row in files.rows(path, Format.CSV)]
    assert cells[1][:5] == ["landline", "10", "北京", "北京", ""]
    assert cells[-1] == ["total", "", "", "", "", "0", "5", "1", "0", "1", "0", "7"]
