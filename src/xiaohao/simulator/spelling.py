"""How carriers write numbers, and telling two spellings of one number.

This is the simulator's own small copy of that knowledge, on purpose: it judges what the platform makes of
numbers, so it must not ask the platform.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Spelling(StrEnum):
    """A carrier's way to write the canonical number `+86…` in a SIP URI."""

    E164 = "e164"  # +8613800000001, +861062000001
    DIGITS = "digits"  # 8613800000001, 861062000001
    ZERO = "zero"  # 013800000001, 01062000001
    NATIONAL = "national"  # 13800000001, 1062000001
    ZERO_EXCEPT_MOBILE = "zero_except_mobile"  # 13800000001, 01062000001
    DOUBLE_ZERO = "double_zero"  # 008613800000001


NumberForm = Spelling | str | Callable[[str], str]


def _is_mobile(national: str) -> bool:
    return len(national) == 11 and national[0] == "1" and national[1] in "3456789"


def _has_area_code(national: str) -> bool:
    return not _is_mobile(national) and not national.startswith(("400", "95", "700", "800", "12"))


def spell(number: str, form: NumberForm) -> str:
    """Write `number` (canonical, with +) the carrier's way; what does not start with + is left as it is."""
    if callable(form):
        return form(number)
    if not number.startswith("+"):
        return number
    digits = number[1:]
    form = Spelling(form)
    if form is Spelling.E164:
        return number
    if form is Spelling.DIGITS:
        return digits
    if form is Spelling.DOUBLE_ZERO or not digits.startswith("86"):
        return f"00{digits}"
    national = digits[2:]
    wants_zero = _has_area_code(national) or (form is Spelling.ZERO and _is_mobile(national))
    return f"0{national}" if wants_zero and form is not Spelling.NATIONAL else national


def _readings(text: str) -> Iterable[str]:
    """The national or international digits that `text` may stand for, the likeliest first."""
    digits = "".join(c for c in text if c.isdigit())
    if text.startswith("+"):
        yield digits
        return
    if digits.startswith("00"):
        yield digits[2:]
    yield f"86{digits}"
    yield digits
    if digits.startswith("0"):
        yield f"86{digits[1:]}"


def find_number(text: str, book: dict[str, T]) -> T | None:
    """The entry of `book` (keys: canonical numbers with +) that `text` means in any spelling, or None.

    A technical prefix in front of a full number is borne too.
    """
    for reading in _readings(text):
        entry = book.get(f"+{reading}")
        if entry is not None:
            return entry
    digits = "".join(c for c in text if c.isdigit())
    for number, entry in book.items():
        national = number[1:].removeprefix("86")
        if len(national) >= 9 and digits.endswith(national):
            return entry
    return None


def same_number(one: str, other: str) -> bool:
    """Whether two spellings mean the same number; `other` must be canonical (with +)."""
    return find_number(one, {other: True}) is not None
