"""Every reason is explained to those who read CDRs."""

import re
from pathlib import Path

import pytest

from xiaohao.calls.model import Reason
from xiaohao.switch.causes import REFUSALS

PAGE = (Path(__file__).parents[2] / "docs" / "reason-codes.md").read_text()
ROW = re.compile(r"^\| `([a-z_0-9]+)` \| (.+?) \| (yes|later|no) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = {row[1]: row for row in ROW.finditer(PAGE)}


def test_the_page_explains_the_reasons_there_are_and_no_others() -> None:
    assert sorted(ROWS) == sorted(Reason)
    assert len(ROWS) == len(ROW.findall(PAGE))


@pytest.mark.parametrize("reason", list(Reason))
def test_each_is_explained_in_two_languages(reason: Reason) -> None:
    _, _, _, english, chinese = ROWS[reason].groups()
    assert len(english.split()) >= 3 and english.isascii()
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) >= 3


@pytest.mark.parametrize("reason", list(REFUSALS))
def test_refusals_are_told_as_the_page_says(reason: Reason) -> None:
    refusal = REFUSALS[reason]
    assert ROWS[reason][2] == f"{refusal.sip_code}, {refusal.q850_cause}"
