"""Puts SIP messages together by call: which belong to a call, when they are to be stored, what is too much.

The caller's side of a call has a Call-ID of its own; the edge says once which call that is (a HEP log entry,
correlated by the call's id), just after the first INVITE. The callee's side has the call's id as its Call-ID.
What belongs to no call that is to be traced – OPTIONS between us and carriers, strangers, calls outside the
sample – is dropped after a few seconds. Everything is bounded: what is beyond a bound is counted and lost.
"""

import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from xiaohao.trace import hep
from xiaohao.trace.model import Message

_CALL_ID: Final = re.compile(rb"\r?\n(?:Call-ID|i)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.IGNORECASE)
#: how the edge names calls (edge/config/decision.cfg)
_OUR_ID: Final = re.compile(rb"[0-9]{8}-[0-9]{4}-8[0-9]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

_UNCLAIMED_S: Final = 3.0
_UNCLAIMED: Final = 5_000
#: as SIP is quiet for so long the call rings or talks: what came is written
_QUIET_S: Final = 1.0
_LONGEST_S: Final = 10.0
_KNOWN: Final = 200_000
_LARGEST: Final = 16_384
_MOST_MESSAGES: Final = 300
_HELD: Final = 50_000


@dataclass(slots=True)
class Group:
    """Messages of a call that are written as one."""

    call_id: str
    began: float
    latest: float
    messages: list[Message] = field(default_factory=list)
    cut: int = 0


class Collector:
    """Not for several threads. `clock` gives seconds that only grow."""

    def __init__(
        self,
        key: bytes,
        sample: float = 1.0,
        forward: Callable[[bytes], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` is what packets must show; `sample` the part of the calls that are traced.

        `forward` is given each datagram of such a call as it came.
        """
        self._key, self._chosen, self._clock = key, round(sample * 1000), clock
        self._forward = forward
        #: Call-ID as it stands in the message → the call's id, and how many of its messages are kept
        self._calls: OrderedDict[bytes, tuple[str, bool]] = OrderedDict()
        self._kept: Counter[str] = Counter()
        self._unclaimed: OrderedDict[bytes, tuple[float, list[hep.Packet]]] = OrderedDict()
        self._waiting = 0
        self._groups: dict[str, Group] = {}
        self._held = 0
        self.kept = 0
        #: why what came was not kept, and how often
        self.lost: Counter[str] = Counter()

    def know(self, call_id_header: bytes, call_id: str) -> None:
        """A Call-ID of a caller's side belongs to this call, and so does what has come with either before."""
        for header, caller_side in ((call_id_header, True), (call_id.encode(), False)):
            self._remember(header, call_id, caller_side)
            self._claim(header)

    def take(self, data: bytes) -> bool:
        """Take a datagram. Says whether it was one of ours, whatever became of it."""
        try:
            packet = hep.read(data)
        except hep.HepError:
            self.lost["unreadable"] += 1
            return False
        if packet.key != self._key:
            self.lost["stranger"] += 1
            return False
        if packet.kind == hep.LOG:
            about = packet.correlation
            if _OUR_ID.fullmatch(about) and int(about[15:18]) < self._chosen:
                self.know(packet.payload, about.decode())
                if self._forward is not None:
                    self._forward(data)
        elif packet.kind == hep.SIP:
            self._sip(packet)
        return True

    def _sip(self, packet: hep.Packet) -> None:
        found = _CALL_ID.search(packet.payload)
        if found is None:
            return  # a keep-alive, or what no SIP server would take for SIP
        header = found[1]
        known = self._calls.get(header)
        if known is None:
            self._put_aside(header, packet)
        else:
            self._calls.move_to_end(header)
            self._keep(packet, *known)

    def _remember(self, header: bytes, call_id: str, caller_side: bool) -> None:
        self._calls.setdefault(header, (call_id, caller_side))
        self._calls.move_to_end(header)
        if len(self._calls) > _KNOWN:
            _, (forgotten, _) = self._calls.popitem(last=False)
            self._kept.pop(forgotten, None)

    def _put_aside(self, header: bytes, packet: hep.Packet) -> None:
        if self._waiting >= _UNCLAIMED:
            self.lost["unclaimed"] += 1
            return
        self._waiting += 1
        _, packets = self._unclaimed.setdefault(header, (self._clock(), []))
        packets.append(packet)

    def _claim(self, header: bytes) -> None:
        _, packets = self._unclaimed.pop(header, (0, []))
        self._waiting -= len(packets)
        for packet in packets:
            self._keep(packet, *self._calls[header])

    def _keep(self, packet: hep.Packet, call_id: str, caller_side: bool) -> None:
        if self._forward is not None:
            self._forward(packet.raw)
        now = self._clock()
        group = self._groups.get(call_id)
        if group is None:
            group = self._groups[call_id] = Group(call_id, now, now)
        group.latest = now
        if self._kept[call_id] >= _MOST_MESSAGES or self._held >= _HELD:
            self.lost["too_many_of_a_call" if self._held < _HELD else "held"] += 1
            group.cut += 1
            return
        self._kept[call_id] += 1
        self._held += 1
        self.kept += 1
        text = packet.payload
        group.messages.append(
            Message(
                at=packet.at,
                source=packet.source,
                source_port=packet.source_port,
                destination=packet.destination,
                destination_port=packet.destination_port,
                transport=packet.transport,
                caller_side=caller_side,
                text=text[:_LARGEST],
                cut=max(len(text) - _LARGEST, 0),
            )
        )

    def due(self, everything: bool = False) -> list[Group]:
        """Groups that are to be written now; they are forgotten here."""
        now = self._clock()
        while self._unclaimed and (
            everything or next(iter(self._unclaimed.values()))[0] < now - _UNCLAIMED_S
        ):
            _, (_, packets) = self._unclaimed.popitem(last=False)
            self._waiting -= len(packets)
        due = [
            group
            for group in self._groups.values()
            if everything or group.latest <= now - _QUIET_S or group.began <= now - _LONGEST_S
        ]
        for group in due:
            del self._groups[group.call_id]
            self._held -= len(group.messages)
        return [group for group in due if group.messages or group.cut]
