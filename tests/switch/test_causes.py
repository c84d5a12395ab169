"""Every end has its reason, SIP code and Q.850 cause, and the documentation knows them all."""

from pathlib import Path

import pytest

from xiaohao.bindings.recognition import Outcome
from xiaohao.calls.model import Reason
from xiaohao.switch.causes import REFUSALS, not_answered


def test_every_outcome_that_refuses_has_its_refusal() -> None:
    for outcome in Outcome:
        if outcome is not Outcome.CONNECT:
            assert Reason(outcome.value) in REFUSALS


def test_refusals_are_final_failures() -> None:
    for refusal in REFUSALS.values():
        assert 400 <= refusal.sip_code < 700
        assert 1 <= refusal.q850_cause <= 127
        assert "|" not in refusal.phrase


@pytest.mark.parametrize(
    ("sip_code", "cause", "reason", "told"),
    [
        (486, None, Reason.CALLEE_BUSY, 17),
        (600, 17, Reason.CALLEE_BUSY, 17),
        (480, 19, Reason.CALLEE_NO_ANSWER, 19),
        (480, None, Reason.CALLEE_UNREACHABLE, 18),
        (480, 17, Reason.CALLEE_BUSY, 17),
        (404, None, Reason.CALLEE_NUMBER_INVALID, 1),
        (403, None, Reason.CALLEE_REJECTED, 21),
        (503, None, Reason.TRUNK_FAILURE, 41),
        (503, 17, Reason.TRUNK_FAILURE, 17),
        (408, None, Reason.TRUNK_FAILURE, 102),
        (499, None, Reason.CALLEE_UNREACHABLE, 31),
        (0, None, Reason.CALLEE_UNREACHABLE, 31),
        (486, 127, Reason.CALLEE_BUSY, 127),
    ],
)
def test_not_answered(sip_code: int, cause: int | None, reason: Reason, told: int) -> None:
    assert not_answered(sip_code, cause) == (reason, told)


def test_every_code_gives_a_reason() -> None:
    for sip_code in range(300, 700):
        reason, cause = not_answered(sip_code, None)
        assert reason.value
        assert 1 <= cause <= 127


def test_every_reason_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reason-codes.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in text] == []
