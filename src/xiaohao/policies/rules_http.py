"""The kinds of rules as requests say them, field by field as in `model`."""

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field

from xiaohao.api.fields import Id, Request
from xiaohao.policies.calendar import CLOCK
from xiaohao.policies.model import Every, Spec, Window

_COUNT: Final = 1_000_000
Prefixes = Annotated[list[Annotated[str, Field(max_length=12)]], Field(max_length=500)]


class FrequencyBody(Request):
    """At most `limit` calls in each window."""

    kind: Literal["frequency"]
    per: Literal["caller", "callee", "pair", "displayed"]
    limit: int = Field(ge=0, le=_COUNT)
    every: Every = Field(strict=False)
    window: Window = Field(
        Window.SLIDING,
        strict=False,
        description="sliding: any 60 seconds …; clock: each minute, hour or day of the Chinese clock",
    )


class ConcurrentBody(Request):
    """At most `limit` calls at a time."""

    kind: Literal["concurrent"]
    per: Literal["customer", "trunk", "displayed", "caller", "callee"]
    limit: int = Field(ge=0, le=_COUNT)
    trunk_id: Id | None = Field(None, description="Per trunk: this one only; null: each")


class TimesBody(Request):
    """From a time of day until another; past midnight where that is not later."""

    since: str = Field("00:00", max_length=5)
    until: str = Field("24:00", max_length=5)
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "workday", "day_off", "holiday"]] = (
        Field([], max_length=10, description="none: every day")
    )


class HoursBody(Request):
    """Calls are allowed at these times only."""

    kind: Literal["hours"]
    times: list[TimesBody] = Field(min_length=1, max_length=50)
    zone: str = Field(CLOCK, max_length=64, description="An IANA time zone")


class DirectionBody(Request):
    """Only these of a binding's two people may call."""

    kind: Literal["direction"]
    roles: list[Literal["a", "b"]] = Field(min_length=1, max_length=2)


class OnlyListedBody(Request):
    """Only who is on the white list of the same layer may call or be called."""

    kind: Literal["only_listed"]


class DestinationsBody(Request):
    """Other countries' numbers, and premium ones, that may be called: by their prefixes."""

    kind: Literal["destinations"]
    international: Prefixes = Field([])
    premium: Prefixes = Field([])


class FraudBody(Request):
    """What is suspected within a window, and what happens then."""

    kind: Literal["fraud"]
    window_s: int = Field(ge=60, le=86_400)
    per: Literal["caller", "displayed"] = "caller"
    least_calls: int = Field(20, ge=1, le=_COUNT, description="The ratios count from so many calls on")
    numbers: int | None = Field(None, ge=2, le=_COUNT, description="So many different numbers were called")
    short_s: int = Field(6, ge=1, le=3600)
    short_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        strict=False,
        description="This part of the answered calls was shorter than `short_s`",
    )
    answer_ratio: float | None = Field(
        None, ge=0, le=1, strict=False, description="No greater part of the calls was answered"
    )
    block_s: int = Field(0, ge=0, le=31_622_400, description="Refuse calls for so long; 0: an alarm only")


AnyRule = Annotated[
    FrequencyBody
    | ConcurrentBody
    | HoursBody
    | DirectionBody
    | OnlyListedBody
    | DestinationsBody
    | FraudBody,
    Field(discriminator="kind"),
]


def spec_of(body: Any) -> Spec:
    """The rule that a body says."""
    found: Spec = msgspec.convert(body.model_dump(mode="json"), Spec)
    return found
