"""The end of an edge that is stopped alone: its switch is told, and ends every call."""

import time
from typing import Final

from xiaohao.edge.rpc import Rpc, RpcError
from xiaohao.edge.wire import BYE_HEARD_AFTER_S

#: hash table and key under which Kamailio finds every second that it is to stop (config/answered.cfg)
_TABLE: Final = "load"
_KEY: Final = "stopping"


class Farewell:
    """Asked again and again until it says that nobody is left who would be connected with nobody."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        #: when calls were seen last; a moment of the clock that is never set
        self._called_at = float("-inf")

    async def __call__(self) -> bool:
        """Whether no call is left and everybody has been told; also where Kamailio says nothing any more."""
        try:
            tables = await self._rpc.call("htable.stats")
            if any(table["name"] == "c" and table["all"] for table in tables or ()):
                self._called_at = time.monotonic()
                await self._rpc.call("htable.seti", _TABLE, _KEY, 1)
        except RpcError:
            return True
        return time.monotonic() - self._called_at > BYE_HEARD_AFTER_S
