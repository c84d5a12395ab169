"""A small client of rtpengine's ng protocol (bencode over UDP), and rtpengine on an address of its own."""

import itertools
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_cookies = itertools.count(1)


def encode(value: Any) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        text = value.encode()
        return b"%d:%s" % (len(text), text)
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    return b"d" + b"".join(encode(key) + encode(item) for key, item in value.items()) + b"e"


def decode(data: bytes, at: int = 0) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = decode(data, at)
            items.append(item)
        return (items if kind == b"l" else dict(zip(items[::2], items[1::2], strict=True))), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode(errors="replace"), end


class Rtpengine:
    """rtpengine recording into `captures`; `ng(command, key=value…)` talks to it."""

    def __init__(self, captures: Path, log: Path) -> None:
        binary = shutil.which("rtpengine")
        assert binary, "rtpengine is missing: apt-get install rtpengine-daemon"
        captures.mkdir(parents=True, exist_ok=True)
        self.captures = captures
        # An address of its own: nobody else's ports can be in the way.
        self.address = f"127.{random.randrange(64, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [
                *(
                    binary,
                    "--foreground",
                    "--log-stderr",
                    "--no-fallback",
                    "--table=-1",
                    "--config-file=none",
                ),
                *(f"--interface={self.address}", f"--listen-ng={self.address}:2223"),
                *("--port-min=20000", "--port-max=29999", "--num-threads=2", "--log-level=6"),
                *("--delete-delay=0", "--recording-method=pcap", "--recording-format=eth"),
                *(f"--recording-dir={captures}", f"--pidfile={log}.pid"),
            ],
            stderr=self._log,
            cwd=log.parent,  # version 10.5 may crash when it is stopped, and leave a core file
        )
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((self.address, 2223))
        self._socket.settimeout(0.2)
        self._await_pong()

    def _await_pong(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                answer = self.ng("ping")
            except OSError:
                assert time.monotonic() < deadline, "rtpengine does not answer"
                time.sleep(0.02)
            else:
                assert answer["result"] == "pong"
                return

    def ng(self, command: str, **arguments: Any) -> dict[str, Any]:
        cookie = b"%d" % next(_cookies)
        message = {"command": command} | {key.replace("_", "-"): value for key, value in arguments.items()}
        self._socket.send(cookie + b" " + encode(message))
        while True:
            answer = self._socket.recv(65535)
            if answer.startswith(cookie + b" "):
                return decode(answer, len(cookie) + 1)[0]

    def sdp(self, command: str, sender: str, sdp: str, call_id: str, *, label: bool = True) -> int:
        """An offer or answer written by side `sender`; gives back the port for the other side to send to."""
        receiver = "b" if sender == "a" else "a"
        tags = {"from-tag": sender, "to-tag": receiver}
        if command == "answer":
            tags = {"from-tag": receiver, "to-tag": sender}
        reply = self.ng(
            command,
            **{"call-id": call_id, "record-call": "on", "metadata": call_id, "sdp": sdp},
            **tags,
            **({"label": sender} if label else {}),
        )
        assert reply["result"] == "ok", reply
        found = re.search(r"m=audio (\d+)", reply["sdp"])
        assert found
        return int(found[1])

    def delete(self, call_id: str) -> None:
        assert self.ng("delete", call_id=call_id)["result"] == "ok"

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        self._socket.close()
        self._log.close()


@contextmanager
def rtpengine(folder: Path) -> Iterator[Rtpengine]:
    engine = Rtpengine(folder / "captures", folder / "rtpengine.log")
    try:
        yield engine
    finally:
        engine.close()
