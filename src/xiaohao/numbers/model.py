"""The numbering plan: one canonical form of every number, and the ways carriers spell it.

Canonical is `+`, country code and national number without trunk prefix (ITU-T E.164). Chinese numbers that
no other country can dial have the same shape: 400 1234567 is `+864001234567`, 95188 is `+8695188`.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

import phonenumbers


class Kind(StrEnum):
    """What sort of number it is."""

    SERVICE_400 = "400"
    LANDLINE = "landline"
    MOBILE = "mobile"
    SHORT_95 = "95"
    #: 700 and twelve digits, set aside for number protection
    PROTECTION_700 = "700"
    FOREIGN = "foreign"


class NumberForm(StrEnum):
    """How a trunk spells numbers, shown for 010 6200 0001 and 138 0000 0001."""

    #: `+861062000001`, `+8613800000001`
    E164 = "e164"
    #: `861062000001`, `8613800000001`
    DIGITS = "digits"
    #: `01062000001`, `013800000001`
    ZERO = "zero"
    #: `1062000001`, `13800000001`
    NATIONAL = "national"
    #: `01062000001`, `13800000001`
    ZERO_EXCEPT_MOBILE = "zero_except_mobile"


class NumberState(StrEnum):
    """Where a platform number stands. `lifecycle.TRANSITIONS` says what may follow what."""

    #: there, and not given out yet
    IN_STOCK = "in_stock"
    #: may be given out; a number that serves many people at once (a Y) stays so
    AVAILABLE = "available"
    #: one person's X, lent by bindings or fixed
    IN_SERVICE = "in_service"
    #: its person's last binding has ended, and its keys rest: nobody else's yet
    AGEING = "ageing"
    #: neither allocated nor displayed until it is resumed
    SUSPENDED = "suspended"
    #: the same for good
    RETIRED = "retired"


#: The states in which a number may be dialled, displayed, and given out to those who may have it.
USABLE_STATES: Final = (NumberState.AVAILABLE, NumberState.IN_SERVICE, NumberState.AGEING)
#: The states of a number that is one person's.
PERSONAL_STATES: Final = (NumberState.IN_SERVICE, NumberState.AGEING)


class Verification(StrEnum):
    """How far the real name behind a number is proven."""

    #: not needed: it is no mobile number
    NONE = "none"
    PENDING = "pending"
    VERIFIED = "verified"
    EXPIRED = "expired"
    REJECTED = "rejected"


#: A number with one of these may be bound and displayed (a verified one until its `verified_until`).
PROVEN: Final = (Verification.NONE, Verification.VERIFIED)


def is_proven(verification: str, verified_until: int | None, now: int) -> bool:
    """Whether a number with this verification may be bound and displayed at the moment `now`."""
    return verification in PROVEN and (verified_until is None or verified_until > now)


class DialledBy(StrEnum):
    """Whose calls a number takes."""

    ANYONE = "anyone"
    #: Chinese numbers only
    DOMESTIC = "domestic"


#: Quarantine of the keys of a number that is in no pool.
DEFAULT_RECYCLE_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Number:
    """A platform number as the inventory knows it.

    `assigned_to`: the person whose X it is, for the customer `assigned_by`; `fixed`: it stays theirs when no
    binding of it is left. `displayed_as`: what is shown instead of a number that is not `displayable`.
    """

    number: str
    kind: Kind
    city: str | None
    carrier: str | None
    state: NumberState
    state_reason: str | None
    state_at: int
    suspended_until: int | None
    displayable: bool
    displayed_as: str | None
    dialled_by: DialledBy
    verification: Verification
    verified_until: int | None
    customer_id: str | None
    pool_id: str | None
    trunk_id: str | None
    assigned_to: str | None = field(repr=False)
    assigned_by: str | None
    fixed: bool
    last_used_at: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class NumberSpec:
    """A number to put into the inventory, in any spelling. None: what its kind has by default.

    `documents`: references to what proves the real name of a mobile number, which is verified by them until
    `valid_until` (None: for good); without them it waits for its verification.
    """

    number: str
    pool_id: str | None = None
    trunk_id: str | None = None
    customer_id: str | None = None
    city: str | None = None
    carrier: str | None = None
    state: NumberState = NumberState.AVAILABLE
    displayable: bool | None = None
    displayed_as: str | None = None
    dialled_by: DialledBy | None = None
    documents: tuple[str, ...] = ()
    valid_until: int | None = None


#: Only dialled, never displayed: carriers let no call out under such a number.
NEVER_DISPLAYED: Final = (Kind.SERVICE_400,)
#: No other country can dial them.
DOMESTIC_KINDS: Final = (Kind.SERVICE_400, Kind.SHORT_95, Kind.PROTECTION_700)


_CHINA: Final = "CN"
_CHINA_CODE: Final = "86"

# Beijing and the 2x cities have eight-digit subscriber numbers behind a two-digit area code, all others seven
# or eight digits behind three. No area code begins with 86 and none is 400, 700, 800 or 950, so that the
# country code, the service numbers and a landline without its 0 are never mistaken for one another.
_CHINESE: Final = re.compile(
    r"(?P<mobile>1[3-9]\d{9})"
    r"|(?P<service>[48]00\d{7})"
    r"|(?P<protection>700\d{12})"
    r"|(?P<short>95\d{3,6})"
    r"|(?P<capital>10|2[0-57-9])[2-8]\d{7}"
    r"|(?P<area>(?!86|950)(?:[3-9][1-9]\d|70[1-9]|90[1-9]))[2-8]\d{6,7}"
)
_SEPARATORS: Final = str.maketrans("", "", " -.()")
#: what Chinese keyboards write for the characters of a number; nothing else that NFKC would change means one
_FULL_WIDTH: Final = str.maketrans("０１２３４５６７８９＋－（）．\u3000", "0123456789+-(). ")
_TEL: Final = "tel:"
_SHAPE: Final = re.compile(r"\+?[0-9]{3,20}", re.ASCII)
_LONGEST: Final = 40
_TRUNK_PREFIX: Final = "0"
_ABROAD: Final = "00"


def usual_digits(text: str) -> str:
    """Digits and plus as Chinese keyboards write them (full width) as ASCII; all else as it stands."""
    return text.translate(_FULL_WIDTH)


def canonical(raw: str, region: str = _CHINA) -> str | None:
    """The canonical form of a number in any spelling that a carrier of `region` (ISO 3166) uses.

    Visual separators of RFC 3966 are skipped, and full-width digits are digits. A `tel:` URI must have a
    global number (`tel:+86…`) and no extension; its other parameters are not looked at. None for what
    identifies nobody: withheld forms (`anonymous`, empty…), letters, extension digits, lengths and ranges
    outside the numbering plan. A number of another country is recognised only behind `+` or the
    international prefix, because its bare digits can be somebody else's national number.
    """
    if _is_plain_mobile(raw):
        return raw  # most of what there is, and already as it should be: not worth a place in the cache
    # The limit stands before the cache, so that no sender of long rubbish fills the memory.
    return _canonical(raw, region) if len(raw) <= _LONGEST else None


def _is_plain_mobile(raw: str) -> bool:
    return (
        len(raw) == 14 and raw[:4] == "+861" and "3" <= raw[4] <= "9" and raw.isascii() and raw[5:].isdigit()
    )


@lru_cache(maxsize=65_536)
def _canonical(raw: str, region: str) -> str | None:
    text = usual_digits(raw.strip())
    if text[: len(_TEL)].lower() == _TEL:
        text = _of_tel_uri(text[len(_TEL) :])
    text = text.translate(_SEPARATORS)
    if not _SHAPE.fullmatch(text):
        return None
    if text.startswith("+"):
        return _international(text[1:])
    if region != _CHINA:
        return _parsed(text, region)
    if text.startswith(_ABROAD):
        return _international(text[2:])
    return _chinese(text.removeprefix(_CHINA_CODE))


def _of_tel_uri(rest: str) -> str:
    """The number of a `tel:` URI (RFC 3966); empty where it is no global one, or has an extension."""
    number, *parameters = rest.split(";")
    names = {parameter.partition("=")[0].lower() for parameter in parameters}
    is_global = number.startswith("+") and " " not in number
    return number if is_global and not names & {"ext", "isub", "phone-context"} else ""


def spell(number: str, form: NumberForm) -> str:
    """Write a canonical number as a trunk expects it. The inverse of `canonical`, except that another
    country's number in the form DIGITS can be read as a Chinese one.

    Only landlines and mobiles carry the trunk prefix 0; numbers of other countries begin with 00 where the
    form has no country code.
    """
    digits = number.removeprefix("+")
    if form is NumberForm.E164:
        return f"+{digits}"
    if form is NumberForm.DIGITS:
        return digits
    kind = kind_of(number)
    if kind is Kind.FOREIGN:
        return _ABROAD + digits
    national = digits.removeprefix(_CHINA_CODE)
    prefixed = kind is Kind.LANDLINE or (kind is Kind.MOBILE and form is NumberForm.ZERO)
    return _TRUNK_PREFIX + national if prefixed and form is not NumberForm.NATIONAL else national


def kind_of(number: str) -> Kind:
    """The kind of a canonical number; 800 numbers count as 400 ones. Raises ValueError for anything else."""
    if not number.startswith("+"):
        raise ValueError("not a canonical number")
    if not number.startswith(f"+{_CHINA_CODE}"):
        return Kind.FOREIGN
    match = _CHINESE.fullmatch(number[3:])
    if match is None:
        raise ValueError("not a canonical number")
    return _KIND_OF_GROUP[str(match.lastgroup)]


def is_foreign(number: str) -> bool:
    """Whether a canonical number is another country's."""
    return not number.startswith(f"+{_CHINA_CODE}")


def city_of(number: str) -> str | None:
    """The area code of a Chinese landline without its 0 (`10`, `755`); None for every other number."""
    if not number.startswith(f"+{_CHINA_CODE}"):
        return None
    match = _CHINESE.fullmatch(number[3:])
    return (match["capital"] or match["area"]) if match else None


def is_area_code(code: str) -> bool:
    """Whether it is the area code of a Chinese city, without its 0."""
    typical = [_chinese(code + "8" * digits) for digits in (7, 8)] if code.isascii() else []
    return any(number is not None and city_of(number) == code for number in typical)


_KIND_OF_GROUP: Final = {
    "mobile": Kind.MOBILE,
    "service": Kind.SERVICE_400,
    "protection": Kind.PROTECTION_700,
    "short": Kind.SHORT_95,
    "capital": Kind.LANDLINE,
    "area": Kind.LANDLINE,
}


def _international(digits: str) -> str | None:
    if digits.startswith(_CHINA_CODE):
        return _chinese(digits[2:])
    return _parsed(f"+{digits}", None)


def _chinese(national: str) -> str | None:
    digits = national.removeprefix(_TRUNK_PREFIX)
    match = _CHINESE.fullmatch(digits)
    if match is None or (match["area"] and not _area_exists(match["area"])):
        return None
    return f"+{_CHINA_CODE}{digits}"


@lru_cache(maxsize=1000)
def _area_exists(code: str) -> bool:
    # The library is asked about two typical subscribers and not about the number itself, because it lags
    # behind when a city goes from seven digits to eight.
    return any(
        phonenumbers.is_valid_number(
            phonenumbers.PhoneNumber(country_code=int(_CHINA_CODE), national_number=int(code + "8" * digits))
        )
        for digits in (7, 8)
    )


def _parsed(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    formatted = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if number.country_code == int(_CHINA_CODE):
        return _chinese(formatted[3:])
    return formatted
