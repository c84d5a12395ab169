"""The JSON of bindings: what a request says, and how a binding is shown."""

from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from xiaohao.api.fields import (
    CityCode,
    Id,
    Moment,
    NotNull,
    Number,
    Reference,
    Request,
    Timestamp,
    UserData,
    UsualDigits,
)
from xiaohao.api.paging import PageQuery
from xiaohao.bindings.model import (
    Binding,
    BindingState,
    Changes,
    Direction,
    Mode,
    PromptMoment,
    Reservation,
)
from xiaohao.bindings.modes import LONGEST_EXTENSION
from xiaohao.clock import SECOND, rfc3339, rfc3339_or_none
from xiaohao.errors import validation_failed

LONGEST_LIFE_S: Final = 10 * 366 * 86_400
_DAY_S: Final = 86_400

_Extension = Annotated[
    str,
    StringConstraints(pattern=rf"^[0-9]{{1,{LONGEST_EXTENSION}}}$"),
    UsualDigits,
    Field(description="What tells A apart from others behind the same X", examples=["123"]),
]
_PromptName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
_Prompts = Annotated[
    dict[Annotated[PromptMoment, Field(strict=False)], _PromptName],
    Field(
        description="Which prompt is played at which moment of a call", examples=[{"to_callee": "delivery"}]
    ),
]
_Direction = Annotated[Direction, Field(strict=False, description="Who may call whom")]
_LifeS = Annotated[int, Field(ge=1, le=LONGEST_LIFE_S)]
_DurationS = Annotated[int, Field(ge=1, le=_DAY_S, description="Ends each call after so long")]

_MODE: Final = "What it is already; another one is refused"
_POOL: Final = "X shall be one of this pool: another is chosen unless it is; never null"
_CITY: Final = "X shall be of this city, or of those that the pool tries then; never null"
_INSTEAD: Final = (
    "The X that is to go: another one is chosen, of its pool and city unless x_pool and x_city say otherwise."
    " Where it is another already nothing changes; never null"
)


class _Expiring(Request):
    # one of the two, or neither
    expires_in_s: _LifeS | None = Field(
        None, description="Seconds from now; neither this nor expires_at: no end"
    )
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        if self.expires_in_s is not None and self.expires_at is not None:
            raise ValueError("expires_in_s and expires_at exclude each other")
        return self

    def end(self, now: int) -> int | None:
        """The moment of the end in µs; None: there is none. Raises Refusal: `validation_failed`."""
        if self.expires_at is None:
            return None if self.expires_in_s is None else now + self.expires_in_s * SECOND
        if not now < self.expires_at <= now + LONGEST_LIFE_S * SECOND:
            raise validation_failed("expires_at", "must be in the future, and at most ten years away")
        return self.expires_at


class NewBinding(_Expiring):
    """A and B shall be able to call each other."""

    mode: Mode = Field(
        Mode.AXYB, strict=False, description="How they reach one another; each mode has its own fields"
    )
    a: Number | None = Field(
        None, description="Real number of A, e.g. the driver; needed in every mode but x"
    )
    b: Number | None = Field(
        None,
        description="Real number of B, e.g. the passenger; in mode ax whom A calls, else who called last",
    )
    x: Number | None = Field(
        None, description="Platform number that stands for A; else A's own, or one of x_pool"
    )
    y: Number | None = Field(None, description="Platform number that stands for B; else one of y_pool")
    x_pool: Id | None = None
    y_pool: Id | None = None
    x_city: CityCode | None = Field(None, description="Area code of the city that X shall be of")
    y_city: CityCode | None = Field(None, description="Area code of the city that Y shall be of")
    extension: _Extension | None = Field(None, description="Mode axe; without it one that is free is chosen")
    direction: _Direction = Direction.BOTH
    y_on_demand: bool = Field(
        False,
        description="Mode axyb without b: whoever dials X becomes B and is given a Y of y_pool on the spot",
    )
    y_life_s: _LifeS | None = Field(
        None, description="So long lives a pair that came about on the spot; else as long as this binding"
    )
    record: bool = True
    max_duration_s: _DurationS | None = None
    prompts: _Prompts | None = None
    order_ref: Reference | None = None
    user_data: UserData | None = Field(None, description="Comes back in events and records")
    reuse: bool = Field(
        False,
        description="Give back the live binding with the same content, with status 200; without a B known"
        " it is of the same A and mode, and of the X, pool, city and extension that are named",
    )

    def reservation(self, now: int) -> Reservation:
        """What is asked for. Raises Refusal: `validation_failed`."""
        return Reservation(
            a=self.a,
            b=self.b,
            x=self.x,
            y=self.y,
            x_pool=self.x_pool,
            y_pool=self.y_pool,
            x_city=self.x_city,
            y_city=self.y_city,
            expires_in_s=self.expires_in_s,
            expires_at=None if self.expires_at is None else self.end(now),
            record=self.record,
            max_duration_s=self.max_duration_s,
            order_ref=self.order_ref,
            user_data=self.user_data,
            reuse=self.reuse,
            mode=self.mode,
            extension=self.extension,
            direction=self.direction,
            y_on_demand=self.y_on_demand,
            y_life_s=self.y_life_s,
            prompts=self.prompts,
        )


class BindingChange(_Expiring):
    """What is to become different; what is not named stays as it is. null takes away what may be absent."""

    mode: Annotated[Mode | None, NotNull] = Field(None, strict=False, description=_MODE)
    a: Annotated[Number | None, NotNull] = Field(None, description="A's new real number; never null")
    b: Number | None = Field(None, description="B's new real number; null only in mode ax")
    x: Annotated[Number | None, NotNull] = Field(None, description="Another X, by its number; never null")
    x_pool: Annotated[Id | None, NotNull] = Field(None, description=_POOL)
    x_city: Annotated[CityCode | None, NotNull] = Field(None, description=_CITY)
    instead_of_x: Annotated[Number | None, NotNull] = Field(None, description=_INSTEAD)
    y: Annotated[Number | None, NotNull] = Field(None, description="Another Y, by its number; never null")
    y_pool: Annotated[Id | None, NotNull] = Field(
        None, description="The same for Y; where y_on_demand, where numbers come from from now on. Never null"
    )
    y_city: Annotated[CityCode | None, NotNull] = Field(None, description="The same for Y; never null")
    instead_of_y: Annotated[Number | None, NotNull] = Field(None, description="The same for Y; never null")
    extension: Annotated[_Extension | None, NotNull] = Field(None, description="Mode axe; never null")
    direction: Annotated[_Direction | None, NotNull] = Field(None, description="Never null")
    y_life_s: _LifeS | None = Field(None, description="Where y_on_demand, of pairs that come about from now")
    record: Annotated[bool | None, NotNull] = Field(None, description="Never null")
    max_duration_s: _DurationS | None = None
    prompts: _Prompts | None = None
    order_ref: Reference | None = None
    user_data: UserData | None = None

    def changes(self, now: int) -> Changes:
        """What is asked for. Raises Refusal: `validation_failed`."""
        expiry = {"expires_in_s", "expires_at"}
        named = self.model_fields_set
        values = {name: getattr(self, name) for name in named - expiry}
        if named & expiry:
            values["expires_at"] = self.end(now)
        changes: Changes = values  # type: ignore[assignment]
        return changes


class NewEnd(_Expiring):
    """Until when a binding shall live at least."""

    @model_validator(mode="after")
    def _an_end(self) -> Self:
        if self.expires_in_s is None and self.expires_at is None:
            raise ValueError("expires_in_s or expires_at is needed")
        return self


class BindingView(BaseModel):
    """A and B can call each other while it is live."""

    id: str
    mode: Mode
    state: BindingState
    parent_id: str | None = Field(description="The binding with y_on_demand by which this pair came about")
    dial: str | None = Field(
        description="What A dials: y in mode axyb, x in axb and ax", examples=["+861062000001"]
    )
    a: str | None
    b: str | None
    x: str = Field(description="Stands for A: B sees it and dials it")
    y: str | None = Field(description="Stands for B: A sees it and dials it; null in modes with one number")
    extension: str | None
    direction: Direction
    y_on_demand: bool
    y_pool: str | None = Field(description="Where y_on_demand")
    y_life_s: int | None
    expires_at: Timestamp | None
    ended_at: Timestamp | None
    recycle_until: Timestamp | None = Field(description="Until then nobody else gets the same keys")
    record: bool
    max_duration_s: int | None
    prompts: dict[PromptMoment, str] | None
    order_ref: str | None
    user_data: str | None
    created_at: Timestamp
    updated_at: Timestamp


class BindingQuery(PageQuery):
    """Which bindings."""

    state: BindingState | None = None
    mode: Mode | None = None
    number: Number | None = Field(None, description="A platform number (X or Y), never a real one")
    city: CityCode | None = Field(None, description="Area code of X or Y, without its 0")
    order_ref: Reference | None = None
    parent_id: Id | None = Field(None, description="Pairs that came about by this binding")


class BindingSearch(Request):
    """Which bindings, by real numbers, too."""

    a: Number | None = None
    b: Number | None = None
    number: Number | None = Field(None, description="A platform number (X or Y)")
    state: BindingState | None = Field(None, strict=False)
    mode: Mode | None = Field(None, strict=False)
    city: CityCode | None = None
    order_ref: Reference | None = None
    parent_id: Id | None = None
    after: Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_-]*$")] | None = None
    limit: int = Field(100, ge=1, le=500)


_DIALS: Final = {Mode.AXYB: "y", Mode.AXB: "x", Mode.AX: "x"}


def shown(binding: Binding) -> dict[str, Any]:
    """How a binding is shown: the fields of `BindingView`, ready to be written as JSON.

    Written as it is where it is the answer: having it checked once more costs as much as deciding on it.
    """
    dial = _DIALS.get(binding.mode)
    return {
        "id": binding.id,
        "mode": binding.mode,
        "state": binding.state,
        "parent_id": binding.parent_id,
        "dial": None if dial is None else getattr(binding, dial),
        "a": binding.a,
        "b": binding.b,
        "x": binding.x,
        "y": binding.y,
        "extension": binding.extension,
        "direction": binding.direction,
        "y_on_demand": binding.y_on_demand,
        "y_pool": binding.y_pool,
        "y_life_s": binding.y_life_s,
        "expires_at": rfc3339_or_none(binding.expires_at),
        "ended_at": rfc3339_or_none(binding.ended_at),
        "recycle_until": rfc3339_or_none(binding.recycle_until),
        "record": binding.record,
        "max_duration_s": binding.max_duration_s,
        "prompts": None if binding.prompts is None else dict(binding.prompts),
        "order_ref": binding.order_ref,
        "user_data": binding.user_data,
        "created_at": rfc3339(binding.created_at),
        "updated_at": rfc3339(binding.updated_at),
    }


def view(binding: Binding) -> BindingView:
    """The same as a part of another answer."""
    return BindingView(**shown(binding))
