"""What the edge sends may be anything: reading it gives a signal or a WireError, however it is cut."""

import itertools
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xiaohao.calls.model import Party, Reason, Try
from xiaohao.edge import wire
from xiaohao.edge.evapi import NetstringReader, netstring

SENTENCES = [
    "I|id|1|2|1700000000.000123|77|192.0.2.1|2b38|3133^^3134^6964",
    "G|id|1700000000.5|77",
    "A|id|1700000000.5|77|1700000000.4|77,1700000000.1,503;",
    "E|id|1700000009.5|1700000001.0^77|1700000002.0^77^1700000000.4^|caller|caller_hung_up|200|16||1700000000|77|2b38|^^^|sealed",
    "L|id|1700000001.0^77|<null>|sealed",
    "D|id|1|a^b^c|d^e^f",
    "M|id|1",
    "T|3",
    "B|192.0.2.9",
    "Y|0|sip:192.0.2.1:5060;transport=udp",
]
#: what hostile or broken text is made of, with everything that has a meaning in a line
PIECES = st.one_of(
    st.text(max_size=12),
    st.text(alphabet=string.hexdigits + "|^,;.<null>", max_size=20),
    st.sampled_from(["<null>", "", "0", "-1", "9" * 400, "1.2.3", "٣", "²", "zz", "caller", "^^^^"]),
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line of the edge with some of its fields replaced, left out or added."""
    fields = draw(st.sampled_from(SENTENCES)).split("|")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(fields) - 1))
        change = draw(st.integers(0, 2))
        if change == 0:
            fields[at] = draw(PIECES)
        elif change == 1 and len(fields) > 1:
            del fields[at]
        else:
            fields.insert(at, draw(PIECES))
    return "|".join(fields)


@given(st.one_of(lines(), st.text(max_size=80)))
@example("")
@example("I")
@example("T|" + "9" * 5000)
def test_a_line_is_a_signal_or_a_wire_error(line: str) -> None:
    try:
        signal = wire.read(line)
    except wire.WireError as error:
        assert str(error) == f"a line of kind {line.partition('|')[0][:1]!r} from the edge cannot be read"
    else:
        assert isinstance(signal, wire.Signal)


@pytest.mark.parametrize("line", SENTENCES)
def test_every_kind_of_line_is_understood(line: str) -> None:
    assert wire.read(line) is not None


def test_the_end_of_a_call_is_read_whole() -> None:
    said = wire.read(SENTENCES[3])
    assert isinstance(said, wire.Ended)
    assert (said.by, said.reason, said.sip_code, said.q850_cause) == (
        Party.CALLER,
        Reason.CALLER_HUNG_UP,
        200,
        16,
    )
    assert said.at == 1_700_000_009_500_000
    assert said.received_at == 1_700_000_000_000_000
    assert said.dialled == "+8"
    assert said.caller == wire.RawCaller(None, None, None, None)
    answered = wire.read(SENTENCES[2])
    assert isinstance(answered, wire.Answered)
    assert answered.tries == [Try("77", 1_700_000_000_100_000, 503)]


def fed(stream: bytes, cuts: list[int]) -> list[str]:
    """What a reader makes of a stream that arrives in pieces."""
    reader = NetstringReader()
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [line for start, end in itertools.pairwise(edges) for line in reader.feed(stream[start:end])]


@given(st.lists(st.text(max_size=40), max_size=8), st.lists(st.integers(0, 500), max_size=12))
def test_netstrings_survive_any_cutting(said: list[str], cuts: list[int]) -> None:
    said = [line.encode("utf-8", "replace").decode() for line in said]
    assert fed(b"".join(map(netstring, said)), cuts) == said


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=12))
@example(b"5:hello;3:abc,", [])
@example(b"9" * 100, [])
@example(b"99999999:", [])
@example(b"\xb2:ab,", [])
def test_noise_is_noticed_wherever_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    """The same lines, or the same complaint, in one piece and in many; and nothing is kept without end."""

    def outcome(cuts: list[int]) -> list[str] | None:
        try:
            return fed(stream, cuts)
        except wire.WireError:
            return None

    assert outcome(cuts) == outcome([])


def test_a_stream_without_an_end_is_given_up() -> None:
    reader = NetstringReader()
    with pytest.raises(wire.WireError):
        for _ in range(100):
            reader.feed(b"12345678")
    with pytest.raises(wire.WireError):
        NetstringReader().feed(b"5:hello.")
    with pytest.raises(wire.WireError):
        NetstringReader().feed(b"65537:")
