"""Every spelling of a number leads to one canonical form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.numbers.model import Kind, NumberForm, canonical, city_of, kind_of, spell

MOBILE = st.from_regex(r"\+861[3-9][0-9]{9}", fullmatch=True)
CAPITAL = st.from_regex(r"\+86(10|2[0-57-9])[2-8][0-9]{7}", fullmatch=True)
LANDLINE = st.builds(
    "+86{}{}".format,
    st.sampled_from(["755", "571", "311", "431", "592", "731", "851", "898", "951", "991", "701", "379"]),
    st.from_regex(r"[2-8][0-9]{6,7}", fullmatch=True),
)
SERVICE = st.from_regex(r"\+86[48]00[0-9]{7}", fullmatch=True)
SHORT = st.from_regex(r"\+8695[0-9]{3,6}", fullmatch=True)
PROTECTION = st.from_regex(r"\+86700[0-9]{12}", fullmatch=True)
CHINESE = st.one_of(MOBILE, CAPITAL, LANDLINE, SERVICE, SHORT, PROTECTION)
FOREIGN = st.one_of(
    st.from_regex(r"\+852[69][1-8][0-9]{6}", fullmatch=True).filter(lambda n: canonical(n) == n),
    st.from_regex(r"\+1212[2-9][0-9]{6}", fullmatch=True).filter(lambda n: canonical(n) == n),
    st.from_regex(r"\+44207[0-9]{7}", fullmatch=True).filter(lambda n: canonical(n) == n),
)


@given(CHINESE, st.sampled_from(NumberForm))
def test_what_is_spelled_is_read_back(number: str, form: NumberForm) -> None:
    assert canonical(spell(number, form)) == number


@given(FOREIGN, st.sampled_from([form for form in NumberForm if form is not NumberForm.DIGITS]))
def test_numbers_of_other_countries_are_read_back(number: str, form: NumberForm) -> None:
    assert canonical(spell(number, form)) == number
    assert kind_of(number) is Kind.FOREIGN
    assert city_of(number) is None


@given(CHINESE, st.sampled_from(["+86", "0086", "86", "+860", "00860", ""]))
def test_every_prefix_a_carrier_writes_is_understood(number: str, prefix: str) -> None:
    assert canonical(prefix + number.removeprefix("+86")) == number


@given(st.text(max_size=30))
def test_reading_twice_changes_nothing(text: str) -> None:
    number = canonical(text)
    assert number is None or canonical(number) == number


@given(st.text(alphabet="+0123456789 -.();ext=,#*", max_size=25))
def test_only_canonical_forms_come_out(text: str) -> None:
    number = canonical(text)
    if number is not None:
        assert number[0] == "+"
        assert number[1:].isascii() and number[1:].isdigit()
        assert kind_of(number) in Kind


@pytest.mark.parametrize(
    ("text", "number", "kind", "city"),
    [
        ("13800000001", "+8613800000001", Kind.MOBILE, None),
        ("013800000001", "+8613800000001", Kind.MOBILE, None),
        ("8613800000001", "+8613800000001", Kind.MOBILE, None),
        ("+86 138-0000-0001", "+8613800000001", Kind.MOBILE, None),
        ("+86013800000001", "+8613800000001", Kind.MOBILE, None),
        ("01062000001", "+861062000001", Kind.LANDLINE, "10"),
        ("1062000001", "+861062000001", Kind.LANDLINE, "10"),
        ("(010) 6200 0001", "+861062000001", Kind.LANDLINE, "10"),
        ("861062000001", "+861062000001", Kind.LANDLINE, "10"),
        ("02161234567", "+862161234567", Kind.LANDLINE, "21"),
        ("075588880001", "+8675588880001", Kind.LANDLINE, "755"),
        ("75588880001", "+8675588880001", Kind.LANDLINE, "755"),
        ("04178880001", "+864178880001", Kind.LANDLINE, "417"),
        ("4001234567", "+864001234567", Kind.SERVICE_400, None),
        ("8008101234", "+868008101234", Kind.SERVICE_400, None),
        ("95188", "+8695188", Kind.SHORT_95, None),
        ("95013123", "+8695013123", Kind.SHORT_95, None),
        ("700123456789012", "+86700123456789012", Kind.PROTECTION_700, None),
        ("0085261234567", "+85261234567", Kind.FOREIGN, None),
        ("１３８００000001", "+8613800000001", Kind.MOBILE, None),
        ("＋８６ 10 6200 0001", "+861062000001", Kind.LANDLINE, "10"),
        ("tel:+8613800000001", "+8613800000001", Kind.MOBILE, None),
        ("TEL:+86-(10)-6200.0001;cpc=ordinary", "+861062000001", Kind.LANDLINE, "10"),
        ("tel:+852-6123-4567", "+85261234567", Kind.FOREIGN, None),
    ],
)
def test_examples(text: str, number: str, kind: Kind, city: str | None) -> None:
    assert canonical(text) == number
    assert kind_of(number) is kind
    assert city_of(number) == city


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "anonymous", "Anonymous", "unavailable", "unknown", "restricted", "Coverage"),
        *("tel:13800000001", "tel:+8613800000001;ext=5", "tel:+8613800000001;phone-context=+86", "tel:"),
        *("tel:tel:+8613800000001", "sip:+8613800000001@x", "²3800000001", "Ⅰ3800000001"),
        *("13800000001,5", "13800000001;ext=5", "13800000001x5", "13800000001#", "*57"),
        *("1380000000", "138000000011", "12800000001", "62000001", "10086", "110", "01062", "85261234567"),
        *("70012345678901", "7001234567890123", "40012345678", "9512", "951234567", "+1", "++8613800000001"),
        *("1" * 39, "+86" + "1" * 1000, "٠١٢٣٤٥٦٧٨٩", "+999123456789"),
    ],
)
def test_what_identifies_nobody(text: str) -> None:
    assert canonical(text) is None


def test_forms_of_a_mobile_and_of_a_landline() -> None:
    mobile = [spell("+8613800000001", form) for form in NumberForm]
    assert mobile == ["+8613800000001", "8613800000001", "013800000001", "13800000001", "13800000001"]
    landline = [spell("+861062000001", form) for form in NumberForm]
    assert landline == ["+861062000001", "861062000001", "01062000001", "1062000001", "01062000001"]
    assert spell("+864001234567", NumberForm.ZERO) == "4001234567"
    assert spell("+85261234567", NumberForm.NATIONAL) == "0085261234567"


def test_national_numbers_of_another_region() -> None:
    assert canonical("02079460018", "GB") == "+442079460018"
    assert canonical("+8613800000001", "GB") == "+8613800000001"
    assert canonical("008613800000001", "GB") == "+8613800000001"


@pytest.mark.parametrize("text", ["13800000001", "+86123", ""])
def test_only_canonical_numbers_have_a_kind(text: str) -> None:
    with pytest.raises(ValueError):
        kind_of(text)
