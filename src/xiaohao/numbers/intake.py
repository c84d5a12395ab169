"""From what was asked for to rows of the inventory: every number checked, every fault told."""

from collections.abc import Mapping, Sequence
from typing import Any

from xiaohao.errors import Refusal
from xiaohao.numbers.model import NumberSpec, NumberState, canonical, city_of, kind_of
from xiaohao.pools.model import Pool

_FAULTS_TOLD = 100


def rows_of(specs: Sequence[NumberSpec], pools: Mapping[str, Pool], now: int) -> dict[str, dict[str, Any]]:
    """The new rows by canonical number. `pools`: those that are there, by id.

    Raises Refusal: `validation_failed`, naming each number that cannot be added by its place.
    """
    rows: dict[str, dict[str, Any]] = {}
    faults: list[dict[str, str]] = []
    for place, spec in enumerate(specs):
        number = canonical(spec.number)
        if number is None:
            faults.append(_fault(place, "number", "is not a telephone number that the platform knows"))
        elif number in rows:
            faults.append(_fault(place, "number", "is there twice"))
        elif spec.pool_id is not None and spec.pool_id not in pools:
            faults.append(_fault(place, "pool_id", "there is no such pool"))
        elif spec.pool_id is not None and spec.customer_id not in (None, pools[spec.pool_id].customer_id):
            faults.append(_fault(place, "customer_id", "is not the customer of the pool"))
        elif spec.pool_id is not None and not pools[spec.pool_id].policy.takes(
            kind_of(number), city_of(number)
        ):
            faults.append(_fault(place, "pool_id", "the pool takes no number of this kind or city"))
        else:
            rows[number] = _row(spec, number, pools, now)
    if faults:
        raise Refusal(
            "validation_failed",
            "The request is not valid",
            f"{len(faults)} of {len(specs)} numbers cannot be added.",
            422,
            {"errors": faults[:_FAULTS_TOLD]},
        )
    return rows


def _row(spec: NumberSpec, number: str, pools: Mapping[str, Pool], now: int) -> dict[str, Any]:
    return {
        "number": number,
        "kind": kind_of(number).value,
        "city": city_of(number),
        "state": NumberState.AVAILABLE.value,
        "customer_id": spec.customer_id if spec.pool_id is None else pools[spec.pool_id].customer_id,
        "pool_id": spec.pool_id,
        "trunk_id": spec.trunk_id,
        "fixed": False,
        "last_used_at": 0,
        "created_at": now,
        "updated_at": now,
    }


def _fault(place: int, field: str, detail: str) -> dict[str, str]:
    return {"field": f"numbers.{place}.{field}", "detail": detail}
