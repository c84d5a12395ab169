"""The memory that the edge's processes share: calls that talk must be able to go on."""

from typing import Final

import structlog

from xiaohao.edge.rpc import Rpc
from xiaohao.switch import metrics

_log = structlog.get_logger()

#: it is short where no more is free than this, or than many calls take until the next look
_LEAST_PART: Final = 0.1
_LEAST_BYTES: Final = 2**25


class EdgeMemory:
    """How much of it is left."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.is_short = False

    async def look(self) -> bool:
        """Whether it has become short, or is not any more, since the last look. Raises RpcError."""
        told = await self._rpc.call("core.shmmem")
        total, free = told["total"], told["free"]
        metrics.EDGE_MEMORY_FREE.set(free / total)
        least = min(max(total * _LEAST_PART, _LEAST_BYTES), total / 2)
        if self.is_short == (free < least):
            return False
        self.is_short = not self.is_short
        _log.warning("edge_memory", short=self.is_short, free=round(free / total, 2))
        return True
