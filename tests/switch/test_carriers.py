"""Which way leads to a callee, how full a trunk is, who calls and what was dialled."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.calls.model import Reason
from xiaohao.edge.wire import RawCaller
from xiaohao.numbers.model import NumberForm
from xiaohao.switch.carriers import Carriers, group_of, number_dialled, number_of_caller, target_uri
from xiaohao.trunks.model import CliHeader, Target, Trunk, TrunkSpec

CALLEE, SHOWN = "+8613800000001", "+861062000001"


def trunk(name: str, carrier: str = "north", **spec: object) -> Trunk:
    given = {"targets": [Target(f"{name}.invalid")]} | spec
    return Trunk(f"trk_{name}", name, "active", TrunkSpec(carrier, **given))  # type: ignore[arg-type]


def ways(carriers: Carriers, owner: str) -> list[str]:
    found = carriers.ways_to(CALLEE, SHOWN, f"trk_{owner}")
    assert isinstance(found, list)
    return [way.name for way, _ in found]


def test_owner_first_then_its_carrier_and_nobody_else() -> None:
    carriers = Carriers([trunk("b", priority=1), trunk("a"), trunk("c", priority=20), trunk("x", "south")])
    assert ways(carriers, "a") == ["a", "b", "c"]
    assert ways(carriers, "x") == ["x"]


def test_target_that_is_down_comes_last() -> None:
    down, up = Target("down.invalid"), Target("up.invalid")
    carriers = Carriers([trunk("a", targets=[down, up])])
    carriers.set_health(target_uri(down), up=False)
    found = carriers.ways_to(CALLEE, SHOWN, "trk_a")
    assert isinstance(found, list)
    assert [leg.destination_uri for _, leg in found] == [target_uri(up), target_uri(down)]
    carriers.set_health(target_uri(down), up=True)
    assert carriers.is_up(down)


def test_no_way() -> None:
    carriers = Carriers([trunk("a", channels=1), trunk("in", "west", targets=[])])
    assert carriers.ways_to(CALLEE, SHOWN, None) is Reason.NO_TRUNK
    assert carriers.ways_to(CALLEE, SHOWN, "trk_gone") is Reason.NO_TRUNK
    assert carriers.ways_to(CALLEE, SHOWN, "trk_in") is Reason.NO_TRUNK
    carriers.occupy("call", "trk_in", "trk_a")
    assert carriers.ways_to(CALLEE, SHOWN, "trk_a") is Reason.CHANNELS_FULL
    carriers.release("call")
    assert ways(carriers, "a") == ["a"]


def test_full_trunk_is_passed_by() -> None:
    carriers = Carriers([trunk("a", channels=1), trunk("b")])
    carriers.occupy("call", None, "trk_a")
    assert ways(carriers, "a") == ["b"]


def test_weights_share_the_calls_of_one_priority() -> None:
    owner = trunk("owner", targets=[Target("o.invalid")], channels=1)
    carriers = Carriers([owner, trunk("one", weight=1), trunk("three", weight=3)])
    carriers.occupy("call", "trk_owner")
    first = Counter(ways(carriers, "owner")[0] for _ in range(2000))
    assert 0.65 < first["three"] / 2000 < 0.85


def test_spelling_of_a_leg() -> None:
    spec = {"prefix_out": "77", "callee_form": NumberForm.DIGITS, "cli_form": NumberForm.ZERO}
    carriers = Carriers([trunk("a", cli_header_out=CliHeader.PAI, **spec)], ways={"udp": "192.0.2.1"})
    [(_, leg)] = carriers.ways_to(CALLEE, SHOWN, "trk_a")
    assert leg.request_uri == "sip:778613800000001@a.invalid:5060;transport=udp"
    assert leg.cli == "01062000001@192.0.2.1"
    assert leg.header == "P-Asserted-Identity: <sip:01062000001@192.0.2.1>"
    assert leg.trunk_group == group_of("trk_a")


def test_addresses_of_ipv6_stand_in_brackets() -> None:
    for host in ("2001:db8::1", "[2001:db8::1]"):
        carriers = Carriers([trunk("a", targets=[Target(host)])])
        [(_, leg)] = carriers.ways_to(CALLEE, SHOWN, "trk_a")
        assert leg.request_uri == "sip:+8613800000001@[2001:db8::1]:5060;transport=udp"
        assert leg.destination_uri == target_uri(Target(host)) == "sip:[2001:db8::1]:5060;transport=udp"


def test_a_target_is_reached_over_its_kind_of_address() -> None:
    both = {"udp": "192.0.2.1", "udp6": "[2001:db8::1]", "tcp": "192.0.2.1"}
    for host, ways, way, shown in (
        ("2001:db8::9", both, "udp6", "[2001:db8::1]"),
        ("192.0.2.9", both, "udp", "192.0.2.1"),
        ("sip.example.com", both, "udp", "192.0.2.1"),
        ("sip.example.com", {"udp6": "[2001:db8::1]"}, "udp6", "[2001:db8::1]"),
    ):
        [(_, leg)] = Carriers([trunk("a", targets=[Target(host)])], ways).ways_to(CALLEE, SHOWN, "trk_a")
        assert (leg.transport, leg.cli.partition("@")[2]) == (way, shown)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans())))
def test_channels_count_each_call_once(moves: list[tuple[int, int, bool]]) -> None:
    carriers, on = Carriers(), dict[int, int]()
    for call, place, ends in moves:
        if ends:
            carriers.release(str(call))
            on.pop(call, None)
        else:
            carriers.occupy(str(call), None, f"t{place}")
            on[call] = place
        for each in range(3):
            assert carriers.calls_on(f"t{each}") == list(on.values()).count(each)


@pytest.mark.parametrize(
    ("header", "raw", "number"),
    [
        (CliHeader.FROM, RawCaller("13800000001", None, None, None), "+8613800000001"),
        (CliHeader.FROM, RawCaller("013800000001", "01062000009", None, None), "+8613800000001"),
        (CliHeader.PAI, RawCaller("100", "+8613800000001;npdi=yes", None, None), "+8613800000001"),
        (CliHeader.PAI, RawCaller("13800000001", None, None, None), "+8613800000001"),
        (CliHeader.RPID, RawCaller("100", None, "8613800000001", None), "+8613800000001"),
        (CliHeader.FROM, RawCaller("%2B86138000%30%30001", None, None, None), "+8613800000001"),
        (CliHeader.RPID, RawCaller("13800000001", None, "anonymous", None), None),
        (CliHeader.FROM, RawCaller("anonymous", None, None, None), None),
        (CliHeader.FROM, RawCaller("13800000001", None, None, "id;critical"), None),
        (CliHeader.FROM, RawCaller("13800000001", None, None, "none"), "+8613800000001"),
        (CliHeader.FROM, RawCaller(None, None, None, None), None),
    ],
)
def test_caller(header: CliHeader, raw: RawCaller, number: str | None) -> None:
    assert number_of_caller(raw, trunk("a", cli_header_in=header), "CN") == number


def test_dialled() -> None:
    assert number_dialled("7701062000001", trunk("a", prefix_in="77"), "CN") == "+861062000001"
    assert number_dialled("01062000001;phone-context=+86", trunk("a"), "CN") == "+861062000001"
    assert number_dialled("%2B861062000001", trunk("a"), "CN") == "+861062000001"
    assert number_dialled("nobody", trunk("a"), "CN") is None


def test_a_caller_takes_a_channel_too() -> None:
    carriers = Carriers([trunk("a", channels=2)])
    carriers.occupy("call", "trk_a")
    assert isinstance(carriers.ways_to(CALLEE, SHOWN, "trk_a"), list)
    assert carriers.ways_to(CALLEE, SHOWN, "trk_a", "trk_a") is Reason.CHANNELS_FULL
    # one that has waited is there already, and counts once
    assert isinstance(carriers.ways_to(CALLEE, SHOWN, "trk_a", "trk_a", "call"), list)
    carriers.occupy("other", "trk_a")
    assert carriers.ways_to(CALLEE, SHOWN, "trk_a", "trk_a", "call") is Reason.CHANNELS_FULL
