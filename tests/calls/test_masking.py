"""Nothing of one side reaches the other: every byte that arrives at a phone is searched.

The phones write who they are into every header and SDP line that has room for it, and into RTCP.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.phone import Phone

from .conftest import Theatre
from .relays import relays
from .searcher import Call, Secrets, leaks, received, secrets_of

LEAKY = Behaviour(leaky_headers=True)
#: digits that are not found by accident
_dice = random.Random(20)
_tones = itertools.cycle(range(300, 1000, 40))


class Cast:
    """Two leaky phones at two carriers, bound to each other, and the calls that they have seen."""

    def __init__(self, theatre: Theatre, caller: Phone, callee: Phone, dialled: str, binding_id: str) -> None:
        self.theatre, self.caller, self.callee = theatre, caller, callee
        self.dialled, self.binding_id = dialled, binding_id

    async def call(self, **options: object) -> tuple[Call, Call]:
        """Both views of a call that rings at the callee."""
        call = await self.caller.call(self.dialled, **options)
        return call, await self.callee.next_call()


async def cast(theatre: Theatre, callee: Behaviour = LEAKY, caller: Behaviour = LEAKY) -> Cast:
    a, b = (f"+861{second}{_dice.randrange(10**7, 10**8)}" for second in (35, 87))
    calling = theatre.city.add_phone(a, next(_tones), behaviour=caller)
    called = theatre.mobile.add_phone(b, next(_tones), behaviour=callee)
    binding = await theatre.customer.reserve(a, b, theatre.x_pool, theatre.y_pool)
    return Cast(theatre, calling, called, binding["y"], binding["id"])


async def talk(people: Cast, call: Call, other: Call) -> None:
    await call.wait_answered()
    await other.wait_answered()
    assert await call.wait_heard(people.callee.tone_hz)
    assert await other.wait_heard(people.caller.tone_hz)


async def answered_and_used(people: Cast) -> None:
    call, other = await people.call()
    await talk(people, call, other)
    for one in (call, other):
        await one.info_dtmf("5")
        await one.dtmf("7")
        assert await one.hold() == 200
        assert await one.resume() == 200
        assert await one.update() == 200
        assert await one.reinvite(late_offer=True) == 200
    await talk(people, call, other)
    await call.hang_up()


async def callee_hangs_up(people: Cast) -> None:
    people.callee.behaviour = replace(LEAKY, hang_up_after_s=0.8)
    call, _ = await people.call()
    await call.wait_ended()


async def busy(people: Cast) -> None:
    people.callee.behaviour = replace(LEAKY, reject_with=(486, "Busy"), reject_after_s=0.2)
    call, _ = await people.call()
    await call.wait_ended()


async def refused_at_once(people: Cast) -> None:
    number = people.callee.number
    people.callee.behaviour = replace(
        LEAKY, reject_with=(603, f"{number} Declines", f"Q.850;cause=21;text={number}")
    )
    call, _ = await people.call()
    await call.wait_ended()
    assert call.reason_header == "Q.850;cause=21"


async def cancelled(people: Cast) -> None:
    people.callee.behaviour = replace(LEAKY, never_answer=True)
    call, other = await people.call()
    await call.wait_ringing()
    await call.cancel()
    await other.wait_ended()


async def late_offer(people: Cast) -> None:
    call, other = await people.call(late_offer=True)
    await talk(people, call, other)
    await other.hang_up()


async def reliable_early_media(people: Cast) -> None:
    people.callee.behaviour = replace(LEAKY, reliable_provisional=True, early_media=True, answer_after_s=0.8)
    call, other = await people.call(reliable="required")
    await talk(people, call, other)
    assert call.early_media_heard(450)
    await call.hang_up()


async def forked(people: Cast) -> None:
    people.callee.behaviour = replace(LEAKY, forked_provisionals=3, early_media=True, answer_after_s=0.5)
    call, other = await people.call()
    await talk(people, call, other)
    await call.hang_up()


async def platform_hangs_up(people: Cast, answered: bool = True) -> None:
    people.callee.behaviour = replace(LEAKY, never_answer=not answered)
    call, other = await people.call()
    await (talk(people, call, other) if answered else call.wait_ringing())
    live = await people.theatre.live(people.binding_id)
    await people.theatre.customer.request("POST", f"/v1/calls/{live['call_id']}/hang-up")
    await call.wait_ended()
    await other.wait_ended()


async def platform_gives_up(people: Cast) -> None:
    await platform_hangs_up(people, answered=False)


async def session_runs_out(people: Cast) -> None:
    people.callee.behaviour = replace(LEAKY, session_expires=3, refresher="uas", refreshes=False)
    call, other = await people.call(session_expires=3)
    await talk(people, call, other)
    await call.wait_ended()


async def refused_within_the_call(people: Cast) -> None:
    """Requests that the other side, or the platform, does not take."""
    call, other = await people.call()
    await talk(people, call, other)
    for one in (call, other):
        assert await one.reinvite(headers={"Require": f"x-{one.phone.number}"}) == 420
    # the one meets the other on the way: 491, and a second try
    assert await asyncio.gather(call.reinvite("sendonly"), other.reinvite("sendonly")) == [200, 200]
    await call.hang_up()


async def redirected(people: Cast) -> None:
    people.callee.behaviour = replace(LEAKY, redirect_to=f"sip:{people.callee.number}@192.0.2.7")
    call, _ = await people.call()
    await call.wait_ended()


async def long_enough_for_reports(people: Cast) -> None:
    """The relay sends RTCP of its own every five to seven seconds."""
    call, other = await people.call()
    await talk(people, call, other)
    for _ in range(300):
        if call.rtcp_packets_raw and other.rtcp_packets_raw:
            break
        await asyncio.sleep(0.1)
    for one, far in ((call, other), (other, call)):
        assert one.rtcp_packets_raw
        assert one.rtp_packets_raw
        assert {host for host, _ in one.rtp_stats.sources} == {"127.0.0.1"}
        assert {host for host, _ in far.rtp_stats.targets} == {"127.0.0.1"}
    await call.hang_up()


async def another_trunk_takes_over(people: Cast) -> None:
    """Of the trunk that rang, and then failed, the caller learns no more than of the one that answered."""
    async with relays(people.theatre, "127.0.0.73", "127.0.0.74") as pair:
        await pair.people(LEAKY)
        people.caller, people.callee = pair.caller, pair.callee_at(1)
        failing = replace(LEAKY, reject_with=(503, f"{people.callee.number} lost"), reject_after_s=0.3)
        pair.callee_at(0).behaviour = failing
        call = await pair.talk(1)
        await call.hang_up()
        await asyncio.sleep(0.2)
        assert leaks([call], secrets_of(pair.callee_at(0).calls)) == []
        assert leaks(pair.callee_at(0).calls, secrets_of([call])) == []


SCENES: list[Callable[[Cast], Awaitable[None]]] = [
    answered_and_used,
    callee_hangs_up,
    busy,
    refused_at_once,
    cancelled,
    late_offer,
    reliable_early_media,
    forked,
    platform_hangs_up,
    platform_gives_up,
    session_runs_out,
    redirected,
    refused_within_the_call,
    long_enough_for_reports,
    another_trunk_takes_over,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_neither_learns_of_the_other(
    theatre: Theatre, scene: Callable[[Cast], Awaitable[None]]
) -> None:
    people = await cast(theatre)
    await scene(people)
    await asyncio.sleep(0.3)
    calls, others = people.caller.calls, people.callee.calls
    assert received(calls)
    assert received(others)
    assert leaks(calls, secrets_of(others)) == []
    assert leaks(others, secrets_of(calls)) == []
    # nor does the callee need to know over which number they were called
    assert leaks(others, Secrets(numbers=[people.dialled])) == []
