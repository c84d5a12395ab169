"""Numbers in carriers' spellings."""

import pytest

from xiaohao.simulator.spelling import Spelling, find_number, same_number, spell

MOBILE, LANDLINE, SERVICE, FOREIGN = "+8613800000001", "+861062000001", "+864001234567", "+14155550100"


@pytest.mark.parametrize(
    ("number", "form", "text"),
    [
        (MOBILE, Spelling.E164, "+8613800000001"),
        (MOBILE, Spelling.DIGITS, "8613800000001"),
        (MOBILE, Spelling.ZERO, "013800000001"),
        (MOBILE, Spelling.NATIONAL, "13800000001"),
        (MOBILE, Spelling.ZERO_EXCEPT_MOBILE, "13800000001"),
        (MOBILE, Spelling.DOUBLE_ZERO, "008613800000001"),
        (LANDLINE, Spelling.ZERO, "01062000001"),
        (LANDLINE, Spelling.NATIONAL, "1062000001"),
        (LANDLINE, Spelling.ZERO_EXCEPT_MOBILE, "01062000001"),
        (SERVICE, Spelling.ZERO, "4001234567"),
        (FOREIGN, Spelling.ZERO, "0014155550100"),
        (FOREIGN, Spelling.DIGITS, "14155550100"),
        ("1234", Spelling.ZERO, "1234"),
    ],
)
def test_spell(number, form, text):
    assert spell(number, form) == text


@pytest.mark.parametrize("number", [MOBILE, LANDLINE, SERVICE, FOREIGN, "+8695188"])
@pytest.mark.parametrize("form", list(Spelling))
def test_every_spelling_is_found_again(number, form):
    book = {each: each for each in (MOBILE, LANDLINE, SERVICE, FOREIGN, "+8695188")}
    assert find_number(spell(number, form), book) == number


def test_technical_prefix_and_strangers():
    book = {MOBILE: 1, LANDLINE: 2}
    assert find_number("990113800000001", book) == 1
    assert find_number("13800000002", book) is None
    assert find_number("", book) is None
    assert not same_number("anonymous", MOBILE)
    assert same_number("013800000001", MOBILE)
