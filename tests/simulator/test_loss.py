"""Calls over a network that loses a third of all SIP packets."""

import asyncio

from tests.simulator.line import A_HZ, A_NUMBER, Line, MakeLine
from tests.simulator.raw_peer import SDP, RawPeer

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.transaction import Timers

QUICK = Timers(t1_s=0.05, t2_s=0.4, t4_s=0.5)


async def whole_call(line: Line, behaviour: Behaviour) -> None:
    number = f"+86139000001{len(line.far.phones):02d}"
    phone = line.far.add_phone(number, 900, behaviour=behaviour)
    call = await line.a.call(number)
    far = await phone.next_call()
    await call.wait_answered()
    await far.wait_answered()
    assert await call.hang_up() == 200
    await far.wait_ended()
    assert call.final_code == far.final_code == 200
    assert len(phone.calls) == 1


async def test_calls_complete_in_spite_of_loss(make_line: MakeLine):
    line = await make_line(timers=QUICK)
    line.a.behaviour = Behaviour(drop_packets=0.3, seed=5)
    await asyncio.gather(*(whole_call(line, Behaviour(drop_packets=0.3, seed=n)) for n in range(10)))
    lost = [m for carrier in (line.near, line.far) for m in carrier.messages if m.direction == "lost"]
    assert len(lost) > 20


async def test_reliable_responses_and_cancel_in_spite_of_loss(make_line: MakeLine):
    line = await make_line(timers=QUICK)
    line.a.behaviour = Behaviour(drop_packets=0.3, seed=3)
    for seed in range(3):
        call, far = await line.ring(
            Behaviour(
                drop_packets=0.3, seed=seed, reliable_provisional=True, early_media=True, never_answer=True
            )
        )
        await call.wait_ringing()
        assert await call.wait_heard(450, seconds=0.3)
        await call.cancel()
        await far.wait_ended()
        assert call.final_code == far.final_code == 487


async def test_the_same_seed_loses_the_same_packets():
    patterns = []
    for seed in (7, 7, 8):
        async with RawPeer() as peer, Carrier("127.0.0.2", edge=peer.address) as carrier:
            carrier.add_phone(
                A_NUMBER, A_HZ, behaviour=Behaviour(drop_packets=0.5, seed=seed, never_reply=True)
            )
            for _ in range(40):
                invite = peer.request("INVITE", f"sip:{A_NUMBER}@127.0.0.2", branch="1", body=SDP)
                peer.send(invite, carrier.address)
            await asyncio.sleep(0.3)
            patterns.append([logged.direction for logged in carrier.messages])
    assert patterns[0] == patterns[1] != patterns[2]
    assert 10 < patterns[0].count("lost") < 30
