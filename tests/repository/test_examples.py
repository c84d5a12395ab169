"""The examples in the guides are run as they are printed, against the real web process."""

import base64
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.repository.files import blocks, read

from xiaohao.simulator.stage import free_ports

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A web process on an empty database: its address and an operator's key."""
    address = f"127.0.0.1:{free_ports('127.0.0.1', 1)[0]}"
    config = tmp_path / "xiaohao.toml"
    config.write_text(f'[web]\nlisten = "{address}"\n')

    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "xiaohao.cli", *arguments, "--config", str(config)]

    key = subprocess.run(command("key", "create", "--operator"), capture_output=True, text=True, check=True)
    with (tmp_path / "web.log").open("w") as log:
        web = subprocess.Popen(command("web"), stderr=log)
    try:
        until_it_answers(f"http://{address}/readyz")
        yield f"http://{address}", key.stdout.strip()
    finally:
        web.terminate()
        web.wait(timeout=60)


def until_it_answers(url: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            assert time.monotonic() < deadline, "the web process does not answer"
            time.sleep(0.05)


def run(pages: list[str], api: tuple[str, str], folder: Path) -> str:
    """Run the `bash` blocks of pages in one shell, in which any refusal by the API is an error."""
    script = "\n".join(block for page in pages for block in blocks(read(page), "bash"))
    # As printed, but for curl: it must fail on an error status and say which.
    wrapped = 'set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n' + script
    done = subprocess.run(
        ["bash"],
        input=wrapped,
        cwd=folder,
        env={**os.environ, "API": api[0], "OPERATOR": api[1]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout[-500:]
    return done.stdout


def test_from_the_demo_to_your_own_trunk_and_the_integrators_guide(
    api: tuple[str, str], tmp_path: Path
) -> None:
    out = run(["README.md", "docs/integrators.md", "docs/events.md"], api, tmp_path)
    assert '"dial":"+861062000003"' in out
    assert '"b":"+8613900000002"' in out


def test_the_operators_guide(api: tuple[str, str], tmp_path: Path) -> None:
    out = run(["docs/operators.md"], api, tmp_path)
    assert '"channels":60' in out
    assert '"state":"suspended"' in out


def verify() -> Any:
    names: dict[str, Any] = {}
    (code,) = blocks(read("docs/integrators.md"), "python")
    exec(code, names)
    return names["verify"]


def signed(body: bytes, at: datetime) -> dict[str, str]:
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": "v1,other " + Webhook(SECRET).sign("evt_1", at, body.decode()),
    }


def test_the_guide_accepts_what_the_platform_signs() -> None:
    body = b'{"type":"call.answered"}'
    verify()(SECRET, signed(body, datetime.now(UTC)), body)


@pytest.mark.parametrize("spoilt", ["body", "id", "secret", "time"])
def test_the_guide_refuses_what_the_platform_did_not_sign(spoilt: str) -> None:
    body = b'{"type":"call.answered"}'
    at = datetime.now(UTC) if spoilt != "time" else datetime(2026, 1, 1, tzinfo=UTC)
    headers, secret = signed(body, at), SECRET
    if spoilt == "body":
        body += b" "
    if spoilt == "id":
        headers["webhook-id"] = "evt_2"
    if spoilt == "secret":
        secret = "whsec_" + base64.b64encode(bytes(31) + b"\1").decode()
    with pytest.raises(ValueError, match=r"not signed|too old"):
        verify()(secret, headers, body)
