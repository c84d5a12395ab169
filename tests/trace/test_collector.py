"""Which SIP messages are kept, put together by call, and what is counted as lost."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.trace import hep
from xiaohao.trace.collector import Collector, Group

KEY = b"k" * 32
A_SIDE = b"a84b4c76e66710@pc33"


def call_id(digits: int = 94) -> str:
    return f"17958757-2397-8{digits:03}-aae4-6270936f9eb9"


def sip(header: bytes, words: bytes = b"INVITE sip:1@b SIP/2.0") -> bytes:
    return words + b"\r\nVia: SIP/2.0/UDP a\r\nCall-ID: " + header + b"\r\nCSeq: 1 INVITE\r\n\r\n"


def packet(payload: bytes, at: int = 1, kind: int = hep.SIP, key: bytes = KEY, about: str = "") -> bytes:
    ends = {"source": "10.0.0.1", "source_port": 5060, "destination": "10.0.0.2", "destination_port": 5070}
    return hep.write(
        hep.Packet(
            at=at, kind=kind, transport="udp", key=key, correlation=about.encode(), payload=payload, **ends
        )
    )


@dataclass
class Time:
    now: float = 100.0
    sent: list[bytes] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def collector(time: Time) -> Collector:
    return Collector(KEY, forward=time.sent.append, clock=time)


def only(groups: list[Group]) -> Group:
    (group,) = groups
    return group


def test_both_sides_are_one_call(collector: Collector, time: Time) -> None:
    """The caller's INVITE is there before the edge has said which call it begins."""
    collector.take(packet(sip(A_SIDE), at=10))
    assert collector.due(everything=False) == []
    collector.take(packet(A_SIDE, kind=hep.LOG, about=call_id()))
    collector.take(packet(sip(call_id().encode()), at=12))
    assert collector.due() == [], "more may come"
    time.now += 1.1
    group = only(collector.due())
    assert group.call_id == call_id()
    assert [(m.at, m.caller_side) for m in group.messages] == [(10, True), (12, False)]
    assert group.messages[0].text == sip(A_SIDE)
    assert len(time.sent) == 3, "Homer gets the same"
    assert collector.due(everything=True) == []


def test_what_belongs_to_no_call_is_dropped(collector: Collector, time: Time) -> None:
    collector.take(packet(sip(b"probe@us", b"OPTIONS sip:1@b SIP/2.0")))
    time.now += 4
    assert collector.due() == []
    collector.take(packet(b"probe@us", kind=hep.LOG, about=call_id()))
    assert collector.due(everything=True) == [], "it was too late"
    assert time.sent == [packet(b"probe@us", kind=hep.LOG, about=call_id())]


def test_outside_the_sample(time: Time) -> None:
    """The call's id tells whether it is in, here as at the edge."""
    collector = Collector(KEY, sample=0.25, clock=time)
    for digits in (250, 249):
        collector.take(packet(b"a%d" % digits, kind=hep.LOG, about=call_id(digits)))
        collector.take(packet(sip(b"a%d" % digits)))
    assert only(collector.due(everything=True)).call_id == call_id(249)


def test_nobody_can_make_up_a_call(collector: Collector) -> None:
    """Strangers' messages are mirrored, too: the name of a call that there is not makes none of them."""
    collector.take(packet(sip(call_id().encode())))
    assert collector.due(everything=True) == []


def test_a_call_that_began_before_this_process(collector: Collector) -> None:
    collector.take(packet(sip(call_id().encode())))
    collector.know(A_SIDE, call_id())
    collector.take(packet(sip(A_SIDE)))
    group = only(collector.due(everything=True))
    assert [message.caller_side for message in group.messages] == [False, True]


def test_what_is_not_ours(collector: Collector) -> None:
    for data in (
        b"",
        b"HEP3",
        packet(sip(A_SIDE))[:-1],
        packet(sip(A_SIDE), key=b"another"),
        b"HEP3\x00\x06",
    ):
        assert not collector.take(data)
    assert collector.lost == {"unreadable": 4, "stranger": 1}


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_nothing_breaks_it(data: bytes, inside: bytes) -> None:
    collector = Collector(KEY)
    collector.take(data)
    collector.take(b"HEP3" + (6 + len(data)).to_bytes(2) + data)
    collector.take(packet(inside))
    collector.take(packet(inside, kind=hep.LOG, about=inside.hex()))
    assert collector.due(everything=True) == []


def test_a_call_without_end(collector: Collector, time: Time) -> None:
    """A call is cut at so many messages, a message at so many bytes, and both are said."""
    collector.know(A_SIDE, call_id())
    for at in range(310):
        collector.take(packet(sip(A_SIDE) + b"x" * 20_000, at=at))
    group = only(collector.due(everything=True))
    assert (len(group.messages), group.cut) == (300, 10)
    first = group.messages[0]
    assert (len(first.text), first.cut) == (16_384, len(sip(A_SIDE)) + 20_000 - 16_384)
    assert collector.lost == {"too_many_of_a_call": 10}


def test_a_flood_of_strangers_is_bounded(collector: Collector, time: Time) -> None:
    collector.know(A_SIDE, call_id())
    for serial in range(6000):
        collector.take(packet(sip(b"flood%d" % serial)))
    assert collector.lost == {"unclaimed": 1000}
    collector.take(packet(sip(A_SIDE)))
    assert len(only(collector.due(everything=True)).messages) == 1


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::7"])
def test_hep_both_ways(address: str) -> None:
    wanted = hep.Packet(5_000_007, hep.SIP, "tcp", address, 1, address, 65535, KEY, b"c", b"payload")
    read = hep.read(hep.write(wanted))
    assert (read.at, read.transport, read.source, read.destination_port) == (5_000_007, "tcp", address, 65535)
    assert (read.key, read.correlation, read.payload) == (KEY, b"c", b"payload")
