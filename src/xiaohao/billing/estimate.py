"""What a month costs as far as it has come: the bill from the sums of numbers, without looking at each call.

Where every unit's price is whole in the contract's places, as in the standard tariff, it is the month's bill
to the cent. Elsewhere single calls are rounded only at the month's close, and it is close to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xiaohao.billing.model import Bill, Entry, Tenure, Usage
from xiaohao.billing.rating import Pricer, Tally, applications_of
from xiaohao.billing.settlement import settle
from xiaohao.billing.terms import Terms


def running_bill(
    terms: Terms,
    month: int,
    tenures: Sequence[Tenure],
    sums: Iterable[Mapping[Any, Any]],
    entries: Sequence[Entry] = (),
    shared: Mapping[str, str | None] | None = None,
) -> Bill:
    """The bill of a month if it ended now, its numbers kept to the end.

    `sums`: rows of `usage_sums`; `shared`: the applications of numbers that are not the customer's own.
    """
    rows = list(sums)
    pricer = Pricer(terms, month, tenures, [(row["number"], row["kind"], row["seconds"]) for row in rows])
    tally = Tally()
    applications = {**(shared or {}), **applications_of(month, tenures)}
    for row in rows:
        usage = Usage(
            call_id="",
            part=0,
            month=month,
            day=0,
            at=0,
            number=row["number"],
            kind=row["kind"],
            application=applications.get(row["number"]),
            order_ref=None,
            calls=row["calls"],
            seconds=row["seconds"],
            acd_s=row["acd_s"],
            protections=row["protections"],
            recordings=row["recordings"],
        )
        tally.add(usage, pricer.charge(usage))
    tally.days.clear()
    return settle(terms, month, tally, tenures, entries)
