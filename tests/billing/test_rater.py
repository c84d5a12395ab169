"""Each CDR is rated once, soon, whoever tries and how often; limits stop a customer at once."""

import asyncio
import json
from decimal import Decimal

import pytest

from tests.billing.scenes import DAY, LANDLINE, MOBILE, Scene, flat
from tests.billing.worlds import MONTH
from xiaohao.billing import calendar
from xiaohao.billing.prompts import charge_prompt
from xiaohao.billing.rater import Rater
from xiaohao.billing.service import Limits
from xiaohao.billing.terms import ServiceItem
from xiaohao.bindings.recognition import Outcome
from xiaohao.database.billing_tables import usages
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs, events
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import CustomerState

MILLION = 1_000_000


@pytest.fixture
def scene(database: Database, vault: Vault) -> Scene:
    return Scene(database, vault)


async def test_a_call_is_in_the_usage_after_one_round(scene: Scene) -> None:
    customer_id = await scene.customer(LANDLINE, MOBILE)
    await scene.call(customer_id, 61)
    await scene.call(customer_id, 30, MOBILE, record=True, displayed=LANDLINE)
    await scene.call(customer_id, None)
    await scene.call(None, 10)
    assert await scene.rater.rate_due() == 3
    document = await scene.billing.usage(customer_id)
    lines = [(line["item"], line["kind"], line["quantity"], line["amount"]) for line in document["lines"]]
    assert lines == [
        ("rent", "landline", "1", "20.00"),
        ("rent", "mobile", "1", "20.00"),
        ("minutes", "landline", "2", "0.50"),
        ("minutes", "mobile", "1", "0.20"),
        ("number_protection", None, "1", "0.02"),
        ("recording", None, "1", "0.10"),
    ]
    assert document["gross"] == "40.82"
    assert [one["name"] for one in document["applications"]] == ["drivers"]


async def test_again_and_by_others_changes_nothing(scene: Scene) -> None:
    customer_id = await scene.customer(LANDLINE)
    for _ in range(30):
        await scene.call(customer_id, 60)
    raters = [Rater(scene.database, scene.vault, scene.clock) for _ in range(3)]
    found = await asyncio.gather(*(rater.rate_due() for rater in raters))
    assert sum(found) == 30
    assert await Rater(scene.database, scene.vault, scene.clock).rate_due() == 0
    assert await scene.sums(customer_id) == (30, 1800)
    assert len(await scene.rows(usages)) == 30


async def test_a_rater_that_dies_in_its_transaction_has_done_nothing(scene: Scene) -> None:
    customer_id = await scene.customer(LANDLINE)
    await scene.call(customer_id, 60)

    class Dies(Exception):
        pass

    with pytest.raises(Dies):
        async with scene.database.shared():
            assert await scene.rater.rate_due() == 1
            raise Dies
    assert await scene.sums(customer_id) == (0, 0)
    assert await Rater(scene.database, scene.vault, scene.clock).rate_due() == 1
    assert await scene.sums(customer_id) == (1, 60)


async def test_a_cdr_that_came_behind_others_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when two transactions commit in another order than they took their seq."""
    customer_id = await scene.customer(LANDLINE)
    await scene.call(customer_id, 60)
    first = await scene.call(customer_id, 60)
    async with scene.database.begin() as connection:
        table = cdrs
        row = (await connection.execute(table.select().where(table.c.call_id == first.id))).mappings().one()
        await connection.execute(table.delete().where(table.c.call_id == first.id))
    await scene.call(customer_id, 60)
    assert await scene.rater.rate_due() == 2
    async with scene.database.begin() as connection:
        await connection.execute(table.insert().values(**row))
    assert await scene.rater.rate_due() == 0  # only what is new is looked at each time
    monkeypatch.setattr("xiaohao.billing.rater._LOOK_BACK_S", 0.0)
    assert await scene.rater.rate_due() == 1
    assert await scene.sums(customer_id) == (3, 180)


async def test_what_comes_after_the_close_is_on_the_next_bill(scene: Scene) -> None:
    customer_id = await scene.customer(LANDLINE)
    late = scene.clock.now
    scene.month_is_over()
    await scene.closing.close(customer_id, MONTH)
    await scene.call(customer_id, 60, at=late)
    await scene.rater.rate_due()
    assert await scene.sums(customer_id, MONTH) == (0, 0)
    assert await scene.sums(customer_id, 202612) == (1, 60)
    (row,) = await scene.rows(usages)
    assert (row["month"], row["day"]) == (202612, calendar.day_of(late))


async def outcome(scene: Scene, customer_id: str) -> CustomerState:
    return (await scene.tenants.get_customer(customer_id)).state


async def test_a_prepaid_customer_is_stopped_when_its_money_is_gone(scene: Scene) -> None:
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    await scene.billing.set_limits(customer_id, Limits(prepaid=True, warn_below=2 * MILLION))
    assert await outcome(scene, customer_id) is CustomerState.EXHAUSTED
    account = await scene.billing.pay_in(customer_id, 5 * MILLION, "transfer 1")
    assert (account.left, account.warned_at) == (5 * MILLION, None)
    assert await outcome(scene, customer_id) is CustomerState.ACTIVE
    await scene.call(customer_id, 180)
    await scene.rater.rate_due()
    account = await scene.billing.account(customer_id)
    assert (account.left, account.warned_at, account.stopped_at) == (2 * MILLION, scene.clock.now, None)
    await scene.call(customer_id, 120)
    await scene.rater.rate_due()
    assert await outcome(scene, customer_id) is CustomerState.EXHAUSTED
    assert (await scene.billing.account(customer_id)).stopped_at == scene.clock.now
    account = await scene.billing.pay_in(customer_id, 3 * MILLION, "transfer 2")
    assert (account.left, account.warned_at, account.stopped_at) == (3 * MILLION, None, None)
    assert await outcome(scene, customer_id) is CustomerState.ACTIVE


async def test_each_change_of_what_is_left_is_told_once(scene: Scene) -> None:
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    await scene.billing.pay_in(customer_id, 5 * MILLION, "transfer")
    await scene.billing.set_limits(customer_id, Limits(prepaid=True, warn_below=2 * MILLION))
    for _ in range(3):
        await scene.call(customer_id, 120)
        for _ in range(2):
            await scene.rater.rate_due()
            await scene.rater.review(customer_id)
    await scene.billing.pay_in(customer_id, 9 * MILLION, "transfer")
    told = [
        json.loads(scene.vault.open(row["body_sealed"]))
        for row in sorted(await scene.rows(events), key=lambda row: row["sequence"])
        if row["kind"] == "spending.changed"
    ]
    assert [(one["sequence"], one["data"]["state"], one["data"]["left"]) for one in told] == [
        (1, "low", "1.00"),
        (2, "used_up", "-1.00"),
        (3, "restored", "8.00"),
    ]


async def test_the_months_close_does_not_take_a_prepaid_customers_money_twice(scene: Scene) -> None:
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    await scene.billing.set_limits(customer_id, Limits(prepaid=True))
    await scene.billing.pay_in(customer_id, 10 * MILLION, "transfer")
    await scene.call(customer_id, 180)
    scene.month_is_over()
    for _ in range(3):
        await scene.closing.close(customer_id, MONTH)
    account = await scene.billing.account(customer_id)
    assert (account.left, account.settled, account.open_months) == (7 * MILLION, 3 * MILLION, 0)


async def test_a_prompt_may_be_what_uses_up_the_money(scene: Scene) -> None:
    customer_id = await scene.customer()
    await scene.billing.set_limits(customer_id, Limits(prepaid=True))
    await scene.billing.pay_in(customer_id, 100 * MILLION, "transfer")
    assert await outcome(scene, customer_id) is CustomerState.ACTIVE
    async with scene.database.begin() as connection:
        await charge_prompt(connection, scene.vault, customer_id, "welcome", None, scene.clock.now)
    (entry,) = await scene.billing.entries(customer_id, MONTH)
    assert (entry.item, entry.price, entry.note) == (ServiceItem.PROMPT, 100, "welcome")
    assert await outcome(scene, customer_id) is CustomerState.EXHAUSTED


async def test_a_draft_of_who_began_to_pay_in_advance_takes_all_of_its_money(scene: Scene) -> None:
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    await scene.call(customer_id, 180)
    scene.month_is_over()
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    await scene.billing.pay_in(customer_id, 10 * MILLION, "transfer")
    for prepaid, settled in ((True, 3), (False, 0), (True, 3)):
        await scene.billing.set_limits(customer_id, Limits(prepaid=prepaid))
        await scene.closing.close(customer_id, MONTH)
        assert (await scene.billing.account(customer_id)).settled == settled * MILLION
    await scene.invoices.void(invoice_id, "a mistake")
    assert (await scene.billing.account(customer_id)).left == 10 * MILLION


async def test_rents_of_a_month_that_is_over_are_owed_before_it_is_closed(scene: Scene) -> None:
    customer_id = await scene.customer(LANDLINE)
    await scene.billing.set_limits(customer_id, Limits(prepaid=True))
    await scene.billing.pay_in(customer_id, 50 * MILLION, "transfer")
    scene.month_is_over()
    for _ in range(2):
        assert (await scene.billing.account(customer_id)).left == 10 * MILLION  # of November, of December
        await scene.closing.close(customer_id, MONTH)


async def test_a_months_limit_ends_with_the_month(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    customer_id = await scene.customer()
    await scene.billing.add_contract(customer_id, MONTH, flat("1"))
    await scene.billing.set_limits(customer_id, Limits(spending_limit=2 * MILLION))
    await scene.call(customer_id, 120)
    await scene.rater.rate_due()
    assert await outcome(scene, customer_id) is CustomerState.EXHAUSTED
    scene.month_is_over()
    monkeypatch.setattr("xiaohao.billing.rater._REVIEW_S", 0.0)
    await scene.rater.rate_due()
    assert await outcome(scene, customer_id) is CustomerState.ACTIVE


async def test_who_was_suspended_by_the_operator_stays_so(scene: Scene) -> None:
    customer_id = await scene.customer()
    await scene.billing.set_limits(customer_id, Limits(prepaid=True))
    await scene.tenants.suspend(customer_id)
    await scene.tenants.resume(customer_id)
    assert await outcome(scene, customer_id) is CustomerState.EXHAUSTED
    await scene.tenants.suspend(customer_id)
    await scene.billing.pay_in(customer_id, MILLION, "transfer")
    assert await outcome(scene, customer_id) is CustomerState.SUSPENDED
    await scene.tenants.resume(customer_id)
    assert await outcome(scene, customer_id) is CustomerState.ACTIVE


async def test_no_switch_connects_a_customer_whose_money_is_gone(database: Database, vault: Vault) -> None:
    from tests.world import World, person
    from xiaohao.bindings.recognition import judge
    from xiaohao.switch.lookup import lookup_for

    world = World(database, vault)
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    billing = Scene(database, vault, world.clock).billing
    switches = [lookup_for(database.url) for _ in range(3)]

    async def seen() -> set[Outcome]:
        rows = [await one.find(vault.index(person(1)), binding.y or "", world.clock.now) for one in switches]
        return {judge(row, world.clock.now).outcome for row in rows}

    for one in switches:
        await one.open()
    try:
        before = await seen()
        await billing.set_limits(ride.customer.id, Limits(prepaid=True))
        assert await seen() == {Outcome.CREDIT_EXHAUSTED} != before
        with pytest.raises(Refusal, match="credit_exhausted"):
            await ride.reserve(3, 4)
        await billing.pay_in(ride.customer.id, 10_000 * MILLION, "transfer")
        assert await seen() == before
    finally:
        for one in switches:
            await one.close()


async def test_what_a_call_costs_and_why(scene: Scene) -> None:
    customer_id = await scene.customer("+864001234567")
    first = await scene.call(customer_id, 399 * 60, "+864001234567")
    scene.clock.forward(1)
    call = await scene.call(customer_id, 121, "+864001234567", order_ref="ride 7")
    await scene.rater.rate_due()
    (charged,) = await scene.billing.call(call.id)
    assert (charged["seconds"], charged["included_s"], charged["order_ref"]) == (180, 60, "ride 7")
    assert charged["portions"] == [{"price": "0.25", "seconds": 120, "amount": "0.50"}]
    assert (await scene.billing.call(first.id))[0]["total"] == "0.00"
    with pytest.raises(Refusal, match="not_found"):
        await scene.billing.call(call.id, "cus_other")


async def test_entries_by_hand(scene: Scene) -> None:
    customer_id = await scene.customer()
    add = scene.billing.add_entry
    await add(customer_id, MONTH, ServiceItem.PROMPT, Decimal(3), None, "welcome")
    await add(customer_id, MONTH, ServiceItem.ADJUSTMENT, Decimal(1), Decimal("-10.5"), "agreed")
    assert (await scene.billing.usage(customer_id))["gross"] == "289.50"
    with pytest.raises(Refusal, match="validation_failed"):
        await add(customer_id, MONTH, ServiceItem.ADJUSTMENT, Decimal(1), None, "no price")
    scene.month_is_over()
    invoice_id = str(await scene.closing.close(customer_id, MONTH))
    # a draft takes more, but is not issued before it was made again
    late = await add(customer_id, MONTH, ServiceItem.SUPPORT_DAY, Decimal(1), None, "a visit")
    gone = await add(customer_id, MONTH, ServiceItem.PROMPT, Decimal(1), None, "by mistake")
    await scene.billing.take_entry_away(customer_id, gone)
    assert [one.note for one in await scene.billing.entries(customer_id, MONTH)][2:] == ["a visit"]
    with pytest.raises(Refusal, match="draft_outdated"):
        await scene.invoices.issue(invoice_id)
    await scene.closing.close_due("worker", 1e9)
    assert (await scene.invoices.issue(invoice_id)).gross == 1_989_500_000
    with pytest.raises(Refusal, match="month_invoiced"):
        await scene.billing.take_entry_away(customer_id, late)
    with pytest.raises(Refusal, match="month_invoiced"):
        await add(customer_id, MONTH, ServiceItem.PROMPT, Decimal(1), None, "too late")


async def test_rents_follow_the_history_of_numbers(scene: Scene) -> None:
    from xiaohao.numbers.model import NumberSpec
    from xiaohao.numbers.service import Numbers
    from xiaohao.pools.model import Policy
    from xiaohao.pools.service import Pools

    customer_id = await scene.customer(LANDLINE)
    other_id = await scene.customer()
    numbers = Numbers(scene.database, scene.vault, scene.clock)
    pools = Pools(scene.database, scene.vault, scene.clock)
    theirs = await pools.create("others", Policy(recycle_s=1), other_id)
    scene.clock.now = calendar.start_of(MONTH) + 10 * DAY  # midnight before the 11th
    await numbers.change_number(LANDLINE, {"pool_id": theirs.id})
    scene.clock.forward(5 * 86_400)
    await numbers.add_numbers([NumberSpec("+861062000199", theirs.id)])
    assert (await scene.billing.usage(customer_id))["gross"] == "6.67"  # 10 days of 30
    bill = await scene.billing.usage(other_id)
    assert bill["gross"] == "23.33"  # 20 and 15 days: 13.33 + 10.00
    # neither sees whose the number was, or is
    names = [one["name"] for one in (await scene.billing.usage(customer_id))["applications"]]
    assert (names, [one["name"] for one in bill["applications"]]) == (["drivers"], ["others"])
    scene.clock.forward(3600)
    await numbers.take_to_stock("+861062000199")  # on its first day
    shared = await pools.create("everybody's", Policy(recycle_s=1))
    await numbers.change_number(LANDLINE, {"pool_id": shared.id})
    assert (await scene.billing.usage(other_id))["gross"] == "4.67"  # 6 and 1 days: 4.00 + 0.67
    third_id = await scene.customer()
    await scene.call(third_id, 60)
    await scene.rater.rate_due()
    assert [one["name"] for one in (await scene.billing.usage(third_id))["applications"]] == ["everybody's"]
    scene.clock.forward(5 * 86_400)
    await numbers.release("+861062000199")
    assert (await scene.billing.usage(other_id))["gross"] == "11.33"  # 6 and 11 days: 4.00 + 7.33
