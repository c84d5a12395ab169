"""From what was asked for to rows of the inventory: every number checked, every fault told."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping

from xiaohao.errors import Refusal
from xiaohao.numbers.lifecycle import Reason
from xiaohao.numbers.model import (
    DOMESTIC_KINDS,
    NEVER_DISPLAYED,
    USABLE_STATES,
    DialledBy,
    Kind,
    NumberSpec,
    NumberState,
    Verification,
    canonical,
    city_of,
    is_area_code,
    is_proven,
    kind_of,
)
from xiaohao.pools.model import Pool

_FAULTS_TOLD: Final = 100
_INTO: Final = (NumberState.IN_STOCK, NumberState.AVAILABLE)
#: columns that say whose a number is: where they differ, it is not the same number that is asked for
IDENTITY: Final = ("customer_id", "pool_id", "trunk_id")


class Fault(NamedTuple):
    """Why a number cannot be added."""

    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class Known:
    """What numbers may be of: pools by id, ids of customers and of trunks."""

    pools: Mapping[str, Pool]
    customers: Container[str]
    trunks: Container[str]


def rows_of(specs: Sequence[NumberSpec], known: Known, now: int) -> dict[str, dict[str, Any]]:
    """The new rows by canonical number.

    Raises Refusal: `validation_failed`, naming each number that cannot be added by its place.
    """
    rows: dict[str, dict[str, Any]] = {}
    faults: list[tuple[int, Fault]] = []
    for place, spec in enumerate(specs):
        row = row_of(spec, known, now)
        if isinstance(row, Fault):
            faults.append((place, row))
        elif row["number"] in rows:
            faults.append((place, Fault("number", "is there twice")))
        else:
            rows[row["number"]] = row
    refuse(faults, len(specs))
    return rows


def refuse(faults: Sequence[tuple[int, Fault]], total: int) -> None:
    """Raises Refusal: `validation_failed` where there is a fault; each by the place of its number."""
    if faults:
        raise Refusal(
            "validation_failed",
            "The request is not valid",
            f"{len(faults)} of {total} numbers cannot be added.",
            422,
            {
                "errors": [
                    {"field": f"numbers.{place}.{fault.field}", "detail": fault.detail}
                    for place, fault in faults[:_FAULTS_TOLD]
                ]
            },
        )


def row_of(spec: NumberSpec, known: Known, now: int) -> dict[str, Any] | Fault:
    """The row of one number, or why there is none. Whether `displayed_as` is there is not looked at."""
    number = canonical(spec.number)
    if number is None:
        return Fault("number", "is not a telephone number that the platform knows")
    kind, city = kind_of(number), city_of(number)
    if spec.city is not None and spec.city != city:
        if city is not None:
            return Fault("city", "is not the city of this number")
        if not is_area_code(spec.city):
            return Fault("city", "is not the area code of a city")
        city = spec.city
    if spec.state not in _INTO:
        return Fault("state", "must be in_stock or available")
    return (
        _fault_of_owner(spec, kind, city, known)
        or _fault_of_display(spec, number, kind)
        or _fault_of_proof(spec, kind, now)
        or _row(spec, number, kind, city, known, now)
    )


def _fault_of_owner(spec: NumberSpec, kind: Kind, city: str | None, known: Known) -> Fault | None:
    if spec.customer_id is not None and spec.customer_id not in known.customers:
        return Fault("customer_id", "there is no such customer")
    if spec.trunk_id is not None and spec.trunk_id not in known.trunks:
        return Fault("trunk_id", "there is no such trunk")
    return None if spec.pool_id is None else _fault_of_pool(spec, kind, city, known.pools.get(spec.pool_id))


def _fault_of_pool(spec: NumberSpec, kind: Kind, city: str | None, pool: Pool | None) -> Fault | None:
    if pool is None:
        return Fault("pool_id", "there is no such pool")
    if spec.customer_id not in (None, pool.customer_id):
        return Fault("customer_id", "is not the customer of the pool")
    if not pool.policy.takes(kind, city):
        return Fault("pool_id", "the pool takes no number of this kind or city")
    return None


def _fault_of_display(spec: NumberSpec, number: str, kind: Kind) -> Fault | None:
    if spec.displayable and kind in NEVER_DISPLAYED:
        return Fault("displayable", "a 400 number is only dialled, never displayed")
    if spec.displayed_as is not None:
        if spec.displayable:
            return Fault("displayed_as", "goes only with a number that is not displayable itself")
        if canonical(spec.displayed_as) in (None, number):
            return Fault("displayed_as", "must be another number of the platform")
    return None


def _fault_of_proof(spec: NumberSpec, kind: Kind, now: int) -> Fault | None:
    if not spec.documents and spec.valid_until is None:
        return None
    if kind is not Kind.MOBILE:
        return Fault("verification", "only mobile numbers are verified")
    if not spec.documents:
        return Fault("verification", "needs documents")
    if spec.valid_until is not None and spec.valid_until <= now:
        return Fault("verification", "is over already")
    return None


def _row(
    spec: NumberSpec, number: str, kind: Kind, city: str | None, known: Known, now: int
) -> dict[str, Any]:
    displayable = spec.displayable
    if displayable is None:
        displayable = kind not in NEVER_DISPLAYED and spec.displayed_as is None
    dialled_by = spec.dialled_by or (DialledBy.DOMESTIC if kind in DOMESTIC_KINDS else DialledBy.ANYONE)
    verification = Verification.NONE
    if kind is Kind.MOBILE:
        verification = Verification.VERIFIED if spec.documents else Verification.PENDING
    return {
        "number": number,
        "kind": kind.value,
        "city": city,
        "carrier": spec.carrier,
        "state": spec.state.value,
        "state_reason": Reason.IMPORTED.value,
        "state_at": now,
        "displayable": displayable,
        "displayed_as": None if spec.displayed_as is None else canonical(spec.displayed_as),
        "dialled_by": dialled_by.value,
        "verification": verification.value,
        "verified_until": spec.valid_until,
        "customer_id": spec.customer_id if spec.pool_id is None else known.pools[spec.pool_id].customer_id,
        "pool_id": spec.pool_id,
        "trunk_id": spec.trunk_id,
        "fixed": False,
        "last_used_at": 0,
        "created_at": now,
        "updated_at": now,
    }


def differs(row: RowMapping | Mapping[str, Any], wanted: Mapping[str, Any], spec: NumberSpec) -> bool:
    """Whether a number that is there already is another one than what was asked for."""
    said = {
        "city": spec.city,
        "carrier": spec.carrier,
        "displayable": spec.displayable,
        "displayed_as": spec.displayed_as,
        "dialled_by": spec.dialled_by,
        "verification": spec.documents or None,
    }
    names = (*IDENTITY, *(name for name, value in said.items() if value is not None))
    return any(row[name] != wanted[name] for name in names)


def fault_of_shown(row: Mapping[str, Any], displays: Mapping[str, Any], now: int) -> Fault | None:
    """What is wrong with `displayed_as` of a row; `displays`: the numbers there are, by number."""
    if row["displayed_as"] is None:
        return None
    shown = displays.get(row["displayed_as"])
    if shown is None or shown["customer_id"] != row["customer_id"]:
        return Fault("displayed_as", "there is no such number of the same customer")
    if not shown["displayable"]:
        return Fault("displayed_as", "is a number that is not displayable itself")
    if shown["state"] not in USABLE_STATES:
        return Fault("displayed_as", f"is a number that is {shown['state']}")
    if not is_proven(shown["verification"], shown["verified_until"], now):
        return Fault("displayed_as", "is a number whose real name is not verified")
    return None
