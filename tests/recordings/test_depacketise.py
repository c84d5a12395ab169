"""RFC 4867 and RFC 3551 payloads: what was packed comes out again; nonsense comes out as nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recordings.audio import bandwidth_efficient, octet_aligned
from xiaohao.recordings import depacketise
from xiaohao.recordings.model import CaptureError, Payload

NARROW_BITS = [95, 103, 118, 134, 148, 159, 204, 244]
WIDE_BITS = [132, 177, 253, 285, 317, 365, 397, 461, 477]


def narrow(*parameters: tuple[str, str]) -> Payload:
    return Payload("AMR", 8000, parameters)


def wide(*parameters: tuple[str, str]) -> Payload:
    return Payload("AMR-WB", 16000, parameters)


@st.composite
def frames(draw: st.DrawFn, sizes: list[int]) -> list[bytes]:
    """1 to 6 speech frames in storage format; bits beyond the frame's own are zero."""
    result = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.integers(0, len(sizes) - 1))
        value = draw(st.integers(0, 2 ** sizes[kind] - 1)) << (-sizes[kind] % 8)
        result.append(bytes([kind << 3 | 4]) + value.to_bytes((sizes[kind] + 7) // 8, "big"))
    return result


@given(frames(NARROW_BITS))
def test_amr_round_trip(packed: list[bytes]) -> None:
    wanted = [(place * 160, frame) for place, frame in enumerate(packed)]
    assert depacketise.amr(narrow(("octet-align", "1")))(octet_aligned(packed, wide=False)) == wanted
    assert depacketise.amr(narrow())(bandwidth_efficient(packed, wide=False)) == wanted


@given(frames(WIDE_BITS))
def test_amr_wb_round_trip(packed: list[bytes]) -> None:
    wanted = [(place * 320, frame) for place, frame in enumerate(packed)]
    assert depacketise.amr(wide(("octet-align", "1")))(octet_aligned(packed, wide=True)) == wanted
    assert depacketise.amr(wide(("octet-align", "0")))(bandwidth_efficient(packed, wide=True)) == wanted


@given(frames(NARROW_BITS), st.integers(0, 7))
def test_interleaved_frames_stand_apart_in_time(packed: list[bytes], groups: int) -> None:
    payload = octet_aligned(packed, wide=False)
    interleaved = payload[:1] + bytes([groups << 4]) + payload[1:]
    found = depacketise.amr(narrow(("interleaving", "30")))(interleaved)
    assert found == [(place * (groups + 1) * 160, frame) for place, frame in enumerate(packed)]


@given(frames(NARROW_BITS))
def test_checksums_are_skipped_and_sorted_octets_put_back(packed: list[bytes]) -> None:
    plain = octet_aligned(packed, wide=False)
    contents, wanted = plain[: 1 + len(packed)], [(place * 160, frame) for place, frame in enumerate(packed)]
    checked = contents + b"\xee" * len(packed) + plain[1 + len(packed) :]
    assert depacketise.amr(narrow(("crc", "1")))(checked) == wanted
    longest = max(map(len, packed))
    octets = bytes(frame[at] for at in range(1, longest) for frame in packed if at < len(frame))
    assert depacketise.amr(narrow(("robust-sorting", "1")))(contents + octets) == wanted


@given(st.binary(max_size=80))
def test_nonsense_never_raises(data: bytes) -> None:
    for payload in (
        narrow(),
        wide(),
        narrow(("octet-align", "1")),
        wide(("interleaving", "4")),
        wide(("crc", "1")),
    ):
        for _, frame in depacketise.amr(payload)(data):
            assert len(frame) > 1
    assert all(len(frame) == 10 for _, frame in depacketise.g729(data))


def test_frames_without_speech_are_left_out() -> None:
    noise, nothing, damaged = (
        bytes([8 << 3 | 4]) + bytes(5),
        bytes([15 << 3 | 4]),
        bytes([7 << 3]) + bytes(31),
    )
    speech = bytes([7 << 3 | 4]) + b"\x11" * 30 + b"\x10"
    mixed = [noise, nothing, damaged, speech]
    assert depacketise.amr(narrow(("octet-align", "1")))(octet_aligned(mixed, wide=False)) == [(480, speech)]
    assert depacketise.amr(narrow())(bandwidth_efficient(mixed, wide=False)) == [(480, speech)]
    assert depacketise.g729(b"a" * 10 + b"b" * 10 + b"no") == [(0, b"a" * 10), (80, b"b" * 10)]


def test_several_channels_in_one_stream_are_refused() -> None:
    with pytest.raises(CaptureError, match="several channels"):
        depacketise.amr(narrow(("channels", "2")))
