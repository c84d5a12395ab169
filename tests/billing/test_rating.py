"""Rating against the obvious model, whatever the contract, the calls, their order and their repetition."""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.billing.obvious import obvious
from tests.billing.worlds import MONTH, START, a_cdr, number_of, standard_but
from xiaohao.billing import calendar, terms
from xiaohao.billing.ledger import Ledger
from xiaohao.billing.measure import Meter
from xiaohao.billing.model import Cdr, Tenure, Usage
from xiaohao.billing.rating import Pricer, Tally, seconds_by_number, unique
from xiaohao.billing.settlement import rate, settle
from xiaohao.billing.terms import (
    Acd,
    Included,
    Leg,
    MonthRule,
    PerRecord,
    ProRata,
    Rate,
    RecordItem,
    Rent,
    Signal,
    Terms,
    Tier,
    When,
)
from xiaohao.calls.model import Reason
from xiaohao.clock import SECOND
from xiaohao.numbers.model import Kind

END = calendar.end_of(MONTH)
PRICES = st.decimals("0", "3", places=3)
NUMBERS = [number_of(kind, place) for kind in ("400", "landline", "mobile", "95") for place in (1, 2)]
APPLICATIONS = {number: f"pool_{place % 3}" for place, number in enumerate(NUMBERS[:-1])}


@st.composite
def rates(draw: Any, kinds: list[Kind]) -> Rate:
    limits = sorted(draw(st.sets(st.integers(1, 40), max_size=3)))
    tiers = [Tier(draw(PRICES), limit) for limit in [*limits, None]]
    return Rate(kinds, tiers, draw(st.booleans()), draw(st.sampled_from([1, 6, 60])), draw(st.booleans()))


@st.composite
def rents(draw: Any, kind: Kind) -> Rent:
    included = Included(draw(st.integers(0, 20)), draw(st.booleans()), draw(st.booleans()))
    return Rent([kind], draw(PRICES), draw(st.sampled_from(ProRata)), draw(st.sampled_from([None, included])))


@st.composite
def contracts(draw: Any) -> Terms:
    record_items = draw(st.sets(st.sampled_from(RecordItem)))
    return terms.check(
        Terms(
            rates=[draw(rates([Kind.SERVICE_400, Kind.LANDLINE])), draw(rates([Kind.MOBILE]))],
            rents=[draw(rents(kind)) for kind in (Kind.SERVICE_400, Kind.MOBILE)],
            records=[PerRecord(item, draw(PRICES), draw(st.sampled_from(When))) for item in record_items],
            acd=draw(st.sampled_from([None, Acd(Decimal("0.017"), 7)])),
            places=draw(st.sampled_from([2, 3, 6])),
            leg=draw(st.sampled_from(Leg)),
            signal=draw(st.sampled_from(Signal)),
            month=draw(st.sampled_from(MonthRule)),
            free_reasons=draw(st.sampled_from([[], [Reason.CALLEE_HUNG_UP]])),
        )
    )


@st.composite
def cdrs(draw: Any) -> list[Cdr]:
    made = []
    for place in range(draw(st.integers(0, 25))):
        near = draw(st.sampled_from([START, START + 14 * 86_400 * SECOND, END]))
        at = near + draw(st.integers(-400, 400)) * SECOND + draw(st.integers(0, 999_999))
        rings = draw(st.sampled_from([None, at + draw(st.integers(0, 5)) * SECOND]))
        answered = draw(st.sampled_from([None, (rings or at) + draw(st.integers(0, 90)) * SECOND]))
        began = answered or rings or at
        made.append(
            a_cdr(
                f"call {place}",
                draw(st.sampled_from(NUMBERS)),
                None,
                at,
                ringing_at=rings,
                answered_at=answered,
                ended_at=began + draw(st.integers(0, 900_000)) * 1000 + draw(st.integers(0, 999)),
                displayed=draw(st.sampled_from([None, *NUMBERS[:5]])),
                reason=draw(st.sampled_from(["caller_hung_up", "callee_hung_up"])),
                order_ref=draw(st.sampled_from([None, "order 1", "order 2"])),
                recorded=draw(st.booleans()),
                acd_ms=draw(st.sampled_from([0, 1, 61_000])),
            )
        )
    return made


@st.composite
def holdings(draw: Any) -> list[Tenure]:
    found = []
    for number, kind in zip(NUMBERS[:6], ["400"] * 2 + ["landline"] * 2 + ["mobile"] * 2, strict=True):
        for _ in range(draw(st.integers(0, 2))):
            since = START + draw(st.integers(-40, 40)) * 86_400 * SECOND // 2
            length = draw(st.sampled_from([None, 0, 1, 86_400 * SECOND, 9 * 86_400 * SECOND + 5]))
            until = None if length is None else since + length
            found.append(Tenure(number, Kind(kind), APPLICATIONS.get(number), since, until))
    return found


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(contracts(), cdrs(), holdings(), st.randoms(use_true_random=False))
def test_equal_to_the_obvious_model(
    contract: Terms, calls: list[Cdr], tenures: list[Tenure], chance: Any
) -> None:
    expected = obvious(contract, 2026, 11, calls, tenures)
    arrived = calls + chance.choices(calls, k=len(calls) // 3) if calls else []
    chance.shuffle(arrived)
    meter = Meter(contract, APPLICATIONS)
    usages = [usage for cdr in arrived for usage in meter.measure(cdr)]

    found = [usage for usage in unique(usages) if usage.month == MONTH]
    pricer, tally = Pricer(contract, MONTH, tenures, seconds_by_number(found)), Tally()
    by_call: dict[str, int] = defaultdict(int)
    by_order: dict[str | None, int] = defaultdict(int)
    for usage in found:
        charged = pricer.charge(usage)
        by_call[usage.call_id] += charged.total
        by_order[usage.order_ref] += charged.total
        tally.add(usage, charged)
    bill = settle(contract, MONTH, tally, tenures)
    by_number: dict[str, int] = defaultdict(int)
    for one in bill.numbers:
        by_number[one.number] += one.total

    assert amounts(by_call) == expected["calls"]
    assert amounts(by_order) == expected["orders"]
    assert {number: amount for number, amount in amounts(by_number).items() if amount} == expected["numbers"]
    assert Fraction(bill.total, 1_000_000) == expected["total"]
    # every level adds up to the same
    rest = sum(line.amount for line in bill.lines if line.item == "rounding")
    assert sum(one.total for one in bill.numbers) == bill.total - rest
    assert sum(one.amount for one in bill.days) == sum(by_call.values()) == sum(by_order.values())
    assert rate(contract, MONTH, usages, tenures) == bill
    # in one pass, of which the memory holds little
    with pytest.MonkeyPatch.context() as patch, Ledger(contract, MONTH, tenures) as ledger:
        patch.setattr("xiaohao.billing.ledger._GROUPS_MAX", 3)
        for first in range(0, len(found), 4):
            ledger.add(found[first : first + 4])
        assert settle(contract, MONTH, ledger.tally(), tenures) == bill


def amounts(found: dict[Any, int]) -> dict[Any, Fraction]:
    return {key: Fraction(value, 1_000_000) for key, value in found.items()}


def midnight(rule: MonthRule, before_s: int, after_s: int) -> list[tuple[int, int]]:
    contract = standard_but(month=rule)
    cdr = a_cdr("call", NUMBERS[4], (before_s + after_s) * 1000, END - before_s * SECOND)
    return [(usage.month, usage.seconds) for usage in Meter(contract, {}).measure(cdr)]


def test_who_pays_a_call_over_midnight_of_the_months_end() -> None:
    assert midnight(MonthRule.START, 30, 30) == [(202611, 60)]
    assert midnight(MonthRule.END, 30, 30) == [(202612, 60)]
    assert midnight(MonthRule.SPLIT, 30, 30) == [(202611, 60), (202612, 0)]
    assert midnight(MonthRule.SPLIT, 90, 90) == [(202611, 120), (202612, 60)]
    assert midnight(MonthRule.SPLIT, 60, 0) == [(202611, 60)]


def test_a_repeated_usage_counts_once() -> None:
    (usage,) = Meter(terms.standard(), {}).measure(a_cdr("call", NUMBERS[4], 61_000))
    again: list[Usage] = [usage, usage]
    assert unique(again) == [usage]


@pytest.mark.parametrize(
    "fault",
    [
        {"rates": []} | {"unknown": 1},
        {"rates": [{"kinds": ["400"], "tiers": []}]},
        {"rates": [{"kinds": ["400"], "tiers": [{"price": "1", "up_to": 5}]}]},
        {"rates": [{"kinds": ["400"], "tiers": [{"price": "1", "up_to": 5}] * 2 + [{"price": "1"}]}]},
        {"rates": [{"kinds": ["400", "400"], "tiers": [{"price": "1"}]}]},
        {"rates": [{"kinds": ["400"], "tiers": [{"price": "-1"}]}]},
        {"rates": [{"kinds": ["400"], "tiers": [{"price": "0.0000001"}]}]},
        {"rates": [{"kinds": ["400"], "tiers": [{"price": "NaN"}]}]},
        {"rates": [{"kinds": ["400"], "tiers": [{"price": "1"}], "unit_s": 0}]},
        {"rates": [], "places": 7},
        {"rates": [], "currency": "EUR"},
        {"rates": [], "vat": {"percent": "101"}},
        {"rates": [], "discounts": [{"percent": "5", "items": ["air"]}]},
        {"rates": [], "discounts": [{"percent": "60"}, {"percent": "41", "items": ["acd", "rent"]}]},
        {"rates": [], "rents": [{"kinds": [], "price": "1"}]},
        {"rates": [{"kinds": [kind], "tiers": [{"price": "1"}]} for kind in ("400", "mobile")],
         "rents": [{"kinds": ["400", "mobile"], "price": "1", "included": {"minutes": 9, "pooled": True}}]},
        {"rates": [{"kinds": ["400"], "tiers": [{"price": "1000.1"}]}]},
        {"rates": [], "records": [{"item": "recording", "price": "1"}, {"item": "recording", "price": "2"}]},
    ],
)  # fmt: skip
def test_what_is_no_contract(fault: dict[str, Any]) -> None:
    with pytest.raises(terms.TermsInvalid):
        terms.take(fault)


def test_terms_survive_their_document() -> None:
    standard = terms.standard()
    assert terms.read(terms.write(standard)) == standard == terms.take(terms.document_of(standard))


@pytest.mark.parametrize(("counts", "cents"), [(True, 350), (False, 500)])
def test_included_minutes_fill_tiers_only_where_the_contract_says_so(counts: bool, cents: int) -> None:
    """3 of 4 minutes included, then 4 more: 5 minutes at 1, the rest at 0.50."""
    tiers = [Tier(Decimal(1), 5), Tier(Decimal("0.5"))]
    contract = Terms(
        rates=[Rate([Kind.SERVICE_400], tiers, True, 60, counts)],
        rents=[Rent([Kind.SERVICE_400], Decimal(0), included=Included(3))],
    )
    number = number_of("400", 1)
    calls = [a_cdr(f"call {place}", number, 240_000, START + place) for place in range(2)]
    usages = [usage for cdr in calls for usage in Meter(contract, {}).measure(cdr)]
    tenure = Tenure(number, Kind.SERVICE_400, None, START, None)
    assert rate(contract, MONTH, usages, [tenure]).total == cents * 10_000
