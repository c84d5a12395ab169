"""Which ways lead to a callee, in which order, and how each trunk wants numbers spelled."""

from collections import Counter
from typing import Any

import pytest

from xiaohao.calls.model import Reason
from xiaohao.edge.wire import RawCaller
from xiaohao.numbers.model import NumberForm
from xiaohao.switch.carriers import Carriers, group_of, number_dialled, number_of_caller, target_uri
from xiaohao.trunks.model import CliHeader, Target, Trunk, TrunkSpec

CALLEE, SHOWN = "+8613800000001", "+861062000001"


def trunk(name: str, carrier: str = "East", hosts: tuple[str, ...] = ("192.0.2.1",), **more: Any) -> Trunk:
    spec = TrunkSpec(carrier, [Target(host) for host in hosts], **more)
    return Trunk(name, name, "active", spec)


def hosts(carriers: Carriers, owner: str) -> list[str]:
    ways = carriers.ways_to(CALLEE, SHOWN, owner)
    assert not isinstance(ways, Reason)
    return [leg.destination_uri.removeprefix("sip:").partition(":")[0] for _, leg in ways]


def test_the_owner_comes_first_then_the_carriers_others_by_priority() -> None:
    carriers = Carriers(
        [
            trunk("spare", hosts=("192.0.2.3",), priority=20),
            trunk("owner", hosts=("192.0.2.1", "192.0.2.2"), priority=30),
            trunk("near", hosts=("192.0.2.4",), priority=10),
            trunk("stranger", carrier="West", hosts=("192.0.2.9",)),
            trunk("only in", hosts=()),
        ]
    )
    assert hosts(carriers, "owner") == ["192.0.2.1", "192.0.2.2", "192.0.2.4", "192.0.2.3"]


def test_targets_that_are_down_come_last() -> None:
    owner = trunk("owner", hosts=("192.0.2.1", "192.0.2.2"))
    carriers = Carriers([owner])
    carriers.set_health(target_uri(owner.spec.targets[0]), up=False)
    assert hosts(carriers, "owner") == ["192.0.2.2", "192.0.2.1"]
    carriers.set_health(target_uri(owner.spec.targets[1]), up=False)
    assert hosts(carriers, "owner") == ["192.0.2.1", "192.0.2.2"]
    carriers.set_health(target_uri(owner.spec.targets[0]), up=True)
    assert hosts(carriers, "owner")[0] == "192.0.2.1"


def test_weights_share_calls_among_trunks_of_one_priority() -> None:
    carriers = Carriers(
        [
            trunk("owner", hosts=("192.0.2.1",)),
            trunk("light", hosts=("192.0.2.2",), weight=1),
            trunk("heavy", hosts=("192.0.2.3",), weight=4),
        ]
    )
    seconds = Counter(hosts(carriers, "owner")[1] for _ in range(2000))
    # 400 on average; 2000 draws of 1/5 are between 300 and 500 but once in 10^28
    assert 300 < seconds["192.0.2.2"] < 500


def test_no_way() -> None:
    carriers = Carriers([trunk("owner", channels=1), trunk("only in", carrier="West", hosts=())])
    assert carriers.ways_to(CALLEE, SHOWN, "gone") is Reason.NO_TRUNK
    assert carriers.ways_to(CALLEE, SHOWN, None) is Reason.NO_TRUNK
    assert carriers.ways_to(CALLEE, SHOWN, "only in") is Reason.NO_TRUNK
    carriers.occupy("call", "owner")
    assert carriers.ways_to(CALLEE, SHOWN, "owner") is Reason.CHANNELS_FULL
    carriers.release("call")
    assert hosts(carriers, "owner") == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("form", "callee", "shown"),
    [
        (NumberForm.E164, "+8613800000001", "+861062000001"),
        (NumberForm.DIGITS, "8613800000001", "861062000001"),
        (NumberForm.ZERO, "013800000001", "01062000001"),
        (NumberForm.NATIONAL, "13800000001", "1062000001"),
        (NumberForm.ZERO_EXCEPT_MOBILE, "13800000001", "01062000001"),
    ],
)
def test_spelling(form: NumberForm, callee: str, shown: str) -> None:
    owner = trunk("owner", callee_form=form, cli_form=form, prefix_out="99", cli_header_out=CliHeader.RPID)
    ways = Carriers([owner], {"udp": "edge.example"}).ways_to(CALLEE, SHOWN, "owner")
    assert not isinstance(ways, Reason)
    leg = ways[0][1]
    assert leg.trunk_group == group_of("owner")
    assert leg.request_uri == f"sip:99{callee}@192.0.2.1:5060;transport=udp"
    assert leg.cli == f"{shown}@edge.example"
    assert leg.header.startswith(f"Remote-Party-ID: <sip:{shown}@edge.example>;party=calling;privacy=off")
    assert number_dialled(f"99{callee};phone-context=+86", trunk("in", prefix_in="99"), "CN") == CALLEE


@pytest.mark.parametrize(
    ("header", "raw", "number"),
    [
        (CliHeader.FROM, RawCaller("13800000001", "13900000002", None, None), CALLEE),
        (CliHeader.PAI, RawCaller("13900000002", "013800000001", None, None), CALLEE),
        (CliHeader.RPID, RawCaller("13900000002", None, "+8613800000001", None), CALLEE),
        (CliHeader.PAI, RawCaller("13800000001", None, None, None), CALLEE),
        (CliHeader.FROM, RawCaller("13800000001", None, None, "none"), CALLEE),
        (CliHeader.FROM, RawCaller("anonymous", None, None, None), None),
        (CliHeader.PAI, RawCaller("anonymous", "13800000001", None, "id"), None),
        (CliHeader.FROM, RawCaller("13800000001", None, None, "critical; USER"), None),
        (CliHeader.FROM, RawCaller(None, None, None, None), None),
    ],
)
def test_reading_the_callers_number(header: CliHeader, raw: RawCaller, number: str | None) -> None:
    assert number_of_caller(raw, trunk("in", cli_header_in=header), "CN") == number
