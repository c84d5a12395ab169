"""Kamailio's JSON-RPC over UDP on loopback."""

import asyncio
import itertools
from typing import Any

import msgspec

from xiaohao.settings import host_port


class RpcError(Exception):
    """Kamailio refused a command or did not answer; names the command, never its parameters."""


class _Answers(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            answer = msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.DecodeError:
            return
        waiting = self.waiting.get(answer.get("id", -1))
        if waiting and not waiting.done():
            waiting.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        pass  # Kamailio is away: the call runs into its time limit


class Rpc:
    """Calls commands of Kamailio's; each waits `patience_s` at the most."""

    def __init__(self, address: str, patience_s: float = 2.0) -> None:
        self._address, self._patience_s = host_port(address), patience_s
        self._ids = itertools.count(1)
        self._answers = _Answers()
        self._transport: asyncio.DatagramTransport | None = None

    async def call(self, method: str, *parameters: Any) -> Any:
        """The result of a command. Raises RpcError."""
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: self._answers, remote_addr=self._address
            )
        number = next(self._ids)
        waiting = self._answers.waiting[number] = asyncio.get_running_loop().create_future()
        request = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": number}
        try:
            self._transport.sendto(msgspec.json.encode(request))
            answer = await asyncio.wait_for(waiting, self._patience_s)
        except TimeoutError:
            raise RpcError(f"{method}: no answer from Kamailio") from None
        finally:
            del self._answers.waiting[number]
        if "error" in answer:
            raise RpcError(f"{method}: refused with code {answer['error'].get('code')}")
        return answer.get("result")

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.close()
