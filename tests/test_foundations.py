"""Clock and identifiers."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.clock import now_us, parse_rfc3339, rfc3339, rfc3339_local
from xiaohao.ids import new_id
from xiaohao.randomness import random_bytes

MOMENTS = st.integers(min_value=0, max_value=253_402_300_799_999_999)


def test_a_known_moment_reads_as_it_should() -> None:
    us = 1_795_403_045_678_901
    assert rfc3339(us) == "2026-11-23T03:04:05.678Z"
    assert rfc3339_local(us) == "2026-11-23T11:04:05.678+08:00"


@given(MOMENTS)
def test_both_spellings_are_the_moment_to_the_millisecond(us: int) -> None:
    moment = us // 1000 * 1000
    assert parse_rfc3339(rfc3339(us)) == moment
    # China is in the next day, which after the year 9999 no calendar of ours has.
    if us < 253_402_200_000_000_000:
        assert parse_rfc3339(rfc3339_local(us)) == moment


@pytest.mark.parametrize("text", ["", "soon", "2026-11-23", "2026-11-23T03:04:05", "2026-11-23 03:04:05Z"])
def test_what_is_not_a_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_the_clock_is_the_machine_s() -> None:
    assert abs(now_us() - datetime.now(UTC).timestamp() * 1e6) < 5e6


def test_identifiers_name_their_kind_and_differ() -> None:
    ids = {new_id("bnd") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"bnd_[0-9a-f]{32}", made) for made in ids)


def test_random_bytes_are_given_once() -> None:
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda _: random_bytes(12), range(2000)))
    assert len({len(one) for one in drawn}) == 1
    assert len(set(drawn)) == len(drawn)


def test_a_forked_process_has_random_bytes_of_its_own() -> None:
    random_bytes(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, random_bytes(16))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 16)
    for end in (reading, writing):
        os.close(end)
    assert theirs not in [random_bytes(16) for _ in range(600)]
