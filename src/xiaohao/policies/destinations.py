"""Whom it costs much to call: other countries' numbers, premium rates, satellites.

Types of numbers come from the library phonenumbers (its metadata are Google's libphonenumber's, made from the
national numbering plans). Codes without a country are those of ITU-T E.164 (list of assigned country codes,
Annex to ITU Operational Bulletin No. 1114): 870 Inmarsat, 881 and 882, 883 satellite and international
networks, 979 international premium rate.
"""

from functools import lru_cache
from typing import Final

import phonenumbers

_GLOBAL: Final = ("+870", "+881", "+882", "+883", "+979")
_DEAR: Final = (phonenumbers.PhoneNumberType.PREMIUM_RATE,)


@lru_cache(maxsize=65_536)
def is_premium(number: str) -> bool:
    """Whether a call to this canonical number costs more than one to its country."""
    if number.startswith(_GLOBAL):
        return True
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.number_type(parsed) in _DEAR
