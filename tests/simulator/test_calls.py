"""Whole calls between two phones, in the ways that calls begin and end."""

import asyncio

import pytest
from tests.simulator.line import A_HZ, A_NUMBER, B_HZ, B_NUMBER, Line, MakeLine

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.call import CallOver, CallState
from xiaohao.simulator.transaction import Timers


def start_lines(call, direction):
    return [
        logged.raw.split(b"\r\n")[0].decode() for logged in call.messages if logged.direction == direction
    ]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_both_hear_each_other_and_see_the_number(make_line: MakeLine, transport):
    line = await make_line(transport=transport)
    call, far = await line.talk()
    assert await call.wait_heard(B_HZ)
    assert await far.wait_heard(A_HZ, seconds=0.3)
    assert not call.heard(A_HZ)
    assert not call.heard_silence()
    assert far.display == A_NUMBER
    assert call.display == B_NUMBER
    assert await call.hang_up() == 200
    await far.wait_ended()
    assert (call.ended_by_us, far.ended_by_us) == (True, False)
    assert (call.state, far.state) == (CallState.ENDED, CallState.ENDED)
    assert call.final_code == far.final_code == 200
    assert start_lines(call, "in")[:3] == ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]
    assert call.rtp_stats.packets_lost == 0
    assert call.rtp_stats.packets_received >= 20


async def test_callee_hangs_up_after_a_time(line: Line):
    call, far = await line.talk(Behaviour(hang_up_after_s=0.2))
    await call.wait_ended()
    assert (call.ended_by_us, far.ended_by_us) == (False, True)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_busy_with_its_reason(make_line: MakeLine, transport):
    line = await make_line(transport=transport)
    call, far = await line.ring(Behaviour(reject_with=(486, "Busy Here", "Q.850;cause=17")))
    with pytest.raises(CallOver):
        await call.wait_answered()
    assert (call.final_code, call.final_phrase, call.reason_header) == (486, "Busy Here", "Q.850;cause=17")
    assert call.provisional_codes == []
    assert (call.ended_by_us, far.ended_by_us) == (False, True)


async def test_rejected_while_ringing(line: Line):
    call, far = await line.ring(Behaviour(reject_with=(603, "Decline"), reject_after_s=0.2))
    await call.wait_ringing()
    await call.wait_ended()
    assert call.final_code == far.final_code == 603
    assert call.provisional_codes == [180]


async def test_number_that_the_carrier_does_not_have(line: Line):
    call = await line.a.call("+8613900009999")
    await call.wait_ended()
    assert call.final_code == 404


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_caller_gives_up_while_it_rings(make_line: MakeLine, transport):
    line = await make_line(transport=transport)
    call, far = await line.ring(Behaviour(never_answer=True))
    await call.wait_ringing()
    await call.cancel()
    await far.wait_ended()
    assert call.final_code == far.final_code == 487
    assert (call.ended_by_us, far.ended_by_us) == (True, False)


async def test_cancel_waits_for_a_provisional_response(line: Line):
    call, _ = await line.ring(Behaviour(no_100=True, ring_after_s=0.3, never_answer=True))
    await call.cancel()
    sent = [text.split()[0] for text in start_lines(call, "out")]
    assert sent == ["INVITE", "CANCEL", "ACK"]
    first_in = next(i for i, logged in enumerate(call.messages) if logged.direction == "in")
    cancel = next(i for i, logged in enumerate(call.messages) if logged.raw.startswith(b"CANCEL"))
    assert first_in < cancel


async def test_answer_that_crosses_the_cancel_ends_with_bye(line: Line):
    # the 200 is sent first, and is on its way while the caller decides
    call, far = await line.ring(Behaviour(ring_after_s=None, no_100=True, never_answer=True))
    cancelling = asyncio.ensure_future(call.cancel())
    await asyncio.sleep(0.05)
    await far.answer()
    await cancelling
    await far.wait_ended()
    assert call.final_code == 200
    assert call.ended_by_us
    assert any(text.startswith("BYE") for text in start_lines(call, "out"))


async def test_silent_trunk_runs_into_the_timeout(make_line: MakeLine):
    line = await make_line(timers=Timers(t1_s=0.01))
    call, far = await line.ring(Behaviour(never_reply=True))
    await call.wait_ended()
    assert call.timed_out
    assert call.final_code == 408
    # timer A and its doublings fit in 64*T1 six times (RFC 3261 §17.1.1.2); the last one by a hair's breadth
    assert len(start_lines(call, "out")) in (6, 7)
    assert start_lines(far, "out") == []


async def test_redirection(line: Line):
    call, _ = await line.ring(Behaviour(redirect_to="sip:+8613900000003@127.0.0.9"))
    await call.wait_ended()
    assert call.final_code == 302
    assert any(b"\r\nContact: <sip:+8613900000003@127.0.0.9>" in logged.raw for logged in call.messages)


async def test_early_media_is_heard_before_the_answer(line: Line):
    call, _ = await line.ring(Behaviour(early_media=True, answer_after_s=0.7))
    await call.wait_answered()
    assert call.provisional_codes == [183]
    assert call.early_media_heard(450)
    assert not call.early_media_heard(B_HZ)
    assert await call.wait_heard(B_HZ, seconds=0.3)


async def test_answer_by_the_last_of_several_forks(line: Line):
    call, far = await line.talk(Behaviour(forked_provisionals=3))
    assert call.provisional_codes == [180] * 4
    assert len(call.dialogs) == len(far.dialogs) == 4
    assert len({dialog.remote_tag for dialog in call.dialogs.values()}) == 4
    assert call.dialog is not None
    assert call.dialog.remote_tag == far.tag
    assert await call.wait_heard(B_HZ, seconds=0.3)
    await far.hang_up()
    await call.wait_ended()


async def test_manual_answer_and_rejection(line: Line):
    call, far = await line.ring(Behaviour(never_answer=True))
    await far.wait_ringing()
    await far.answer()
    await call.wait_answered()
    await call.hang_up()
    call, far = await line.ring()
    far.reject(480, reason="Q.850;cause=18")
    await call.wait_ended()
    assert (call.final_code, call.reason_header) == (480, "Q.850;cause=18")


async def test_several_calls_of_one_phone_at_once(line: Line):
    pairs = [await line.talk(Behaviour(answer_after_s=0.0)) for _ in range(5)]
    for call, far in pairs:
        assert await call.wait_heard(B_HZ, seconds=0.3)
        assert await far.wait_heard(A_HZ, seconds=0.3)
    for call, far in pairs:
        assert await far.hang_up() == 200
        await call.wait_ended()


async def test_a_refusing_and_an_unplugged_carrier(make_line: MakeLine):
    line = await make_line(timers=Timers(t1_s=0.01))
    line.far.refuse_all = (503, "Service Unavailable")
    call = await line.a.call(B_NUMBER)
    await call.wait_ended()
    assert call.final_code == 503
    line.far.silent = True
    call = await line.a.call(B_NUMBER)
    await call.wait_ended()
    assert call.timed_out


async def test_options(make_line: MakeLine):
    line = await make_line(far={"options_reply": 200}, timers=Timers(t1_s=0.01))
    assert await line.near.ping() == 200
    line.far.options_reply = 503
    assert await line.near.ping() == 503
    line.far.options_reply = None
    assert await line.near.ping() == 408


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"number_form": "digits"}, "8613800000001"),
        ({"number_form": "national", "cli_header": "pai"}, "13800000001"),
        ({"number_form": "zero", "cli_header": "rpid"}, "013800000001"),
        ({"number_form": lambda number: f"9901{number[1:]}"}, "99018613800000001"),
    ],
)
async def test_spellings_and_headers_of_the_callers_number(make_line: MakeLine, options, shown):
    line = await make_line(near=options)
    call, far = await line.talk()
    assert far.display == shown
    await call.hang_up()


async def test_withheld_number(line: Line):
    call, far = await line.talk(withhold=True)
    assert far.display == "anonymous"
    assert not any(
        A_NUMBER[3:].encode() in logged.raw.split(b"\r\nContact")[0] for logged in far.messages[:1]
    )
    await call.hang_up()
