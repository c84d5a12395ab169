"""The month's close and what becomes of invoices."""

import asyncio
import hashlib
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from tests.billing.scenes import DAY, MOBILE, STANDARD, Scene, flat
from tests.billing.worlds import MONTH, START
from xiaohao.billing import calendar
from xiaohao.billing.closing import Closing
from xiaohao.billing.invoices import Invoices
from xiaohao.billing.model import InvoiceState
from xiaohao.billing.rater import Rater
from xiaohao.billing.runs import Month
from xiaohao.billing.service import Limits
from xiaohao.billing.terms import ServiceItem
from xiaohao.clock import SECOND
from xiaohao.database.billing_tables import closed_months, invoices, usages
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault

YUAN = 1_000_000


@pytest.fixture
def scene(database: Database, vault: Vault) -> Scene:
    return Scene(database, vault)


async def busy(scene: Scene, place: int = 1) -> str:
    """The n-th customer, with a number of each sort and some calls, its month over."""
    scene.clock.now = START + DAY
    landline, service = f"+8610620002{place:02}", f"+8640012345{place:02}"
    customer_id = await scene.customer(landline, service)
    for minutes in (1, 3, 500):
        for number in (landline, service, MOBILE):
            await scene.call(customer_id, minutes * 60, number, order_ref=f"ride {minutes}")
            scene.clock.forward(1)
    scene.month_is_over()
    return customer_id


def in_units_of(unit_s: int) -> dict[str, Any]:
    """0.6 a minute, 0.01 a second."""
    rate = {"kinds": ["landline"], "tiers": [{"price": "0.6"}], "unit_s": unit_s}
    return {"rates": [rate], "places": 3}


async def test_two_workers_closing_a_month_make_one_invoice(scene: Scene) -> None:
    customer_id = await busy(scene)
    closings = [
        Closing(scene.database, Rater(scene.database, scene.vault, scene.clock), clock=scene.clock)
        for _ in range(4)
    ]
    found = await asyncio.gather(*(closing.close(customer_id, MONTH) for closing in closings))
    assert len(set(found)) == 1
    (row,) = await scene.rows(invoices)
    # 20 + 60, 504 minutes of each: landline 126.00, 400 beyond 400: 26.00, mobile 100.80
    assert row["gross_amount"] == (20 + 60 + 126 + 26) * YUAN + 100_800_000


async def test_closing_goes_on_where_it_was_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    customers = sorted([await busy(scene, place) for place in range(3)])
    real, seen = Month.bill, 0

    async def dies_at_the_second(self: Month, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 2:
            raise RuntimeError("killed")
        return await real(self, *arguments)

    monkeypatch.setattr(Month, "bill", dies_at_the_second)
    with pytest.raises(RuntimeError, match="killed"):
        await scene.closing.close_all(MONTH)
    assert len(await scene.rows(invoices)) == 1
    await scene.call(customers[1], 60, at=scene.clock.now - 10 * 86_400 * 1_000_000)
    assert await scene.closing.close_all(MONTH) == 2
    rows = await scene.rows(invoices)
    assert sorted(row["customer_id"] for row in rows) == sorted(customers)
    assert len({row["gross_amount"] for row in rows}) == 1
    assert await scene.closing.close_all(MONTH) == 0


async def test_the_worker_closes_some_hours_after_the_end_and_alone(scene: Scene) -> None:
    await busy(scene)
    scene.clock.now -= 20 * 3600 * 1_000_000
    assert await scene.closing.close_due("one", 6) == 0
    scene.clock.forward(3 * 3600)
    async with scene.database.begin() as connection:
        from xiaohao.billing import store

        assert await store.take_lease(connection, "billing.close", "other", scene.clock.now)
    assert await scene.closing.close_due("one", 6) == 0
    scene.clock.forward(31)
    assert await scene.closing.close_due("one", 6) == 1


async def test_the_worker_closes_months_that_it_missed(scene: Scene) -> None:
    """It was down from November until the first hours of February."""
    customer_id = await busy(scene)
    scene.clock.now = calendar.end_of(202701) + 3600 * 1_000_000
    assert await scene.closing.close_due("one", 6) == 2
    assert sorted(row["month"] for row in await scene.rows(invoices)) == [MONTH, 202612]
    assert await scene.closing.close_due("one", 6) == 0
    scene.clock.forward(6 * 3600)
    assert await scene.closing.close_due("one", 6) == 1
    # what comes only now is of a month before the customer was made, and closed within the hour
    await scene.billing.add_entry(customer_id, 202608, ServiceItem.PROMPT, Decimal(1), None, "an old order")
    assert await scene.closing.close_due("one", 6) == 0
    scene.clock.forward(3600)
    assert await scene.closing.close_due("one", 6) == 3  # September and October, too
    assert sorted(row["month"] for row in await scene.rows(invoices)) == [202608, MONTH, 202612, 202701]


async def test_an_open_month_is_not_closed(scene: Scene) -> None:
    customer_id = await scene.customer()
    with pytest.raises(Refusal, match="month_open"):
        await scene.closing.close(customer_id, MONTH)


async def test_a_month_without_anything_has_no_invoice(scene: Scene) -> None:
    customer_id = await scene.customer()
    scene.month_is_over()
    assert await scene.closing.close(customer_id, MONTH) is None
    assert await scene.closing.close_all(MONTH) == 0


async def test_numbers_have_no_gaps(scene: Scene) -> None:
    drafts = []
    for place in range(3):
        customer_id = await busy(scene, place)
        drafts.append(str(await scene.closing.close(customer_id, MONTH)))

    async def issue(invoice_id: str) -> str | None:
        return (await scene.invoices.issue(invoice_id)).number

    with pytest.raises(ZeroDivisionError):
        async with scene.database.shared():
            assert await scene.invoices.issue(drafts[0])
            raise ZeroDivisionError
    numbers = await asyncio.gather(*(issue(one) for one in [*drafts, *drafts]))
    assert sorted({str(number) for number in numbers}) == ["2026-000001", "2026-000002", "2026-000003"]


async def test_the_life_of_an_invoice(scene: Scene) -> None:
    customer_id = await busy(scene)
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    with pytest.raises(Refusal, match="not_found"):
        await scene.invoices.get(invoice_id, customer_id)
    with pytest.raises(Refusal, match="invoice_in_another_state"):
        await scene.invoices.pay(invoice_id)
    async with scene.database.read() as connection:
        call_id = str((await connection.execute(select(usages.c.call_id))).scalars().first())
    bills = [(await scene.billing.call(call_id, one))[0]["invoice_id"] for one in (None, customer_id)]
    assert bills == [invoice_id, None]
    issued = await scene.invoices.issue(invoice_id)
    assert (issued.state, issued.number) == (InvoiceState.ISSUED, "2026-000001")
    (charged,) = await scene.billing.call(call_id, customer_id)
    assert (charged["invoice_id"], charged["invoice_number"]) == (invoice_id, issued.number)
    assert charged["contract_id"] is None
    assert (await scene.invoices.get(invoice_id, customer_id)).document == issued.document
    with pytest.raises(Refusal, match="not_found"):
        await scene.invoices.get(invoice_id, "cus_other")
    paid = await scene.invoices.pay(invoice_id)
    assert (paid.state, paid.paid_at) == (InvoiceState.PAID, scene.clock.now)
    with pytest.raises(Refusal, match="invoice_in_another_state"):
        await scene.invoices.void(invoice_id, "a mistake")
    note = await scene.invoices.credit(invoice_id, 106 * YUAN, "twelve calls failed")
    assert (note.gross, note.net, note.vat) == (-106 * YUAN, -100 * YUAN, -6 * YUAN)
    assert (await scene.invoices.issue(note.id)).number == "C2026-000001"
    with pytest.raises(Refusal, match="credit_too_large"):
        await scene.invoices.credit(invoice_id, issued.gross - 100 * YUAN, "too much")
    third = (issued.gross - 106 * YUAN) // 3 // 10_000 * 10_000
    for gross in (third, third, issued.gross - 106 * YUAN - 2 * third):
        await scene.invoices.credit(invoice_id, gross, "all of it")
    documents = await scene.invoices.page("", 10)
    assert [sum(one.net for one in documents), sum(one.vat for one in documents)] == [0, 0]


async def test_what_is_issued_never_changes(scene: Scene) -> None:
    customer_id = await busy(scene)
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    assert await scene.closing.close(customer_id, MONTH) == invoice_id
    (draft,) = await scene.rows(invoices)
    # no rent, and no minutes are included
    assert draft["gross_amount"] == 3 * 504 * YUAN
    await scene.invoices.issue(invoice_id)
    (issued,) = await scene.rows(invoices)
    with pytest.raises(Refusal, match="month_invoiced"):
        await scene.billing.add_contract(customer_id, MONTH, flat("2"))
    assert await scene.closing.close(customer_id, MONTH) == invoice_id
    assert await scene.rows(invoices) == [issued]
    assert hashlib.sha256(issued["document"].encode()).hexdigest() == issued["document_sha256"]


async def test_a_bill_has_what_its_own_transaction_rated(scene: Scene) -> None:
    customer_id = await busy(scene)
    async with scene.database.shared():
        invoice_id = str(await scene.closing.close(customer_id, MONTH))
        rerating = await scene.reratings.prepare(customer_id, MONTH)
    assert (await scene.invoices.get(invoice_id)).gross == 332_800_000
    assert (rerating.report["calls"], rerating.report["difference"]) == (9, "0.00")


async def test_a_contract_ends_with_its_last_month(scene: Scene) -> None:
    """A price for two months; then the one that held before holds again."""
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, 202609, flat("1"))
    await scene.billing.add_contract(customer_id, MONTH, flat("0.5"), to_month=202612)
    prices = []
    for month in (202608, 202610, MONTH, 202612, 202701):
        contract, terms = await scene.billing.terms_of(customer_id, month)
        prices.append(None if contract is None else str(terms.rates[0].tiers[0].price))
    assert prices == [None, "1", "0.5", "0.5", "1"]
    scene.clock.now = calendar.end_of(202612) + 5
    await scene.call(customer_id, 60)
    await scene.call(customer_id, 60, at=scene.clock.now - 10)
    await scene.rater.rate_due()
    grosses = [(await scene.billing.usage(customer_id, month))["gross"] for month in (202612, 202701)]
    assert grosses == ["0.50", "1.00"]
    with pytest.raises(Refusal, match="validation_failed"):
        await scene.billing.add_contract(customer_id, MONTH, flat("1"), to_month=202610)


async def test_what_is_entered_while_a_draft_is_made_is_not_missed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_id = await busy(scene)
    reckon = Month.bill

    async def slowly(month: Month, *watched: Any) -> Any:
        bill = await reckon(month, *watched)
        monkeypatch.setattr(Month, "bill", reckon)
        await scene.billing.add_entry(customer_id, MONTH, ServiceItem.PROMPT, Decimal(1), None, "late")
        return bill

    monkeypatch.setattr(Month, "bill", slowly)
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    with pytest.raises(Refusal, match="draft_outdated"):
        await scene.invoices.issue(invoice_id)
    assert await scene.closing.close(customer_id, MONTH) == invoice_id
    assert (await scene.invoices.issue(invoice_id)).gross == 432_800_000


async def test_a_void_invoice_keeps_its_number_and_makes_room(scene: Scene) -> None:
    customer_id = await busy(scene)
    first = str(await scene.closing.close(customer_id, MONTH))
    await scene.invoices.issue(first)
    void = await scene.invoices.void(first, "wrong address")
    assert (void.state, void.number, void.note) == (InvoiceState.VOID, "2026-000001", "wrong address")
    assert await scene.closing.close_all(MONTH) == 0  # nobody makes another one unasked
    second = str(await scene.closing.close(customer_id, MONTH))
    assert second != first
    assert (await scene.invoices.issue(second)).number == "2026-000002"
    states = {one.id: one.state for one in await Invoices(scene.database).page("", 10)}
    assert states == {first: InvoiceState.VOID, second: InvoiceState.ISSUED}


async def test_the_detail_adds_up_to_the_invoice_on_every_level(scene: Scene) -> None:
    customer_id = await busy(scene)
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    await scene.billing.add_contract(customer_id, 202612, flat("9"))
    invoice = await scene.invoices.issue(invoice_id)
    document = invoice.document or {}
    total, orders = 0, dict[str | None, int]()
    async for page in scene.invoices.calls(invoice):
        for usage, charged in page:
            total += charged.total
            orders[usage.order_ref] = orders.get(usage.order_ref, 0) + charged.total
    rents = sum(cents(one["rent"]) for one in document["numbers"])
    assert total / 10_000 + rents == cents(document["gross"])
    assert sum(orders.values()) == total
    assert orders["ride 1"] == 2 * 250_000 + 200_000 - 250_000  # the 400 number's first minutes are included
    for level in ("applications", "kinds", "numbers"):
        assert sum(cents(one["total"]) for one in document[level]) == cents(document["gross"])
    assert sum(cents(one["amount"]) for one in document["days"]) == total / 10_000
    assert sum(cents(line["amount"]) for line in document["lines"]) == cents(document["gross"])


def cents(text: str) -> int:
    return int(text.replace(".", ""))


# ---- rated anew


async def test_a_report_changes_nothing_until_it_is_accepted(scene: Scene) -> None:
    customer_id = await busy(scene)
    await scene.rater.rate_due()
    contract = flat("1")
    contract["rates"][0]["unit_s"] = 3600
    await scene.billing.add_contract(customer_id, MONTH, contract)
    before = await scene.sums(customer_id)
    rerating = await scene.reratings.prepare(customer_id, MONTH)
    assert (rerating.report["calls"], rerating.report["changed"]) == (9, 9)
    assert rerating.report["after"]["gross"] == "1980.00"  # 2 × 1 + 9 hours, three times, in minutes
    assert await scene.sums(customer_id) == before
    # the worker may go on with it while whoever accepted it waits
    found = await asyncio.gather(*(scene.reratings.accept(rerating.id) for _ in range(3)))
    assert {one.state for one in found} == {"accepted"}
    assert await scene.sums(customer_id) == (9, 33 * 3600)
    assert (await scene.reratings.accept(rerating.id)).state == "accepted"
    again = await scene.reratings.prepare(customer_id, MONTH)
    assert (again.report["changed"], again.report["difference"]) == (0, "0.00")
    assert (await scene.reratings.dismiss(again.id)).state == "dismissed"
    with pytest.raises(Refusal, match="rerating_in_another_state"):
        await scene.reratings.accept(again.id)


async def test_several_processes_find_what_one_finds(scene: Scene) -> None:
    """With minutes that are used up in the second one's share, and tiers that fill up in their order."""
    scene.clock.now = START
    customer_id = await scene.customer("+861062000201", "+864001234501", "+8617000000002")
    contract = {**STANDARD, "leg": "both"}
    contract["rents"] = [{"kinds": ["400"], "price": "60", "included": {"minutes": 50, "pooled": True}}]
    tiers = [{"up_to": 40, "price": "0.3"}, {"up_to": 90, "price": "0.2"}, {"price": "0.1"}]
    contract["rates"] = [
        {"kinds": ["400"], "tiers": tiers},
        {"kinds": ["landline"], "tiers": tiers, "graduated": True},
        {"kinds": ["mobile"], "tiers": tiers},
    ]
    for place in range(58):
        number = ("+861062000201", "+864001234501", "+8617000000002")[place % 3]
        await scene.call(
            customer_id, 61 * (place % 5 + 1), number, displayed="+861062000201", record=place % 7 == 0
        )
        scene.clock.forward(43_000)
    scene.month_is_over()
    await scene.rater.rate_due()
    await scene.billing.add_contract(customer_id, MONTH, contract)
    reports, rows = [], []
    for processes in (1, 3):
        done: list[int] = []
        made = await scene.reratings.prepare(customer_id, MONTH, None, done.append, processes)
        reports.append(made.report)
        rows.append(sum(done))
    assert reports[0]["changed"] > 50
    assert reports[0] == reports[1]
    assert rows[0] == rows[1]


async def test_an_acceptance_goes_on_where_it_was_killed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_id = await busy(scene)
    await scene.rater.rate_due()
    contract = flat("1")
    contract["rates"][0]["unit_s"] = 3600
    await scene.billing.add_contract(customer_id, MONTH, contract)
    rerating = await scene.reratings.prepare(customer_id, MONTH)
    monkeypatch.setattr("xiaohao.billing.reading.PAGE", 2)

    def dies(_: int, pages: list[int] = []) -> None:  # noqa: B006
        pages.append(1)
        if len(pages) == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await scene.reratings.accept(rerating.id, dies)
    assert (await scene.reratings.get(rerating.id)).state == "accepting"
    await scene.reratings.go_on()
    assert (await scene.reratings.get(rerating.id)).state == "accepted"
    assert await scene.sums(customer_id) == (9, 33 * 3600)


async def test_a_call_that_moves_to_another_month_is_lost_in_none(scene: Scene) -> None:
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    scene.month_is_over()
    midnight = scene.clock.now - 86_400 * 1_000_000
    await scene.call(customer_id, 60, at=midnight - 30_000_000)
    await scene.rater.rate_due()
    assert await scene.sums(customer_id) == (1, 60)
    await scene.billing.add_contract(customer_id, MONTH, flat("1", month="end"))
    rerating = await scene.reratings.prepare(customer_id, MONTH)
    assert rerating.report["difference"] == "-1.00"
    await scene.reratings.accept(rerating.id)
    assert await scene.sums(customer_id) == (0, 0)
    assert await scene.sums(customer_id, 202612) == (1, 60)


@pytest.mark.parametrize("old", ["split", "end"])
async def test_what_another_month_gets_back_is_charged_once(scene: Scene, old: str) -> None:
    """A call over midnight was charged in December, by half or whole. Now all of it is November's."""
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1", month=old))
    midnight = calendar.end_of(MONTH)
    scene.clock.now = midnight + 3_600_000_000
    await scene.call(customer_id, 120, at=midnight - 60_000_000)
    await scene.rater.rate_due()
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    for month in (202612, MONTH):
        rerating = await scene.reratings.prepare(customer_id, month)
        assert rerating.report["changed"] == (0 if (old, month) == ("end", MONTH) else 1)
        await scene.reratings.accept(rerating.id)
    assert await scene.sums(customer_id) == (1, 120)
    assert await scene.sums(customer_id, 202612) == (0, 0)
    assert len(await scene.rows(usages)) == 1


async def test_calls_whose_cdrs_are_gone_stay_on_the_bill(scene: Scene) -> None:
    customer_id = await busy(scene)
    await scene.rater.rate_due()
    before = await scene.billing.usage(customer_id, MONTH)
    async with scene.database.begin() as connection:
        await connection.execute(delete(cdrs))
    rerating = await scene.reratings.prepare(customer_id, MONTH)
    assert (rerating.report["changed"], rerating.report["difference"]) == (0, "0.00")
    assert rerating.report["after"]["gross"] == before["gross"]


async def test_the_difference_of_an_issued_month_is_booked(scene: Scene) -> None:
    cheaper, dearer = await busy(scene, 1), await busy(scene, 2)
    for customer_id in (cheaper, dearer):
        await scene.invoices.issue(str(await scene.closing.close(customer_id, MONTH)))
    # what an operator may not do by the API: another contract for a month that is invoiced
    from xiaohao.billing import terms
    from xiaohao.database.billing_tables import contracts

    async with scene.database.begin() as connection:
        for customer_id, price in ((cheaper, "0.1"), (dearer, "1")):
            await connection.execute(
                contracts.insert().values(
                    id=f"con_{price}",
                    customer_id=customer_id,
                    from_month=MONTH,
                    version=9,
                    terms=terms.write(terms.take(flat(price))),
                    created_at=0,
                )
            )
    for customer_id in (cheaper, dearer):
        rerating, too_late = [await scene.reratings.prepare(customer_id, MONTH) for _ in range(2)]
        await asyncio.gather(*(scene.reratings.accept(rerating.id) for _ in range(4)))
        await scene.reratings.accept(rerating.id)
        with pytest.raises(Refusal, match="rerating_outdated"):
            await scene.reratings.accept(too_late.id)
        again = await scene.reratings.prepare(customer_id, MONTH)
        assert again.report["difference"] == "0.00"
        assert again.report["booked"] == rerating.report["difference"]
    # 332.80 were billed
    notes = [one for one in await scene.invoices.page("", 10) if one.corrects]
    assert [(one.customer_id, one.gross) for one in notes] == [(cheaper, -(332_800_000 - 151_200_000))]
    usage = await scene.billing.usage(dearer, 202612)
    assert [line["amount"] for line in usage["lines"] if line["item"] == "correction"] == ["1179.20"]
    await scene.invoices.void(notes[0].id, "not agreed")
    assert (await scene.reratings.prepare(cheaper, MONTH)).report["difference"] == "-181.60"
    (entry,) = await scene.billing.entries(dearer, 202612)
    await scene.billing.take_entry_away(dearer, entry.id)
    assert (await scene.reratings.prepare(dearer, MONTH)).report["difference"] == "1179.20"


@pytest.mark.parametrize(
    ("more", "gross"),
    [
        ({"vat": {"percent": "6", "included": False}}, 15_900_000),  # 5.30 and 10.60
        ({"discounts": [{"percent": "10"}]}, 13_500_000),  # 4.50 and 9.00
        ({"minimum": "8"}, 18_000_000),  # 8.00 and 10.00
    ],
)
async def test_a_difference_is_charged_as_it_is(scene: Scene, more: dict[str, Any], gross: int) -> None:
    """Neither taxed nor discounted once more, and no minimum is reached by it."""
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1", **more))
    await scene.call(customer_id, 600)
    scene.month_is_over()
    await scene.invoices.issue(str(await scene.closing.close(customer_id, MONTH)))
    async with scene.database.begin() as connection:
        await connection.execute(update(cdrs).values(ended_at=cdrs.c.ended_at + 600 * SECOND))
    rerating = await scene.reratings.prepare(customer_id, MONTH)
    await scene.reratings.accept(rerating.id)
    await scene.call(customer_id, 300)
    scene.month_is_over(202612)
    invoice_id = str(await scene.closing.close(customer_id, 202612))
    assert (await scene.invoices.get(invoice_id)).gross == gross


async def test_calls_are_measured_under_the_contract_of_the_month_in_which_they_arrived(scene: Scene) -> None:
    """Whoever rates them, and again when a contract is added that measures otherwise."""
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, 202610, flat("0.6"))
    await scene.billing.add_contract(customer_id, MONTH, in_units_of(6))
    await scene.call(customer_id, 17, at=START - 10 * SECOND, answered_at=START)
    await scene.call(customer_id, 7)
    await scene.rater.rate_due()
    assert await scene.sums(customer_id) == (2, 60 + 12)
    assert (await scene.reratings.prepare(customer_id, MONTH)).report["changed"] == 0
    await scene.billing.add_contract(customer_id, 202612, in_units_of(1))
    await scene.billing.add_contract(customer_id, MONTH, in_units_of(6), "the same once more")
    await scene.reratings.go_on()
    assert await scene.sums(customer_id) == (2, 60 + 12)
    await scene.billing.add_contract(customer_id, MONTH, in_units_of(1))
    scene.month_is_over()
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    with pytest.raises(Refusal, match="draft_outdated"):
        await scene.invoices.issue(invoice_id)
    await scene.reratings.go_on()
    await scene.closing.close_due("worker", 1e9)
    assert await scene.sums(customer_id) == (2, 60 + 7)
    assert (await scene.invoices.issue(invoice_id)).gross == 670_000


async def test_a_report_of_a_draft_does_not_change_what_was_issued_since(scene: Scene) -> None:
    customer_id = await busy(scene)
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    async with scene.database.begin() as connection:
        await connection.execute(update(cdrs).values(ended_at=cdrs.c.answered_at + 1))
    rerating = await scene.reratings.prepare(customer_id, MONTH)
    await scene.invoices.issue(invoice_id)
    before = await scene.sums(customer_id)
    with pytest.raises(Refusal, match="rerating_outdated"):
        await scene.reratings.accept(rerating.id)
    assert await scene.sums(customer_id) == before
    assert all(row["invoiced"] for row in await scene.rows(closed_months))


async def test_nothing_is_issued_of_a_month_that_is_half_rewritten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a contract that comes meanwhile holds for all of it."""
    customer_id = await busy(scene)
    contract = flat("1")
    contract["rates"][0]["unit_s"] = 3600
    await scene.billing.add_contract(customer_id, MONTH, contract)
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    rerating = await scene.reratings.prepare(customer_id, MONTH)
    monkeypatch.setattr("xiaohao.billing.reading.PAGE", 2)

    def dies(_: int) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await scene.reratings.accept(rerating.id, dies)
    with pytest.raises(Refusal, match="draft_outdated"):
        await scene.invoices.issue(invoice_id)
    contract["rates"][0]["unit_s"] = 1800
    await scene.billing.add_contract(customer_id, MONTH, contract)
    await scene.reratings.go_on()
    assert await scene.sums(customer_id) == (9, 3 * (1 + 1 + 17) * 1800)
    assert await scene.closing.close(customer_id, MONTH) == invoice_id
    assert (await scene.invoices.issue(invoice_id)).gross == 3 * 19 * 30 * YUAN


async def test_a_prepaid_customer_has_a_credit_back_only_while_its_note_stands(scene: Scene) -> None:
    customer_id = await busy(scene)
    await scene.billing.set_limits(customer_id, Limits(prepaid=True))
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    await scene.invoices.issue(invoice_id)
    owed = (await scene.billing.account(customer_id)).settled
    note = await scene.invoices.credit(invoice_id, 5 * YUAN, "outage")
    assert (await scene.billing.account(customer_id)).settled == owed - 5 * YUAN
    for _ in range(2):
        await scene.invoices.void(note.id, "a mistake")
        assert (await scene.billing.account(customer_id)).settled == owed
    assert [page async for page in scene.invoices.calls(note)] == []
    await scene.invoices.void(invoice_id, "all of it")
    assert (await scene.billing.account(customer_id)).settled == owed - 332_800_000


async def test_amounts_that_no_sum_could_hold_are_not_entered(scene: Scene) -> None:
    customer_id = await busy(scene)
    huge = Decimal(999_999_999)
    for price in (huge, -huge):
        with pytest.raises(Refusal, match="validation_failed"):
            await scene.billing.add_entry(customer_id, MONTH, ServiceItem.PROMPT, huge, price, "huge")
    for _ in range(3):
        await scene.billing.add_entry(customer_id, MONTH, ServiceItem.ADJUSTMENT, Decimal(1), huge, "large")
    await scene.billing.set_limits(customer_id, Limits(prepaid=True))
    assert (await scene.invoices.get(str(await scene.closing.close(customer_id, MONTH)))).gross > 3 * 10**14
    with pytest.raises(Refusal, match="not_found"):
        await scene.billing.terms_of("cus_nobody", MONTH)


async def test_what_if(scene: Scene) -> None:
    customer_id = await busy(scene)
    await scene.rater.rate_due()
    found = await scene.billing.what_if(customer_id, MONTH, flat("0.1"))
    assert (found["actual"]["gross"], found["what_if"]["gross"], found["difference"]) == (
        "332.80",
        "151.20",
        "-181.60",
    )
    with pytest.raises(Refusal, match="contract_not_valid"):
        await scene.billing.what_if(customer_id, MONTH, {"rates": 5})


async def test_each_call_is_on_one_bill_whoever_closes_while_others_rate(scene: Scene) -> None:
    scene.clock.now = START + DAY
    customer_id = await scene.customer()
    at = scene.clock.now
    scene.month_is_over()

    async def arrive() -> None:
        for place in range(40):
            await scene.call(customer_id, 60, at=at + place)

    async def rate() -> None:
        rater = Rater(scene.database, scene.vault, scene.clock)
        for _ in range(10):
            await rater.rate_due()

    async def close() -> None:
        rater = Rater(scene.database, scene.vault, scene.clock)
        for _ in range(3):
            await Closing(scene.database, rater, "", scene.clock).close(customer_id, MONTH)

    await asyncio.gather(arrive(), rate(), rate(), close(), close())
    await Rater(scene.database, scene.vault, scene.clock).rate_due()
    of_month, later = await scene.sums(customer_id, MONTH), await scene.sums(customer_id, 202612)
    assert of_month[0] + later[0] == 40
    rows = await scene.rows(invoices)
    assert sum(row["gross_amount"] for row in rows) == of_month[0] * 250_000
    assert len(rows) == (1 if of_month[0] else 0)
