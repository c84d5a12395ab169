"""Kinds of field that several rooms' requests share. No message repeats the value that it is about."""

from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from xiaohao.clock import parse_rfc3339
from xiaohao.numbers.model import canonical

#: the largest and smallest moment that every part of the platform can store and print (years 2000 and 9999)
_MOMENT_MIN: Final = 946_684_800_000_000
_MOMENT_MAX: Final = 253_402_300_799_000_000
_MOMENT_LENGTH: Final = 40
#: PostgreSQL's text cannot hold U+0000
_NO_NUL: Final = r"^[^\x00]*$"
_ONE_LINE: Final = r"^[^\x00-\x1f\x7f]*$"


class Request(BaseModel):
    """A request body: unknown fields and values of the wrong type are refused, not guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def _number(text: str) -> str:
    number = canonical(text)
    if number is None:
        raise ValueError("not a telephone number that the platform knows how to dial")
    return number


def _moment(text: object) -> int:
    try:
        moment = (
            parse_rfc3339(text) if isinstance(text, str) and len(text) <= _MOMENT_LENGTH else _MOMENT_MAX + 1
        )
    except (ValueError, OverflowError):
        moment = _MOMENT_MAX + 1
    if not _MOMENT_MIN <= moment <= _MOMENT_MAX:
        raise ValueError("not a date-time with its offset, as in 2026-11-23T03:04:05Z")
    return moment


#: a number in any spelling; its canonical form inside
Number = Annotated[
    str,
    StringConstraints(min_length=3, max_length=40),
    AfterValidator(_number),
    Field(
        description="A telephone number in any usual spelling; answers show it as `+86…`",
        examples=["+8613800000001"],
    ),
]
#: RFC 3339 outside, microseconds since the epoch inside
Moment = Annotated[
    int,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-23T03:04:05Z"]}),
]
#: RFC 3339 in UTC with milliseconds
Timestamp = Annotated[
    str, Field(examples=["2026-11-23T03:04:05.678Z"], json_schema_extra={"format": "date-time"})
]
#: a label that a person reads
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_ONE_LINE)]
#: an identifier made by the platform, such as `bnd_…`
Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]*$")]
#: the area code of a Chinese city without its 0
CityCode = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{1,2}$"), Field(examples=["10", "755"])]
#: references to documents, such as the file numbers of an archive: never the documents themselves
Documents = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_ONE_LINE)]],
    Field(min_length=1, max_length=20, description="References to documents; never the documents themselves"),
]
#: a remark for people
Note = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=_ONE_LINE)]
#: the customer's own short reference
Reference = Annotated[str, StringConstraints(max_length=200, pattern=_ONE_LINE)]
#: anything the customer wants to see again in events and records
UserData = Annotated[str, StringConstraints(max_length=2000, pattern=_NO_NUL)]
