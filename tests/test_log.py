"""The log: no telephone number leaves the process, and identifiers survive."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ids import new_call_id
from xiaohao.ids import new_id
from xiaohao.log import hide_numbers, where


def logged(**event: Any) -> str:
    return str(hide_numbers(None, "info", event))


@pytest.mark.parametrize(
    "spelling",
    ["+8613812345678", "8613812345678", "13812345678", "013812345678", "008613812345678", "01062345678"],
)
def test_a_number_is_masked_wherever_it_stands(spelling: str) -> None:
    for text in (spelling, f"sip:{spelling}@10.0.0.1:5060", f"caller={spelling}, busy", f'"{spelling}"'):
        assert spelling not in logged(error=text)
        assert spelling not in logged(errors=[text], more={"inner": (text,)})


@given(st.uuids())
def test_identifiers_survive(uuid: object) -> None:
    for name in (str(uuid), new_call_id(), new_id("cus"), f"evt_{str(uuid).replace('-', '')}03"):
        assert name in logged(call_id=name, event="something happened")


def test_the_place_of_an_error_is_told_without_its_words() -> None:
    try:
        int("13812345678x")
    except ValueError as error:
        assert where(error).startswith("test_log.py:")
    assert where(ValueError("never raised")) == ""
