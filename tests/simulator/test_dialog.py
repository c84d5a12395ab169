"""What happens inside a call: offers and answers, key presses, timers."""

import asyncio

import pytest
from tests.simulator.line import A_HZ, B_HZ, Line, MakeLine

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.call import CallState


def requests(call, direction, method):
    return [
        m.raw for m in call.messages if m.direction == direction and m.raw.startswith(f"{method} ".encode())
    ]


async def test_late_offer(line: Line):
    call, far = await line.talk(late_offer=True)
    assert b"m=audio" not in requests(call, "out", "INVITE")[0]
    assert b"m=audio" in requests(call, "out", "ACK")[0]
    assert await call.wait_heard(B_HZ, seconds=0.3)
    assert await far.wait_heard(A_HZ, seconds=0.3)


async def test_reliable_provisional_response(line: Line):
    call, far = await line.talk(Behaviour(reliable_provisional=True, early_media=True, answer_after_s=0.6))
    prack = requests(call, "out", "PRACK")
    assert len(prack) == 1
    assert b"\r\nRAck: " in prack[0]
    assert call.provisional_codes == [183]
    assert call.early_media_heard(450)
    assert await far.wait_heard(A_HZ, seconds=0.3)


async def test_reliable_provisional_response_with_late_offer_is_answered_in_the_prack(line: Line):
    call, far = await line.talk(Behaviour(reliable_provisional=True, early_media=True), late_offer=True)
    assert b"m=audio" in requests(call, "out", "PRACK")[0]
    assert b"m=audio" not in requests(call, "out", "ACK")[0]
    assert await call.wait_heard(B_HZ, seconds=0.3)
    assert await far.wait_heard(A_HZ, seconds=0.3)


async def test_reliable_only_where_the_caller_bears_it(line: Line):
    call, _ = await line.talk(Behaviour(reliable_provisional=True), reliable="no")
    assert requests(call, "out", "PRACK") == []


async def test_caller_may_require_reliable_provisional_responses(line: Line):
    call, _ = await line.talk(reliable="required")
    assert len(requests(call, "out", "PRACK")) == 1


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_hold_and_resume(line: Line, who):
    call, far = await line.talk()
    holder, held = (call, far) if who == "caller" else (far, call)
    holder_hz, held_hz = (A_HZ, B_HZ) if who == "caller" else (B_HZ, A_HZ)
    assert await holder.wait_heard(held_hz, seconds=0.3)
    assert await holder.hold() == 200
    assert await holder.wait_silence(seconds=0.3)
    assert await held.wait_heard(holder_hz, seconds=0.3)
    assert await holder.resume() == 200
    assert await holder.wait_heard(held_hz, seconds=0.3)
    assert await holder.hold("inactive") == 200
    assert await held.wait_silence(seconds=0.3)
    assert await holder.wait_silence(seconds=0.3)
    await held.hang_up()


async def test_late_offer_in_a_reinvite(line: Line):
    call, far = await line.talk()
    assert await far.reinvite(late_offer=True) == 200
    assert await call.wait_heard(B_HZ, seconds=0.3)
    assert await far.wait_heard(A_HZ, seconds=0.3)


async def test_crossing_reinvites_both_succeed_in_the_end(line: Line):
    call, far = await line.talk()
    assert await asyncio.gather(call.hold(), far.reinvite()) == [200, 200]
    assert any(b"SIP/2.0 491" in logged.raw for logged in call.messages)


@pytest.mark.parametrize("with_offer", [True, False])
async def test_update_from_both_sides(line: Line, with_offer):
    call, far = await line.talk()
    assert await call.update(with_offer=with_offer) == 200
    assert await far.update(with_offer=with_offer) == 200
    assert await call.wait_heard(B_HZ, seconds=0.3)
    assert await far.wait_heard(A_HZ, seconds=0.3)


async def test_update_before_the_answer(line: Line):
    call, far = await line.ring(Behaviour(reliable_provisional=True, early_media=True, never_answer=True))
    await call.wait_ringing()
    assert await call.wait_heard(450, seconds=0.3)
    assert await call.update() == 200
    assert await call.wait_heard(450, seconds=0.3)
    await far.answer()
    assert await call.wait_heard(B_HZ, seconds=0.3)


async def test_callee_that_updates_and_reinvites_after_the_answer(line: Line):
    call, far = await line.talk(Behaviour(update_after_s=0.05, reinvite_after_s=0.15))
    await asyncio.sleep(0.3)
    assert len(requests(far, "out", "UPDATE")) == 1
    assert len(requests(call, "in", "INVITE")) == 1
    assert call.state is far.state is CallState.ANSWERED


async def test_keys_by_rtp_and_by_info(line: Line):
    call, far = await line.talk()
    await call.dtmf("12*")
    assert await far.info_dtmf("7") == 200
    await far.dtmf("9#")
    await asyncio.sleep(0.1)
    assert far.dtmf_received == "12*"
    assert call.dtmf_received == "79#"
    assert await far.wait_heard(A_HZ, seconds=0.3)


async def test_session_is_refreshed_by_the_callee(line: Line):
    call, far = await line.talk(session_expires=2, refresher="uas")
    assert not call.timer.we_refresh
    assert far.timer.we_refresh
    await asyncio.sleep(2.2)
    assert len(requests(far, "out", "UPDATE")) == 2
    assert call.state is far.state is CallState.ANSWERED
    await call.hang_up()


async def test_session_is_refreshed_by_the_caller_with_what_the_callee_asked_for(line: Line):
    call, _ = await line.talk(Behaviour(session_expires=1, refresher="uac"))
    assert call.timer.we_refresh
    await asyncio.sleep(1.3)
    assert len(requests(call, "out", "UPDATE")) == 2
    assert call.state is CallState.ANSWERED


async def test_session_that_is_not_refreshed_ends(line: Line):
    call, far = await line.talk(Behaviour(refreshes=False), session_expires=1, refresher="uas")
    await far.wait_ended(2)
    assert call.ended_by_us
    assert "session expired" in (far.reason_header or "")


async def test_timer_too_short_for_the_callee(line: Line):
    call, _ = await line.ring(Behaviour(min_se=120), session_expires=90)
    far = await line.b.next_call()
    await call.wait_answered()
    assert call.timer.interval_s == far.timer.interval_s == 120


@pytest.mark.parametrize("codec", ["PCMU", "G722", "opus", "AMR"])
async def test_other_codecs(make_line: MakeLine, codec):
    line = await make_line()
    a = line.near.add_phone("+8613800000011", 600, codec=codec)
    b = line.far.add_phone("+8613900000012", 800, codec=codec)
    call = await a.call(b.number)
    far = await b.next_call()
    await call.wait_answered()
    assert await call.wait_heard(800, seconds=0.3)
    assert await far.wait_heard(600, seconds=0.3)
    assert codec in requests(call, "out", "INVITE")[0].decode()


async def test_phones_with_different_favourites_meet_in_g711(line: Line):
    a = line.near.add_phone("+8613800000011", 600, codec="opus")
    call = await a.call(line.b.number)
    far = await line.b.next_call()
    assert await call.wait_heard(B_HZ, seconds=0.3)
    assert await far.wait_heard(600, seconds=0.3)
