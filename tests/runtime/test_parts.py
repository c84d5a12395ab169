"""The supervisor's parts by themselves."""

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.runtime.guard import follow
from xiaohao.runtime.logfile import BoundedLog, NumberVeil, tail
from xiaohao.runtime.probes import http_probe, udp_probe
from xiaohao.runtime.supervisor import Backoff, Policy


def test_backoff_doubles_up_to_its_limit_and_forgets_after_a_good_run() -> None:
    backoff = Backoff(Policy())
    assert [backoff.after(1) for _ in range(7)] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert backoff.after(60) == pytest.approx(0.2)
    assert backoff.after(59) == pytest.approx(0.4)


def test_a_log_never_grows_beyond_its_files(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = BoundedLog(path, limit=100, keep=2)
    for number in range(100):
        log.write(b"line %04d\n" % number)
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["engine.log", "engine.log.1", "engine.log.2"]
    assert all(p.stat().st_size <= 100 for p in tmp_path.iterdir())
    together = b"".join(
        (tmp_path / name).read_bytes() for name in ("engine.log.2", "engine.log.1", "engine.log")
    )
    assert together == b"".join(b"line %04d\n" % number for number in range(70, 100))


def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    for text in (b"one\n", b"two\n"):
        log = BoundedLog(path, limit=100)
        log.write(text)
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert tail(path, 1) == ["two"]
    assert tail(tmp_path / "nothing.log") == []


def test_a_full_disk_stops_nobody() -> None:
    log = BoundedLog(Path("/dev/full"))
    log.write(b"lost\n")
    log.close()


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_numbers_in_an_engines_log_are_masked(cuts: list[int]) -> None:
    line = b"ERROR: bad uri <sip:+8613572468019@192.0.2.77> of 013572468019, call 9f40-13572468019a, pid 20\n"
    veil, shown = NumberVeil(), b""
    edges = sorted({0, len(line), *(cut for cut in cuts if cut < len(line))})
    for start, end in itertools.pairwise(edges):
        shown += veil.veil(line[start:end])
    assert b"3572468019@" not in shown
    assert b"013****8019" in shown
    assert b"861****8019@192.0.2.77> of" in shown
    assert shown.endswith(b"call 9f40-13572468019a, pid 20\n")


@pytest.mark.parametrize(
    "spelled",
    [
        "+86-139-5555-1234",
        "139 5555 1234",
        "139.5555.1234",
        "%31%33%39%35%35%35%35%31%32%33%34",
        "139 (5555) 1234",
    ],
)
def test_numbers_with_separators_and_encodings_are_masked(spelled: str) -> None:
    shown = NumberVeil().veil(f"bad header <sip:{spelled}@192.0.2.77>\n".encode())
    masked = "861****1234" if spelled.startswith("+86") else "139****1234"
    assert shown == f"bad header <sip:{masked}@192.0.2.77>\n".encode()


def test_numbers_of_full_width_are_masked() -> None:
    wide = "".join(chr(0xFF10 + int(digit)) for digit in "13955551234")
    assert NumberVeil().veil(f"from {wide}\n".encode()) == b"from 139****1234\n"


def test_a_number_behind_a_plus_is_masked_whatever_follows() -> None:
    line = b"Call-ID: +8613955551234q, x+8613955551234-1\n"
    assert NumberVeil().veil(line) == b"Call-ID: 861****1234q, x861****1234-1\n"


@pytest.mark.parametrize(
    "line",
    [
        b"2026-11-28 10:13:22 started\n",
        b"from 192.168.100.200:50600\n",
        b"call 17958605-8323-8554-9a3b-46925d01ec32\n",
        b" 8(31420) INFO: 1234567 bytes\n",
    ],
)
def test_what_is_no_number_is_shown(line: bytes) -> None:
    assert NumberVeil().veil(line) == line


def test_the_guard_follows_its_lines() -> None:
    groups: set[int] = set()
    follow([b"+10\n", b"+11\n", b"-10\n", b"-99\n"], groups)
    assert groups == {11}


async def _http_server(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"220 smtp.example.com\r\n", False),
        (b"\r\n", False),
        (b"", False),
    ],
)
async def test_http_probe(answer: bytes, ready: bool) -> None:
    async with await _http_server(answer) as server:
        host, port = server.sockets[0].getsockname()
        assert await http_probe(f"{host}:{port}", "/healthz")() is ready


async def test_http_probe_where_nobody_listens() -> None:
    server = await _http_server(b"")
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    assert not await http_probe(f"{host}:{port}", "/healthz")()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def test_udp_probe() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    probe = udp_probe(f"{host}:{port}", b"hello")
    assert await probe()
    transport.close()
    await asyncio.sleep(0)
    assert not await probe()
