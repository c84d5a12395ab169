"""The log: no telephone number leaves the process, and identifiers survive."""

import json
import subprocess
import sys
from pathlib import Path
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


_LIBRARY_LOGS = """
import logging
from xiaohao import log
log.configure("info")
logging.getLogger("uvicorn.error").info("started")
logging.getLogger("uvicorn.error").warning("Invalid HTTP request for %s", "13812345678")
try:
    int("13812345678x")
except ValueError:
    logging.getLogger("aiohttp.server").exception("it failed")
"""


def test_what_libraries_log_comes_in_our_form() -> None:
    ran = subprocess.run([sys.executable, "-c", _LIBRARY_LOGS], capture_output=True, text=True, check=True)
    warning, failure = (json.loads(line) for line in ran.stderr.splitlines())
    assert (warning["level"], warning["library"]) == ("warning", "uvicorn.error")
    assert warning["said"] == "Invalid HTTP request for 138****78"
    assert (failure["level"], failure["error"]) == ("error", "ValueError")
    assert failure["where"].startswith("<string>:")
    assert "12345678" not in ran.stderr


_LOGS = """
import structlog
from xiaohao import log
log.configure("info")
for place in range(3):
    structlog.get_logger().warning("something happened", place=place)
print("goes on")
"""


def test_who_logs_goes_on_where_the_log_cannot_be_written() -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run([sys.executable, "-c", _LOGS], stdout=subprocess.PIPE, stderr=full, text=True)
    assert ran.stdout == "goes on\n"
