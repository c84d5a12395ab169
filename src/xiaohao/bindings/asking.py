"""What a customer asks for, checked and in canonical form, before anybody looks into the database."""

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from xiaohao.bindings.model import Changes, NewNumber, PromptMoment, Reservation
from xiaohao.bindings.modes import is_extension, misfit
from xiaohao.bindings.wish import Wish
from xiaohao.errors import validation_failed
from xiaohao.numbers.model import canonical
from xiaohao.secrecy import Vault

_LONGEST_LIFE_S: Final = 10 * 366 * 86_400
_LONGEST_CALL_S: Final = 86_400
_LONGEST_REFERENCE: Final = 200
_LONGEST_USER_DATA: Final = 2000
#: what a mode may or may not have
_PARTS: Final = (
    *("a", "b", "x", "y", "x_pool", "y_pool", "x_city", "y_city"),
    *("extension", "y_on_demand", "y_life_s"),
)
_parts_of = attrgetter(*_PARTS)
_NUMBERS: Final = ("a", "b", "x", "y")
_numbers_of = attrgetter(*_NUMBERS)
_PROMPT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII)


def number_of(name: str, text: str) -> str:
    """The canonical form of a number. Raises Refusal: `validation_failed`, with the field's name."""
    number = canonical(text)
    if number is None:
        raise validation_failed(name, "is not a telephone number that the platform knows how to dial")
    return number


def wish_of(vault: Vault, customer_id: str, wanted: Reservation) -> Wish:
    """A reservation as the allocation takes it. Raises Refusal: `validation_failed`."""
    wrong = misfit(wanted.mode, wanted.direction, dict(zip(_PARTS, _parts_of(wanted), strict=True)))
    if wrong is not None:
        raise validation_failed(*wrong)
    _check_terms(dict(zip(_TERMS, _terms_of(wanted), strict=True)))
    a, b, x, y = [
        None if text is None else number_of(name, text)
        for name, text in zip(_NUMBERS, _numbers_of(wanted), strict=True)
    ]
    if a is not None and a == b:
        raise validation_failed("b", "A and B are the same number")
    for name, number, city in (("x", x, wanted.x_city), ("y", y, wanted.y_city)):
        if number is not None and city is not None:
            raise validation_failed(f"{name}_city", f"{name} names a number already")
    if x is not None and x == y:
        raise validation_failed("y", "x and y are the same number")
    return Wish(
        customer_id=customer_id,
        mode=wanted.mode,
        a=a,
        b=b,
        a_key=None if a is None else vault.index(a),
        b_key=None if b is None else vault.index(b),
        x=x,
        y=y,
        x_pool=wanted.x_pool,
        y_pool=wanted.y_pool,
        x_city=wanted.x_city,
        y_city=wanted.y_city,
        extension=wanted.extension,
        y_on_demand=wanted.y_on_demand,
        reuse=wanted.reuse,
    )


def changed_values(changes: Changes) -> dict[str, Any]:
    """Changes as `changing.Change` takes them. Raises Refusal: `validation_failed`."""
    numbers = {part for parts in _NUMBER_PARTS.values() for part in parts}
    values: dict[str, Any] = {name: value for name, value in changes.items() if name not in numbers}
    _check_terms(values)
    for person in ("a", "b"):
        if values.get(person) is not None:
            values[person] = number_of(person, values[person])
    if "extension" in values and not is_extension(values["extension"]):
        raise validation_failed("extension", "must be one to six digits")
    for name in ("direction", "mode"):
        if name in values:
            values[name] = values[name].value
    return values


def new_numbers(changes: Changes) -> dict[str, NewNumber]:
    """What of changes is about X and about Y. Raises Refusal: `validation_failed`."""
    found = {}
    for name, parts in _NUMBER_PARTS.items():
        number, pool, city, other = [changes.get(part) for part in parts]
        if (number, pool, city, other) == (None, None, None, None):
            continue
        for part in parts[1:]:
            if number is not None and part in changes:
                raise validation_failed(part, f"{name} names a number already")
        found[name] = NewNumber(
            None if number is None else number_of(name, str(number)),
            None if pool is None else str(pool),
            None if city is None else str(city),
            None if other is None else number_of(parts[3], str(other)),
        )
    return found


#: X and Y, and by what they are wished for
_NUMBER_PARTS: Final = {
    name: (name, f"{name}_pool", f"{name}_city", f"instead_of_{name}") for name in ("x", "y")
}
_LIMITS: Final = {
    "expires_in_s": _LONGEST_LIFE_S,
    "y_life_s": _LONGEST_LIFE_S,
    "max_duration_s": _LONGEST_CALL_S,
}
_LENGTHS: Final = {"order_ref": _LONGEST_REFERENCE, "user_data": _LONGEST_USER_DATA}
_TERMS: Final = (*_LIMITS, *_LENGTHS, "prompts")
_terms_of = attrgetter(*_TERMS)


def _check_terms(values: Mapping[str, Any]) -> None:
    for name, largest in _LIMITS.items():
        value = values.get(name)
        if value is not None and not 1 <= value <= largest:
            raise validation_failed(name, f"must be between 1 and {largest}")
    for name, longest in _LENGTHS.items():
        text = values.get(name)
        if text is not None and (len(text) > longest or "\0" in text):
            raise validation_failed(name, f"must have at most {longest} characters, U+0000 not among them")
    _check_prompts(values.get("prompts"))


def _check_prompts(prompts: Mapping[PromptMoment, str] | None) -> None:
    for moment, name in (prompts or {}).items():
        if moment not in set(PromptMoment) or not _PROMPT_NAME.fullmatch(name):
            raise validation_failed("prompts", "each moment needs the name of a prompt")
