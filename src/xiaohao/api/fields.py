"""Kinds of field that several rooms' requests share. No message repeats the value that it is about."""

import re
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
from xiaohao.numbers.model import canonical, usual_digits

#: the largest and smallest moment that every part of the platform can store and print (years 2000 and 9999)
_MOMENT_MIN: Final = 946_684_800_000_000
_MOMENT_MAX: Final = 253_402_300_799_000_000
_MOMENT_LENGTH: Final = 40
_YEAR_MIN, _YEAR_MAX = 2000, 9999
_OTHER_YEARS: Final = f"must lie within the years {_YEAR_MIN} to {_YEAR_MAX}"
_SHAPE_OF_MOMENT: Final = re.compile(
    r"[+-]?(?P<year>[0-9]{4,6})-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?"
    r"(?:[Zz]|(?P<offset>[+ -])[0-9]{2}:?[0-9]{2})$",
    re.ASCII,
)
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
    shape = _SHAPE_OF_MOMENT.match(text) if isinstance(text, str) and len(text) <= _MOMENT_LENGTH else None
    if shape is None:
        raise ValueError("not a date-time with its offset, as in 2026-11-23T03:04:05Z")
    if shape["offset"] == " ":
        raise ValueError("not a date-time: the + of an offset is written %2B in a URL")
    try:
        moment = parse_rfc3339(shape.string.upper())
    except (ValueError, OverflowError):
        within = _YEAR_MIN <= int(shape["year"]) <= _YEAR_MAX
        raise ValueError("there is no such day or time" if within else _OTHER_YEARS) from None
    if not _MOMENT_MIN <= moment <= _MOMENT_MAX:
        raise ValueError(_OTHER_YEARS)
    return moment


def _no_null(value: object) -> object:
    if value is None:
        raise ValueError("cannot be null: leave it out, and it stays as it is")
    return value


def _usual_digits(value: object) -> object:
    return usual_digits(value) if isinstance(value, str) else value


#: of a change: what is not named stays as it is, and nothing is not a value
NotNull: Final = BeforeValidator(_no_null)
#: digits as Chinese keyboards write them count as digits
UsualDigits: Final = BeforeValidator(_usual_digits)
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
CityCode = Annotated[
    str, StringConstraints(pattern=r"^[1-9][0-9]{1,2}$"), UsualDigits, Field(examples=["10", "755"])
]
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
