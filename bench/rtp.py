"""Sends and receives the RTP of many calls, and measures what the way between costs: `python -m bench.rtp`.

Reads a job from standard input (JSON: seconds, and for each call both ends' own port and the port of the
relay that it sends to) and writes what it found to standard output. Every packet carries the moment of its
sending; the kernel stamps it when it arrives, so that this process' own delays are not counted.
"""

import json
import selectors
import socket
import struct
import sys
import time

PACKET_S = 0.02
_SAMPLES = 160
#: A-law noise, nowhere silent
_TALK = bytes((i * 37) % 100 + 1 for i in range(_SAMPLES - 8))
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_TIMESPEC = struct.Struct("@qq")
_HEADER = struct.Struct("!BBHII")
_SENT_AT = struct.Struct("!Q")


class End:
    """One phone's RTP: what it sent and what it heard."""

    def __init__(self, host: str, port: int, relay: tuple[str, int], ssrc: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.bind((host, port))
        self.socket.connect(relay)
        self.ssrc, self.sent = ssrc, 0
        self.heard: set[int] = set()
        self.doubles = 0

    def send(self) -> None:
        self.sent += 1
        n = self.sent
        head = _HEADER.pack(0x80, 8, n & 0xFFFF, n * _SAMPLES, self.ssrc)
        self.socket.send(head + _SENT_AT.pack(time.time_ns()) + _TALK)

    def receive(self, delays: list[int]) -> None:
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(2048, 64)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if len(data) != 12 + _SAMPLES:
                continue  # RTCP of the relay's
            seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2][:16])
            number = _HEADER.unpack_from(data)[2]
            if number in self.heard:
                self.doubles += 1
            self.heard.add(number)
            delays.append(seconds * 1_000_000_000 + nanoseconds - _SENT_AT.unpack_from(data, 12)[0])


def run(ends: list[End], seconds: float) -> list[int]:
    """Every end sends a packet each 20 ms, the ends evenly spread over that time; gives delays in ns."""
    delays: list[int] = []
    waiting = selectors.DefaultSelector()
    for end in ends:
        waiting.register(end.socket, selectors.EVENT_READ, end)
    step = PACKET_S / len(ends)
    total = round(seconds / PACKET_S) * len(ends)
    began, done = time.monotonic(), 0
    while done < total:
        due = min(int((time.monotonic() - began) / step) + 1, total)
        for number in range(done, due):
            ends[number % len(ends)].send()
        done = due
        for key, _ in waiting.select(0.002):
            key.data.receive(delays)
    stop = time.monotonic() + 1.0
    while time.monotonic() < stop:
        for key, _ in waiting.select(0.05):
            key.data.receive(delays)
    return delays


def main() -> None:
    job = json.load(sys.stdin)
    ends: list[End] = []
    for number, call in enumerate(job["calls"]):
        for side, (host, port, relay) in enumerate(call):
            ends.append(End(host, port, tuple(relay), number * 2 + side + 1))
    delays = sorted(run(ends, job["seconds"]))
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    sent = sum(end.sent for end in ends)
    heard = sum(len(end.heard) for end in ends)
    at = {part: delays[min(int(len(delays) * part), len(delays) - 1)] / 1e6 for part in (0.5, 0.99, 0.999)}
    json.dump(
        {
            "sent": sent,
            "lost": sent - heard,
            "doubled": sum(end.doubles for end in ends),
            "calls_with_loss": sum(len(b.heard) != a.sent or len(a.heard) != b.sent for a, b in pairs),
            "delay_ms": {"median": at[0.5], "p99": at[0.99], "p99.9": at[0.999], "longest": delays[-1] / 1e6},
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
