"""rtpengine's ng protocol: bencoded dictionaries over UDP, each behind a cookie that its answer repeats."""

import itertools
import secrets
from typing import Any

from xiaohao.edge.datagram import Exchange


class NgError(Exception):
    """rtpengine did not answer, or answered what cannot be read."""


def encode(value: Any) -> bytes:
    """Bencode integers, texts, lists and dictionaries."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        raw = value.encode()
        return b"%d:%b" % (len(raw), raw)
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, dict):
        return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"
    raise TypeError(f"{type(value).__name__} cannot be bencoded")


def decode(data: bytes) -> Any:
    """The value of a whole bencoded text. Raises NgError."""
    try:
        value, end = _value(data, 0)
    except (ValueError, IndexError) as error:
        raise NgError("not bencoded") from error
    if end != len(data):
        raise NgError("not bencoded")
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    head = data[at : at + 1]
    if head == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if head == b"l":
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = _value(data, at)
            items.append(item)
        return items, at + 1
    if head == b"d":
        found, at = {}, at + 1
        while data[at : at + 1] != b"e":
            key, at = _value(data, at)
            found[key], at = _value(data, at)
        return found, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise ValueError("too short")
    return data[colon + 1 : end].decode("utf-8", "replace"), end


def _cookie_of(data: bytes) -> str:
    return data.partition(b" ")[0].decode("latin-1")


class Ng:
    """Sends commands to one rtpengine."""

    def __init__(self, address: str, patience_s: float = 1.0) -> None:
        self._exchange = Exchange(address, _cookie_of, patience_s)
        # rtpengine answers a cookie that it has seen with what it said then, also to the next process
        life = secrets.token_hex(6)
        self._cookies = (f"{life}{number}" for number in itertools.count(1))

    async def command(self, name: str, **parameters: Any) -> dict[str, Any]:
        """The answer's dictionary; its `result` is `ok`, `pong` or `error`. Raises NgError."""
        cookie = next(self._cookies)
        body = encode({"command": name} | {key.replace("_", "-"): value for key, value in parameters.items()})
        try:
            data = await self._exchange.ask(cookie, cookie.encode() + b" " + body)
        except TimeoutError:
            raise NgError(f"{name}: no answer from rtpengine") from None
        answer = decode(data.partition(b" ")[2])
        if not isinstance(answer, dict):
            raise NgError(f"{name}: not a dictionary")
        return answer

    def close(self) -> None:
        """Give the socket back."""
        self._exchange.close()
