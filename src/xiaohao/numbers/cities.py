"""Chinese cities by their area codes: what `cities.csv` beside this module says.

The table was put together by hand and with the geographic data of the library `phonenumbers` (Apache-2.0,
from Google's libphonenumber), against which the tests hold every line. A code that several cities share is
under the name of the largest, with the others in `also`; `capital` is the code of the province's capital.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class City:
    """A city, or a prefecture: `code` without the leading 0, names in Chinese and in English."""

    code: str
    name: str
    name_en: str
    province: str
    province_en: str
    capital: str
    also: tuple[str, ...]


@cache
def cities() -> dict[str, City]:
    """All cities by area code."""
    text = (resources.files("xiaohao.numbers") / "cities.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return {row["code"]: City(**{**row, "also": tuple(row["also"].split())}) for row in rows}  # type: ignore[arg-type]


def city_name(code: str) -> str | None:
    """The Chinese name of the city with this area code; None where there is none."""
    city = cities().get(code)
    return None if city is None else city.name


def capital_of(code: str) -> str | None:
    """The area code of the capital of this city's province; None where there is no such city."""
    city = cities().get(code)
    return None if city is None else city.capital


def area_code(text: str) -> str | None:
    """The area code that a person means by `010`, `10`, `北京`, `北京市` or `Beijing`; None: unknown, or not
    clear (there are two cities called Suzhou in English, and one 苏州).
    """
    wanted = text.strip()
    if wanted.isascii() and wanted.isdigit():
        code = wanted.removeprefix("0")
        return code if code in cities() else None
    return _by_name().get(wanted.removesuffix("市").casefold())


@cache
def _by_name() -> dict[str, str]:
    names = [
        (name.casefold(), city.code)
        for city in cities().values()
        for name in (city.name, city.name_en, *city.also)
    ]
    how_many = Counter(name for name, _ in names)
    return {name: code for name, code in names if how_many[name] == 1}
