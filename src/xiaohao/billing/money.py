"""Money: exact decimals, rounded once, and kept as whole millionths of the currency.

The one rounding rule of the platform: a *charge* (one price times one quantity of one call, number or entry)
is rounded once, half up, to the places of the contract. Sums are never rounded. Decimals of at most six
places are whole numbers of millionths, as which the database and long sums keep them: adding loses nothing.
"""

from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

PLACES_MAX: Final = 6
CENT: Final = 10_000

_MILLION: Final = 1_000_000
#: enough for any price times any quantity that the platform takes
_DIGITS: Final = 60


def rounded(amount: Decimal, places: int) -> int:
    """An exact amount as millionths, rounded half up (away from zero at the half) to `places` decimals."""
    with localcontext() as context:
        context.prec = _DIGITS
        return int(amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP).scaleb(PLACES_MAX))


def charge(price: Decimal, quantity: Decimal | int, places: int) -> int:
    """`price` times `quantity`, rounded once."""
    with localcontext() as context:
        context.prec = _DIGITS
        return rounded(price * quantity, places)


def per_minute(price: Decimal, seconds: int, places: int) -> int:
    """What so many seconds cost at a price a minute, rounded once."""
    with localcontext() as context:
        context.prec = _DIGITS
        # a division by 60 may go on for ever; 60 digits are further from any half than prices have places
        return rounded(price * seconds / 60, places)


def share(amount: int, percent: Decimal) -> int:
    """So many per cent of an amount in millionths, rounded half up to the cent."""
    return charge(decimal_of(amount), percent.scaleb(-2), 2)


def without_tax(gross: int, percent: Decimal) -> int:
    """The part of `gross` that is no tax where the tax is within, rounded half up to the cent."""
    with localcontext() as context:
        context.prec = _DIGITS
        return rounded(decimal_of(gross) / (1 + percent.scaleb(-2)), 2)


def to_the_cent(amount: int) -> int:
    """An amount in millionths, rounded half up to the cent."""
    return rounded(decimal_of(amount), 2)


def decimal_of(amount: int) -> Decimal:
    """Millionths as an exact decimal."""
    return Decimal(amount).scaleb(-PLACES_MAX)


def millionths(amount: Decimal) -> int:
    """The other way. Raises ValueError where it has more than six places."""
    scaled = amount.scaleb(PLACES_MAX)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"at most {PLACES_MAX} decimals")
    return int(scaled)


def text_of(amount: int) -> str:
    """An amount in millionths as people write it: `-12.30`, with two places or as many as it needs."""
    whole, rest = divmod(abs(amount), _MILLION)
    places = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{whole}.{places}"
