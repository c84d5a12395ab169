"""Kamailio's JSON-RPC over UDP on loopback."""

import itertools
from typing import Any

import msgspec

from xiaohao.edge.datagram import Exchange


class RpcError(Exception):
    """Kamailio refused a command or did not answer; names the command, never its parameters.

    `said` is why it refused, in its own words.
    """

    def __init__(self, text: str, said: str = "") -> None:
        super().__init__(text)
        self.said = said


class _Answer(msgspec.Struct):
    id: int = -1
    result: Any = None
    error: dict[str, Any] | None = None


def _id_of(data: bytes) -> str | None:
    try:
        return str(msgspec.json.decode(data, type=_Answer).id)
    except msgspec.DecodeError:
        return None


class Rpc:
    """Calls commands of Kamailio's; each waits `patience_s` at the most."""

    def __init__(self, address: str, patience_s: float = 2.0) -> None:
        self._exchange = Exchange(address, _id_of, patience_s)
        self._ids = itertools.count(1)

    async def call(self, method: str, *parameters: Any) -> Any:
        """The result of a command. Raises RpcError."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": number}
        try:
            data = await self._exchange.ask(str(number), msgspec.json.encode(request))
        except TimeoutError:
            raise RpcError(f"{method}: no answer from Kamailio") from None
        answer = msgspec.json.decode(data, type=_Answer)
        if answer.error is not None:
            said = str(answer.error.get("message", ""))
            raise RpcError(f"{method}: refused with code {answer.error.get('code')}", said)
        return answer.result

    def close(self) -> None:
        """Give the socket back."""
        self._exchange.close()
