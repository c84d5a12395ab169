"""The platform's price table, line by line, against sums computed by hand: `golden.json`."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.billing.worlds import HOUR, MONTH, START, a_cdr, number_of, standard_but
from xiaohao.billing import terms
from xiaohao.billing.measure import Meter
from xiaohao.billing.model import Bill, Cdr, Entry, Tenure
from xiaohao.billing.money import text_of
from xiaohao.billing.settlement import rate
from xiaohao.billing.terms import Discount, Included, ProRata, ServiceItem, Terms, Vat
from xiaohao.clock import parse_rfc3339
from xiaohao.numbers.model import Kind

CASES = json.loads((Path(__file__).parent / "golden.json").read_text())
replace = msgspec.structs.replace


def contract(case: dict[str, Any]) -> Terms:
    """The standard tariff, with what the case wants otherwise."""
    base = terms.standard()
    rates = [
        replace(one, unit_s=case.get("unit_s", 60), graduated=case.get("graduated", False))
        for one in base.rates
    ]
    included = Included(400, case.get("pooled", False), case.get("included_pro_rata", False))
    rents = [
        replace(
            one,
            pro_rata=ProRata(case.get("pro_rata", "daily")),
            included=one.included and included,
        )
        for one in base.rents
    ]
    discounts = [Discount(Decimal(case["discount"]), ["minutes"])] if "discount" in case else []
    return standard_but(
        rates=rates,
        rents=rents,
        places=case.get("places", 2),
        discounts=discounts,
        minimum=Decimal(case.get("minimum", 0)),
        vat=Vat(included=not case.get("vat_on_top", False)),
    )


def calls(case: dict[str, Any]) -> list[Cdr]:
    """The calls of a case, one after the other."""
    made: list[Cdr] = []
    for kind, place, count, talk_ms, *features in case.get("calls", ()):
        for _ in range(count):
            facts = {
                "displayed": "+8617000009999" if "protected" in features else None,
                "recorded": "recorded" in features,
                "acd_ms": 61_000 if "acd" in features else 0,
            }
            at = START + len(made) * 1000
            made.append(a_cdr(f"call {len(made):06}", number_of(kind, place), talk_ms, at, **facts))
    return made


def bill(case: dict[str, Any]) -> Bill:
    """What the platform makes of a case."""
    tenures = [
        Tenure(
            number_of(kind, place),
            Kind(kind),
            None,
            START - HOUR if since is None else parse_rfc3339(since),
            None if until is None else parse_rfc3339(until),
        )
        for kind, place, since, until in case.get("tenures", ())
    ]
    entries = [
        Entry(f"ent_{item}", ServiceItem(item), Decimal(quantity), Decimal(price), "")
        for item, quantity, price in case.get("entries", ())
    ]
    meter = Meter(contract(case), {})
    usages = [usage for cdr in calls(case) for usage in meter.measure(cdr)]
    return rate(contract(case), MONTH, usages, tenures, entries)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_as_by_hand(case: dict[str, Any]) -> None:
    found = bill(case)
    lines = [[line.item, line.kind, line.quantity, text_of(line.amount)] for line in found.lines]
    assert lines == case["lines"]
    assert text_of(found.gross) == case["gross"]
    if "net" in case:
        assert (text_of(found.net), text_of(found.vat)) == (case["net"], case["vat"])
    assert found.net + found.vat == found.gross


def test_every_price_of_the_standard_tariff_is_in_a_case() -> None:
    items = {line[0] for case in CASES for line in case["lines"]}
    kinds = {(line[0], line[1]) for case in CASES for line in case["lines"]}
    standard = terms.standard()
    assert {record.item.value for record in standard.records} <= items
    assert {item.value for item in standard.services} | {"acd"} <= items
    assert {("rent", kind.value) for rent in standard.rents for kind in rent.kinds} <= kinds
    assert {("minutes", kind.value) for rate in standard.rates for kind in rate.kinds} <= kinds
