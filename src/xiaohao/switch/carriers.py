"""The trunks as the switch uses them: who sent a call, which ways lead to a callee, how full a trunk is."""

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

from xiaohao.bindings.modes import LONGEST_EXTENSION, is_extension
from xiaohao.calls.model import Reason
from xiaohao.edge.wire import Leg, RawCaller
from xiaohao.numbers.model import canonical, spell
from xiaohao.trunks.model import WAYS, Answers, CliHeader, Target, Trunk

_NOWHERE: Final[Mapping[str, str]] = dict.fromkeys(WAYS, "edge.invalid")


def group_of(trunk_id: str) -> int:
    """The number under which the edge knows a trunk; the same after every restart."""
    return zlib.crc32(trunk_id.encode()) & 0x7FFFFFFF or 1


def target_uri(target: Target) -> str:
    """A target as the edge addresses it."""
    return f"sip:{target.place};transport={target.transport.value}"


class Carriers:
    """All active trunks, the health of their targets and the calls on them."""

    def __init__(self, trunks: Iterable[Trunk] = (), ways: Mapping[str, str] = _NOWHERE) -> None:
        """`ways`: of each way that the edge has to carriers (`udp`, `udp6`, …) the host that they see."""
        self._ways = ways
        self._down: set[str] = set()
        self._calls: Counter[str] = Counter()
        self._trunks_of_calls: dict[str, tuple[str | None, ...]] = {}
        self.replace(trunks)

    def replace(self, trunks: Iterable[Trunk]) -> None:
        """Take a new list of trunks; the calls on them go on counting."""
        self._by_id = {trunk.id: trunk for trunk in trunks}
        self._by_group = {group_of(trunk.id): trunk for trunk in self._by_id.values()}

    @property
    def all(self) -> list[Trunk]:
        """Every active trunk."""
        return list(self._by_id.values())

    def trunk_of(self, group: int | None) -> Trunk | None:
        """The trunk that the edge calls by this number."""
        return self._by_group.get(group or 0)

    def answers(self, trunk_id: str | None) -> Answers:
        """Which callers of this trunk are answered by the platform itself."""
        trunk = self._by_id.get(trunk_id or "")
        return trunk.spec.answers if trunk else Answers.CONNECTED

    def set_health(self, uri: str, up: bool) -> None:
        """A target stopped or began to answer OPTIONS."""
        if up:
            self._down.discard(uri)
        else:
            self._down.add(uri)

    def is_up(self, target: Target) -> bool:
        """Whether calls should be sent to this target."""
        return target_uri(target) not in self._down

    def occupy(self, call_id: str, *trunk_ids: str | None) -> None:
        """A call is on these trunks now, and no longer on those that it was on before."""
        self.release(call_id)
        self._trunks_of_calls[call_id] = trunk_ids
        self._calls.update(trunk_id for trunk_id in trunk_ids if trunk_id)

    def release(self, call_id: str) -> None:
        """A call is on no trunk any more."""
        for trunk_id in self._trunks_of_calls.pop(call_id, ()):
            if trunk_id:
                self._calls[trunk_id] -= 1
                if not self._calls[trunk_id]:
                    del self._calls[trunk_id]

    def calls_on(self, trunk_id: str) -> int:
        """Calls on this trunk now, both directions together."""
        return self._calls[trunk_id]

    def has_room(self, trunk: Trunk, trunk_in: str | None = None, call_id: str = "") -> bool:
        """Whether the trunk takes one more call, that of a caller who comes in on `trunk_in`.

        A call that has waited, or was asked something, is on its trunk already.
        """
        own = self._trunks_of_calls.get(call_id, ()).count(trunk.id)
        taken = self._calls[trunk.id] - own + (trunk.id == trunk_in)
        return not trunk.spec.channels or taken < trunk.spec.channels

    def ways_to(
        self,
        callee: str,
        displayed: str,
        owner_id: str | None,
        trunk_in: str | None = None,
        call_id: str = "",
    ) -> list[tuple[Trunk, Leg]] | Reason:
        """Every way to the callee that may show this number, best first; a reason where there is none.

        A number leaves through the trunk that owns it, then through the other trunks of the same carrier.
        """
        owner = self._by_id.get(owner_id or "")
        if owner is None:
            return Reason.NO_TRUNK
        family = [t for t in self._by_id.values() if t.spec.carrier == owner.spec.carrier and t.spec.targets]
        if not family:
            return Reason.NO_TRUNK
        roomy = [trunk for trunk in family if self.has_room(trunk, trunk_in, call_id)]
        if not roomy:
            return Reason.CHANNELS_FULL
        ways = [
            (trunk, target)
            for trunk in sorted(roomy, key=lambda t: (t.id != owner.id, t.spec.priority, _draw(t)))
            for target in trunk.spec.targets
        ]
        # a target that is down comes last: where all are down, one of them may have come back unseen
        ways.sort(key=lambda way: not self.is_up(way[1]))
        return [(trunk, self._leg(trunk, target, callee, displayed)) for trunk, target in ways]

    def _leg(self, trunk: Trunk, target: Target, callee: str, displayed: str) -> Leg:
        spec = trunk.spec
        dialled = spec.prefix_out + spell(callee, spec.callee_form)
        cli = spell(displayed, spec.cli_form)
        way = target.way(self._ways)
        address = f"{cli}@{self._ways[way]}"
        header = {
            CliHeader.FROM: "",
            CliHeader.PAI: f"P-Asserted-Identity: <sip:{address}>",
            CliHeader.RPID: f"Remote-Party-ID: <sip:{address}>;party=calling;privacy=off;screen=yes",
        }[spec.cli_header_out]
        uri = f"sip:{dialled}@{target.place};transport={target.transport.value}"
        return Leg(group_of(trunk.id), uri, target_uri(target), way, address, header)


def _draw(trunk: Trunk) -> float:
    # weighted shuffle (Efraimidis and Spirakis, 2006): the largest key comes first
    return -float(random.random() ** (1 / trunk.spec.weight))  # noqa: S311 – shares load, guards nothing


def number_of_caller(raw: RawCaller, trunk: Trunk, region: str) -> str | None:
    """The caller's canonical number from the header that this carrier uses; None where it is withheld."""
    if raw.privacy and {"id", "user", "header"} & {part.strip() for part in raw.privacy.lower().split(";")}:
        return None
    preferred = {
        CliHeader.FROM: raw.from_user,
        CliHeader.PAI: raw.pai_user,
        CliHeader.RPID: raw.rpid_user,
    }[trunk.spec.cli_header_in]
    return canonical(_user(preferred or raw.from_user or ""), region)


def number_dialled(user: str, trunk: Trunk, region: str) -> str | None:
    """The canonical dialled number; None where it is none."""
    return canonical(_without_prefix(user, trunk), region)


def numbers_with_extension(user: str, trunk: Trunk, region: str) -> list[tuple[str, str]]:
    """What was dialled, read as a number and an extension behind it in every possible way."""
    digits = _without_prefix(user, trunk)
    found = []
    for length in range(1, min(LONGEST_EXTENSION, len(digits) - 1) + 1):
        number, extension = canonical(digits[:-length], region), digits[-length:]
        if number is not None and is_extension(extension):
            found.append((number, extension))
    return found


def digits_behind(user: str) -> str:
    """What was dialled behind the number and a pause, as in `X,123`; "" where nothing was."""
    return "".join(filter(str.isdigit, _user(user).partition(",")[2]))


def _without_prefix(user: str, trunk: Trunk) -> str:
    return _user(user).partition(",")[0].removeprefix(trunk.spec.prefix_in)


def _user(part: str) -> str:
    # RFC 3261: a telephone-subscriber may carry parameters (19.1.6), any character may be escaped (19.1.2)
    return unquote(part.partition(";")[0])
