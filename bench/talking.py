"""200 calls that talk at once, recorded, RTP both ways; and how soon a recording is there after its call."""

import asyncio
import io
import statistics
import time
import wave

import numpy as np
from bench.sink import Arrival
from bench.subject import Ours, Subject
from bench.talk import Talkers


async def _talk(subject: Subject, calls: int, seconds: float) -> None:
    async with Talkers(subject, calls) as talkers:
        await talkers.connect(20)
        before = subject.cpu()
        began = time.monotonic()
        found = await talkers.talk(seconds)
        took, after = time.monotonic() - began, subject.cpu()
        await talkers.hang_up()
    used = {name: (after[name] - before[name]) / seconds / calls * 100 for name in after}
    delay = ", ".join(f"{name} {value:.2f}" for name, value in found["delay_ms"].items())
    print(
        f"  {subject.name:>8}: {found['sent']} packets in {took:.0f} s, lost {found['lost']}, doubled "
        f"{found['doubled']}; from sender to receiver, ms: {delay}\n"
        f"            CPU a call: "
        + ", ".join(f"{k} {v:.3f}" for k, v in used.items() if v >= 0.0005)
        + " % of a core"
    )


async def _recordings(ours: Ours, calls: int, patience_s: float) -> list[Arrival]:
    """Wait for the recordings; gives what the customer was told."""
    arrivals: list[Arrival] = []
    stop = time.monotonic() + patience_s
    while time.monotonic() < stop:
        arrivals += ours.sink.take()
        if sum(one.kind == "recording.ready" for one in arrivals) >= calls:
            break
        await asyncio.sleep(0.2)
    return arrivals


def _audible(data: bytes) -> list[float]:
    """Seconds in which each channel is not silent, counted in packets."""
    with wave.open(io.BytesIO(data)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        samples = samples.reshape(-1, file.getnchannels())
        packet = file.getframerate() // 50
    usable = samples[: len(samples) // packet * packet].reshape(-1, packet, samples.shape[1])
    # packets do not begin where our windows do: one that is half full counts as half
    return list((np.abs(usable.astype(np.int32)) > 0).mean(axis=1).sum(axis=0) * 0.02)


async def _complete(ours: Ours, arrivals: list[Arrival], seconds: float) -> tuple[int, float]:
    """How many recordings hold both sides' talk, and the least that one holds."""
    assert ours.customer is not None
    complete, least = 0, seconds
    for one in arrivals:
        if one.kind != "recording.ready":
            continue
        status, data = await ours.stage.attempt(
            "GET", f"/v1/recordings/{one.call_id}/audio", key=ours.customer.key
        )
        heard = min(_audible(data)) if status == 200 else 0.0
        least = min(least, heard)
        complete += heard >= seconds - 0.02
    return complete, least


def _waits(arrivals: list[Arrival]) -> list[float]:
    """Seconds from each call's end to the word that its recording is ready."""
    ended = {one.call_id: one.happened_at for one in arrivals if one.kind == "call.ended"}
    ready = {one.call_id: one.arrived_at for one in arrivals if one.kind == "recording.ready"}
    return [(ready[call_id] - ended[call_id]) / 1e6 for call_id in ready if call_id in ended]


async def report(subjects: list[Subject], calls: int, seconds: float) -> None:
    print(f"\n{calls} calls talking at once for {seconds:g} s, G.711 both ways, recorded")
    for subject in subjects:
        await _talk(subject, calls, seconds)
        if isinstance(subject, Ours):
            arrivals = await _recordings(subject, calls, 120)
            waits = _waits(arrivals)
            complete, least = await _complete(subject, arrivals, seconds)
            print(
                f"  recordings: {len(waits)} of {calls} ready, {complete} complete (least {least:.2f} s of "
                f"talk a side); all hung up within {calls / 50:.0f} s, the last was ready after "
                f"{max(waits, default=0):.1f} s"
            )


async def report_one(ours: Ours, seconds: float, rounds: int) -> None:
    print(f"\nHang-up to recording.ready for a call of {seconds:g} s, {rounds} calls one second apart")
    async with Talkers(ours, rounds) as talkers:
        await talkers.connect(1)
        ours.sink.take()
        await talkers.talk(seconds)
        await talkers.hang_up()
    arrivals = await _recordings(ours, rounds, 60)
    waits = _waits(arrivals)
    complete, _ = await _complete(ours, arrivals, seconds)
    print(
        f"  median {statistics.median(waits or [float('nan')]):.2f} s, "
        f"longest {max(waits, default=float('nan')):.2f} s (target ≤ 5 s); "
        f"{complete} of {rounds} complete"
    )
