"""Demands and plans as documents: the same in a file, on the command line and over the API."""

import csv
import io
from dataclasses import asdict
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from xiaohao.api.fields import Name, Request
from xiaohao.clock import rfc3339
from xiaohao.errors import validation_failed
from xiaohao.planning.model import DAY_S, HOURS, TYPICAL_DAY, CityDemand, Demand, Group, Life, Plan, Usage
from xiaohao.planning.theory import groups_of

#: cities of one plan; over the network what they cost together decides (`effort.py`)
CITIES_MAX: Final = 100
_LONGEST_S: Final = 366 * DAY_S
_Rate = Annotated[float, Field(ge=0.0, le=1e8, allow_inf_nan=False)]


class GroupInput(Request):
    """Drivers who are alike."""

    drivers: float = Field(gt=0.0, le=1e7, allow_inf_nan=False)
    orders: float = Field(ge=0.0, le=1e4, allow_inf_nan=False, description="A day, of each of them")


class CityInput(Request):
    """What one city needs numbers for."""

    city: Name = Field(examples=["北京"])
    drivers: int = Field(ge=1, le=10_000_000, description="All who have an X")
    orders_a_day: _Rate | None = Field(None, description="Of all drivers, spread over a typical day")
    orders: list[_Rate] | None = Field(
        None,
        min_length=HOURS,
        max_length=HOURS,
        description="Orders in each hour from midnight on, instead of `orders_a_day`",
    )
    orders_per_driver: float | None = Field(
        None,
        gt=0.0,
        le=1e4,
        description="A day, of a driver who works; null: all drivers share the orders",
    )
    groups: list[GroupInput] | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="The drivers who work, by orders, instead of `orders_per_driver` and `spread`",
    )


class PlanRequest(Request):
    """What numbers are needed for, and how sure the customer wants to be."""

    cities: list[CityInput] = Field(min_length=1, max_length=CITIES_MAX)
    call_probability: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="Share of the orders for which a call is reserved: only these take a Y",
    )
    binding_life_s: float = Field(
        3600.0, ge=1.0, le=_LONGEST_S, description="Until a binding ends, on average"
    )
    binding_life: Life = Field(Life.FIXED, strict=False, description="How that time is spread")
    recycle_s: float = Field(float(DAY_S), ge=0.0, le=_LONGEST_S, description="The recycle period of the Y")
    blocking: float = Field(
        1e-4, ge=1e-9, le=0.5, description="Share of the reservations that may find no number"
    )
    spread: float = Field(
        0.3, ge=0.0, le=3.0, description="Of orders among drivers: standard deviation divided by mean"
    )
    peak_factor: float = Field(1.0, gt=0.0, le=100.0, description="The day planned for, in days as given")
    drivers_leaving_monthly: float = Field(
        0.05, ge=0.0, le=1.0, description="Share of the drivers that leave within 30 days"
    )
    x_recycle_s: float = Field(
        30.0 * DAY_S, ge=0.0, le=_LONGEST_S, description="For how long their X rest before another has them"
    )
    max_relations: int | None = Field(
        None, ge=1, le=1_000_000, description="Live relations that one number may carry; null: as many as fit"
    )

    def demand(self) -> Demand:
        """The same in the terms of this room. Raises Refusal: `validation_failed`."""
        return Demand(
            cities=tuple(self._city(city, place) for place, city in enumerate(self.cities)),
            call_share=self.call_probability,
            life_s=self.binding_life_s,
            life=self.binding_life,
            recycle_s=self.recycle_s,
            blocking=self.blocking,
            leaving=self.drivers_leaving_monthly,
            x_rest_s=self.x_recycle_s,
            max_relations=self.max_relations,
        )

    def _city(self, city: CityInput, place: int) -> CityDemand:
        field = f"cities.{place}"
        if (city.orders is None) == (city.orders_a_day is None):
            raise validation_failed(f"{field}.orders", "give either orders_a_day or orders by hour")
        hours = city.orders or [float(city.orders_a_day or 0.0) * share for share in TYPICAL_SHARES]
        hours = [orders * self.peak_factor for orders in hours]
        total = sum(hours)
        if total <= 0.0:
            raise validation_failed(f"{field}.orders", "a day without orders needs no plan")
        if city.groups is not None:
            groups = tuple(Group(group.drivers, group.orders * self.peak_factor) for group in city.groups)
            counted = sum(group.drivers * group.orders for group in groups)
            if abs(counted - total) > 0.02 * total:
                raise validation_failed(f"{field}.groups", "do not add up to the orders of the day")
            return CityDemand(city.city, city.drivers, tuple(hours), groups)
        if city.orders_per_driver is None:
            working = float(city.drivers)
        else:
            working = min(total / (city.orders_per_driver * self.peak_factor), float(city.drivers))
        return CityDemand(
            city.city, city.drivers, tuple(hours), groups_of(working, total / working, self.spread)
        )


#: the typical day in shares that add up to one
TYPICAL_SHARES: Final = tuple(share / sum(TYPICAL_DAY) for share in TYPICAL_DAY)


class CityPlanView(BaseModel):
    """The numbers that one city needs."""

    city: str
    drivers: int = Field(description="All who have an X")
    working: float = Field(description="Of these, who work on the day planned for")
    orders: float = Field(description="On that day")
    reservations: float = Field(description="Of these orders, those with a call reserved")
    x: int = Field(description="Numbers for drivers: one each, and those of drivers who left, which rest")
    x_resting: int
    x_lent: int = Field(description="Would do if an X were lent only while its driver has a relation")
    y: int = Field(description="Numbers for passengers")
    y_blocking: float = Field(description="Share of the reservations that these refuse")
    y_never: int = Field(description="Numbers that refuse nobody on 99 days of 100")
    y_by_relations: int = Field(description="What `max_relations` alone would ask for")
    refused_a_day: float
    mean_held: float = Field(description="Relations, living and resting, of the average working driver")
    busiest_held: float = Field(description="The most that any driver has on an average day")


class ChoiceView(BaseModel):
    """What another recycle period would need."""

    recycle_s: float
    y: int
    y_shared: int
    y_saved: int = Field(description="Compared with the period planned for; negative: so many more")


class PlanView(BaseModel):
    """How many numbers are needed."""

    recycle_s: float
    blocking: float
    drivers: int
    x: int
    x_lent: int
    y: int = Field(description="Where each city has its own numbers")
    y_shared: int = Field(description="Where all cities share numbers that belong to no city")
    y_never: int
    cities: list[CityPlanView]
    choices: list[ChoiceView]

    @classmethod
    def of(cls, plan: Plan) -> "PlanView":
        """The document of a plan."""
        return cls(
            recycle_s=plan.demand.recycle_s,
            blocking=plan.demand.blocking,
            drivers=plan.drivers,
            x=plan.x,
            x_lent=plan.x_lent,
            y=plan.y,
            y_shared=plan.y_shared,
            y_never=plan.y_never,
            cities=[CityPlanView(**asdict(city)) for city in plan.cities],
            choices=[ChoiceView(**asdict(choice)) for choice in plan.choices],
        )

    def csv(self) -> str:
        """A table with a row a city and one with the totals, for a spreadsheet."""
        text = io.StringIO()
        names = list(CityPlanView.model_fields)
        table = csv.writer(text, lineterminator="\r\n")
        table.writerow(names)
        for city in self.cities:
            table.writerow([_cell(getattr(city, name)) for name in names])
        totals = {"city": "total", "x_resting": sum(city.x_resting for city in self.cities)}
        for name in ("drivers", "x", "x_lent", "y", "y_never"):
            totals[name] = getattr(self, name)
        for name in ("working", "orders", "reservations", "refused_a_day"):
            totals[name] = _cell(sum(getattr(city, name) for city in self.cities))
        table.writerow([totals.get(name, "") for name in names])
        return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    # A spreadsheet takes a text that begins so for a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def usage_document(pool_id: str, usage: Usage) -> dict[str, Any]:
    """What `pool.running_out` and `GET /v1/pools/{pool_id}/usage` tell."""
    one = usage.standing
    return {
        "pool_id": pool_id,
        "at": rfc3339(usage.at),
        "total": one.total,
        "usable": one.usable,
        "assigned": one.assigned,
        "used": one.used,
        "resting": one.resting,
        "free": one.free,
        "peak": one.peak,
        "days_left": usage.days_left,
    }
