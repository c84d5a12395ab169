"""Carriers with IPv6: among each other, and to and from carriers with IPv4."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.recordings.audio import listen
from xiaohao.edge.rpc import Rpc, RpcError
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.stage import Stage

from .families import FOUR, SIX, Hall, addresses, opened, talk
from .searcher import leaks, received, secrets_of

WAYS = {"six to four": ("six", "four"), "four to six": ("four", "six"), "six to six": ("six", "six over TCP")}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hall(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hall]:
    """Listens with both kinds of addresses."""
    folder, trace = tmp_path_factory.mktemp("both"), {"sip": True}
    async with opened(folder, trace=trace, **addresses(FOUR, SIX)) as hall:
        yield hall


@pytest.mark.parametrize("way", WAYS)
async def test_heard_recorded_and_masked(hall: Hall, way: str) -> None:
    scene = await hall.scene(*WAYS[way], Behaviour(leaky_headers=True))
    call, other = await talk(scene)
    for one in (call, other):
        await one.dtmf("7")
        assert await one.hold() == 200
        assert await one.resume() == 200
        assert await one.update() == 200
        assert await one.reinvite(late_offer=True) == 200
    assert await call.wait_heard(900)
    assert await other.wait_heard(400)
    await other.hang_up()
    await call.wait_ended()
    cdr = await hall.cdr(scene)
    assert (cdr["reason"], cdr["ended_by"]) == ("callee_hung_up", "callee")
    for one, hearer in ((call, other), (other, call)):
        own = SIX if one.carrier.host == SIX else FOUR
        assert {host for host, _ in one.rtp_stats.sources} == {own}
        assert leaks([hearer], secrets_of([one], platform=SIX)) == []
        assert received([one])
        if own == FOUR:
            # the other one's address has no business here, nor has ours that the other one sees
            assert not [got for got in received([one]) if b"::1" in got.raw or b"IP6" in got.raw]
    await recorded(hall, cdr["call_id"])
    assert await hall.traced(cdr["call_id"]) == {
        ("caller", call.carrier.host),
        ("callee", other.carrier.host),
    }


async def recorded(hall: Hall, call_id: str) -> None:
    """The recording is there, with the caller on the left and the callee on the right."""
    for _ in range(150):
        document = await hall.customer.request("GET", f"/v1/recordings/{call_id}")
        if document["state"] == "ready":
            break
        await asyncio.sleep(0.1)
    assert document["state"] == "ready", document
    audio = hall.stage.folder / f"{call_id}.wav"
    audio.write_bytes(await hall.customer.request("GET", document["url"]))
    heard = listen(audio)
    for channel, own, other in (("left", 400, 900), ("right", 900, 400)):
        assert sum(end - begin for begin, end in heard.spans(channel, own)) > 0.4
        assert heard.spans(channel, other) == []


@pytest.mark.parametrize("way", WAYS)
async def test_early_media_and_a_late_offer(hall: Hall, way: str) -> None:
    """The callee writes the first offer: the caller gets addresses of their own kind all the same."""
    behaviour = Behaviour(early_media=True, early_media_hz=1500, answer_after_s=1.0)
    scene = await hall.scene(*WAYS[way], behaviour)
    call, _ = await talk(scene)
    assert call.early_media_heard(1500)
    await call.hang_up()
    scene = await hall.scene(*WAYS[way])
    call, other = await talk(scene, late_offer=True)
    await hall.hang_up(scene)
    await call.wait_ended()
    await other.wait_ended()
    assert (await hall.cdr(scene))["reason"] == "platform_hung_up"


@pytest.mark.parametrize("caller", ["six", "four"])
@pytest.mark.parametrize("fails", ["six over TCP", "four"])
async def test_the_next_target_is_of_another_kind(hall: Hall, caller: str, fails: str) -> None:
    """A trunk has targets of both kinds, and the first one fails: the second is offered its own."""
    takes = {"four": "six over TCP", "six over TCP": "four"}[fails]
    scene = await hall.scene(caller, fails)
    answering = hall.carriers[takes].add_phone(scene.callee.number, 900)
    await hall.change(fails, targets=[hall.target(fails), hall.target(takes)])
    hall.carriers[fails].refuse_all = (503, "Trouble")
    try:
        scene.callee = answering
        call, other = await talk(scene)
        await call.hang_up()
        await other.wait_ended()
    finally:
        hall.carriers[fails].refuse_all = None
        await hall.change(fails, targets=[hall.target(fails)])
    cdr = await hall.cdr(scene)
    assert [each["sip_code"] for each in cdr["tries"]] == [503, None]
    await recorded(hall, cdr["call_id"])


async def test_a_late_first_word(hall: Hall) -> None:
    """The callee's phone rings, or answers, when the caller has been told that nobody is reached."""
    hosts = ("six", "six over TCP")
    await asyncio.gather(*(_late(hall, callee, answers) for callee in hosts for answers in (True, False)))


async def _late(hall: Hall, callee: str, answers: bool) -> None:
    late = Behaviour(no_100=True, ring_after_s=5, never_answer=True)
    if answers:
        late = Behaviour(no_100=True, ring_after_s=None, answer_after_s=5)
    scene = await hall.scene("four", callee)
    scene.callee.behaviour = late
    call = await scene.caller.call(scene.dialled)
    other = await scene.callee.next_call()
    await call.wait_ended(15)
    assert call.final_code == 408
    await other.wait_ended(15)
    assert (other.final_code, other.ended_by_us) == (200 if answers else 487, False)


async def test_given_up_while_it_rings(hall: Hall) -> None:
    scene = await hall.scene("six", "four", Behaviour(never_answer=True))
    call = await scene.caller.call(scene.dialled)
    other = await scene.callee.next_call()
    await call.wait_ringing()
    await call.cancel()
    await other.wait_ended()
    assert (await hall.cdr(scene))["reason"] == "caller_cancelled"


async def test_sent_on_to_an_address_of_another_kind(hall: Hall) -> None:
    """A carrier with IPv4 sends a call to an IPv6 address: what was offered to it is of no use there."""
    scene = await hall.scene("six", "four")
    host, port = hall.carriers["six"].address
    scene.callee.behaviour = Behaviour(redirect_to=f"sip:{scene.callee.number}@[{host}]:{port}")
    call = await scene.caller.call(scene.dialled)
    await call.wait_ended(15)
    assert call.final_code == 503
    assert [each["sip_code"] for each in (await hall.cdr(scene))["tries"]] == [302]


async def test_a_strangers_whole_network_is_banned(tmp_path: Path) -> None:
    """Whoever has one IPv6 address has 2^64 of them."""
    async with Stage(tmp_path / "strict", **addresses(FOUR, SIX)) as stage:
        rpc = Rpc(stage.settings.edge.rpc)
        host, port = stage.sip_over_ipv6
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as scanner:
            scanner.bind((host, 0))
            own = scanner.getsockname()[1]
            for number in range(25):
                scanner.sendto(
                    f"OPTIONS sip:100@[{host}]:{port} SIP/2.0\r\nVia: SIP/2.0/UDP [{host}]:{own};rport;"
                    f"branch=z9hG4bK{number}\r\nFrom: <sip:1@[{host}]>;tag=1\r\nTo: <sip:100@[{host}]>\r\n"
                    f"Call-ID: {number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode(),
                    (host, port),
                )
        assert await banned(rpc, "::")
        rpc.close()


async def banned(rpc: Rpc, network: str) -> bool:
    for _ in range(50):
        try:
            return bool(await rpc.call("htable.get", "ban", network))
        except RpcError:
            await asyncio.sleep(0.1)
    return False
