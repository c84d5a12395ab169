"""What is published of the contract is what the code does: the schema, and the endpoint to be run."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.repository.files import ROOT, blocks, read
from xiaohao.outgoing.network import Network
from xiaohao.routing import wire
from xiaohao.routing.asking import Asked, Desk
from xiaohao.routing.fairness import Places
from xiaohao.routing.model import Connect, Queue, RefusalReason, Refuse, Terms, Verdict
from xiaohao.simulator.stage import free_ports

SECRET = "whsec_" + "YSBzZWNyZXQgb2YgdGhlIHJvdXRpbmcgdGVzdHM="
SCHEMA = json.loads(read("docs/routing.schema.json"))
ANSWER = jsonschema_rs.validator_for({**SCHEMA["properties"]["answer"], "$defs": SCHEMA["$defs"]})
QUESTION = jsonschema_rs.validator_for({"$ref": "#/$defs/Question", "$defs": SCHEMA["$defs"]})

_WORDS = ["", "busy", "default", "+8613800000001", "x" * 101, "a\0b"]
_TEXT = st.one_of(st.text(max_size=6), st.sampled_from(_WORDS))
_VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 90_000), _TEXT, st.dictionaries(_TEXT, _TEXT, max_size=2),
    st.dictionaries(st.sampled_from(["to_caller", "ringing"]), _TEXT, max_size=2),
)  # fmt: skip
_ANSWERS = st.fixed_dictionaries(
    {"action": st.sampled_from(["connect", "announce", "queue", "refuse", "other"])},
    optional=dict.fromkeys(
        ("callee", "display", "prompt", "queue", "reason", "record", "max_duration_s", "prompts", "user_data",
         "order_ref", "extra", "retry_after_s", "max_wait_s", "music", "otherwise", "otherwise_prompt"),
        _VALUE,
    ),
)  # fmt: skip


def test_the_schema_is_what_the_code_says() -> None:
    assert wire.schema() == SCHEMA


# the first text that is drawn in a new folder takes a second: that says nothing about the contract
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_ANSWERS)
def test_the_schema_takes_what_the_code_takes(answer: dict[str, Any]) -> None:
    try:
        wire.read_answer(json.dumps(answer).encode())
    except wire.NotUnderstood:
        taken = False
    else:
        taken = True
    assert ANSWER.is_valid(answer) == taken


def test_the_examples_on_the_page() -> None:
    question, *answers = (json.loads(block) for block in blocks(read("docs/routing.md"), "json"))
    QUESTION.validate(question)
    assert {type(wire.read_answer(json.dumps(one).encode())).__name__ for one in answers} == {
        "Connect", "Announce", "Queue", "Refuse",
    }  # fmt: skip
    data = wire.QuestionData(**question["data"])
    name, text = wire.question(data, 1_795_403_038_123_000)
    assert name == question["id"]
    assert json.loads(text).keys() == question.keys()
    assert json.loads(text)["data"] == question["data"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "the text is not JSON"),
        (b"<html>", "the text is not JSON"),
        (b"\xff", "the text is not JSON"),
        (b'{"action": "connect", "callee": "\xff\xff\xff"}', "the text is not UTF-8"),
        (b'{"action": ' * 10_000, "the text is not JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "Object missing required field `action`"),
        (b'{"action": "13800138000"}', "Invalid value '…' - at `$.action`"),
        (b'{"action": "refuse", "reason": "13800138000"}', "Invalid enum value '…' - at `$.reason`"),
        (b'{"action": "refuse", "138-0013-8000": 1}', "Object contains unknown field `…`"),
        (b'{"action": "connect", "callee": 13800138000}', "Expected `str`, got `int` - at `$.callee`"),
    ],
)
def test_what_is_not_understood_is_said_without_any_number(body: bytes, problem: str) -> None:
    with pytest.raises(wire.NotUnderstood) as raised:
        wire.read_answer(body)
    assert str(raised.value) == problem


@contextmanager
def running(*command: str) -> Iterator[None]:
    """A process that lives as long as this block."""
    with subprocess.Popen(command, env={**os.environ, "SECRET": SECRET}) as process:
        try:
            yield
        finally:
            process.terminate()


async def ask(url: str, secret: str, caller: str) -> Asked:
    """Ask there about a call, as soon as somebody listens."""
    data = wire.QuestionData("c", caller, "+861062000001", "", None, None, 5000)
    async with asyncio.timeout(60):
        while True:
            network = Network(allow_private=True)
            desk = Desk("cus_1", Terms(secret, url, deadline_ms=5000), network, Places(1))
            asked = await desk.ask(*wire.question(data, 0), 5.0)
            desk.close()
            network.close()
            if asked.verdict is not Verdict.NO_CONNECTION:
                return asked
            await asyncio.sleep(0.05)


async def test_the_endpoint_that_is_ready_to_be_run(tmp_path: Path) -> None:
    ways = tmp_path / "ways"
    ways.write_text("+8613800000001 +861062000001 +8613900000002 +8617000000001\n")
    (port,) = free_ports("127.0.0.1", 1)
    url = f"http://127.0.0.1:{port}/"
    with running(sys.executable, str(ROOT / "docs/examples/router.py"), str(port), str(ways)):
        known = await ask(url, SECRET, "+8613800000001")
        assert known.answer == Connect("+8613900000002", "+8617000000001")
        unknown = await ask(url, SECRET, "+8613800000009")
        assert unknown.answer == Refuse(RefusalReason.UNKNOWN_NUMBER)
        ways.write_text("+8613800000001 +861062000001 wait\n")
        waits = await ask(url, SECRET, "+8613800000001")
        assert waits.answer == Queue("drivers", retry_after_s=3, max_wait_s=90)
        forged = await ask(url, "whsec_" + "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=", "+8613800000001")
        assert (forged.verdict, forged.last and forged.last.status) == (Verdict.BAD_STATUS, 401)
