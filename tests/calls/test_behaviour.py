"""How a call must behave: every end, every SIP feature, seen from both phones and from the CDR."""

import asyncio
from uuid import UUID

import pytest

from xiaohao.simulator.behaviour import Behaviour

from .conftest import LIMITS, Theatre


async def test_early_media_reaches_the_caller(theatre: Theatre) -> None:
    """What the callee's network plays before the answer is heard by the caller."""
    pair = await theatre.pair(Behaviour(early_media=True, answer_after_s=1.5))
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    assert call.early_media_heard(450)
    await call.hang_up()
    cdr = await pair.cdr()
    assert cdr["ringing_at"] < cdr["answered_at"]


async def test_ring_back(theatre: Theatre) -> None:
    """A 180 without media arrives as ringing."""
    pair = await theatre.pair(Behaviour(answer_after_s=1.0))
    call = await pair.driver.call(pair.y)
    await call.wait_ringing()
    assert call.state == "ringing"
    await call.wait_answered()
    await call.hang_up()
    await pair.cdr()


@pytest.mark.parametrize(
    ("rejection", "code", "reason", "cause"),
    [
        ((486, "Busy Here"), 486, "callee_busy", 17),
        ((600, "Busy Everywhere"), 600, "callee_busy", 17),
        ((603, "Decline"), 603, "callee_rejected", 21),
        ((480, "Temporarily Unavailable", "Q.850;cause=20"), 480, "callee_unreachable", 20),
        ((480, "Temporarily Unavailable", "Q.850;cause=19"), 480, "callee_no_answer", 19),
        (
            (480, "Temporarily Unavailable", "q.850;text=x;cause=20, SIP;cause=480"),
            480,
            "callee_unreachable",
            20,
        ),
        ((480, "Temporarily Unavailable", "Q.850;cause=200"), 480, "callee_unreachable", 18),
        ((404, "Not Found"), 404, "callee_number_invalid", 1),
        ((503, "Service Unavailable"), 503, "trunk_failure", 41),
    ],
)
async def test_refused_by_the_callee(
    theatre: Theatre, rejection: tuple[int, str], code: int, reason: str, cause: int
) -> None:
    """The caller gets the callee's code, the CDR our reason and the Q.850 cause."""
    pair = await theatre.pair(Behaviour(reject_with=rejection, reject_after_s=0.2))
    call = await pair.driver.call(pair.y)
    await call.wait_ended()
    assert (call.final_code, call.reason_header) == (code, f"Q.850;cause={cause}")
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["sip_code"], cdr["q850_cause"]) == (reason, code, cause)
    assert cdr["ended_by"] == ("platform" if reason == "trunk_failure" else "callee")
    assert cdr["answered_at"] is None


async def test_nobody_answers(theatre: Theatre) -> None:
    """The callee's phone rings for as long as the platform lets it, then both sides hear of it at once."""
    pair = await theatre.pair(Behaviour(never_answer=True))
    call = await pair.driver.call(pair.y)
    ringing = await pair.passenger.next_call()
    await call.wait_ringing()
    await call.wait_ended(timeout=LIMITS["ring_s"] + 15)
    await ringing.wait_ended()
    assert (call.final_code, call.reason_header) == (480, "Q.850;cause=19")
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["sip_code"], cdr["q850_cause"]) == ("callee_no_answer", 480, 19)


async def test_cancelled_while_ringing(theatre: Theatre) -> None:
    """The caller gives up: the callee's phone stops ringing at once."""
    pair = await theatre.pair(Behaviour(never_answer=True))
    call = await pair.driver.call(pair.y)
    await call.wait_ringing()
    ringing = await pair.passenger.next_call()
    await call.cancel()
    await ringing.wait_ended()
    await call.wait_ended()
    assert call.final_code == 487
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("caller_cancelled", "caller", 16)


async def test_callee_hangs_up(theatre: Theatre) -> None:
    """A BYE from the callee ends the caller's side too."""
    pair = await theatre.pair(Behaviour(hang_up_after_s=0.7))
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    await call.wait_ended()
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("callee_hung_up", "callee", 16)
    assert 500 < cdr["talk_ms"] < 1500


async def test_calls_are_in_order_by_their_ids(theatre: Theatre) -> None:
    """A later call has a greater id: the list of live calls, and its cursor, go by that."""
    made = []
    for _ in range(3):
        pair = await theatre.pair()
        call = await pair.driver.call(pair.y)
        await call.wait_answered()
        await call.hang_up()
        made.append((await pair.cdr())["call_id"])
    assert made == sorted(made)
    assert [UUID(call_id).version for call_id in made] == [8, 8, 8]


async def test_both_hang_up_at_once(theatre: Theatre) -> None:
    """Two BYEs that cross still make one CDR."""
    pair = await theatre.pair()
    call = await pair.driver.call(pair.y)
    answering = await pair.passenger.next_call()
    await call.wait_answered()
    await asyncio.sleep(0.3)
    await asyncio.gather(call.hang_up(), answering.hang_up())
    await call.wait_ended()
    await answering.wait_ended()
    assert (await pair.cdr())["reason"] in {"caller_hung_up", "callee_hung_up"}


@pytest.mark.parametrize("answered", [True, False])
async def test_platform_hangs_up(theatre: Theatre, answered: bool) -> None:
    """The API ends a live call on both sides, before and after the answer."""
    pair = await theatre.pair(Behaviour(never_answer=not answered))
    call = await pair.driver.call(pair.y)
    other = await pair.passenger.next_call()
    await (call.wait_answered() if answered else call.wait_ringing())
    live = await pair.live()
    await theatre.customer.request("POST", f"/v1/calls/{live['call_id']}/hang-up")
    await call.wait_ended()
    await other.wait_ended()
    assert call.reason_header == "Q.850;cause=31"
    if answered:
        assert other.reason_header == "Q.850;cause=31"
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("platform_hung_up", "platform", 31)


async def test_maximum_duration(theatre: Theatre) -> None:
    """A call ends when its binding says so."""
    pair = await theatre.pair(max_duration_s=2)
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    other = await pair.passenger.next_call()
    await call.wait_ended()
    await other.wait_ended()
    assert {call.reason_header, other.reason_header} == {"Q.850;cause=102"}
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("max_duration", "platform", 102)
    assert 1900 <= cdr["talk_ms"] < 3000


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_hold_and_resume(theatre: Theatre, who: str) -> None:
    """A re-INVITE of either side passes: the held side is silent (RFC 3264 section 8.4), then speaks."""
    pair = await theatre.pair()
    call = await pair.driver.call(pair.y)
    answering = await pair.passenger.next_call()
    await call.wait_answered()
    holder = call if who == "caller" else answering
    held_hz = pair.passenger.tone_hz if who == "caller" else pair.driver.tone_hz
    assert await holder.wait_heard(held_hz)
    await holder.hold()
    assert await holder.wait_silence()
    await holder.resume()
    assert await holder.wait_heard(held_hz)
    await call.hang_up()
    await answering.wait_ended()
    await pair.cdr()


async def test_late_offer(theatre: Theatre) -> None:
    """An INVITE without SDP: the callee offers in 200, the caller answers in ACK."""
    pair = await theatre.pair()
    call = await pair.driver.call(pair.y, late_offer=True)
    answering = await pair.passenger.next_call()
    await call.wait_answered()
    assert await call.wait_heard(pair.passenger.tone_hz)
    assert await answering.wait_heard(pair.driver.tone_hz)
    await call.hang_up()
    await answering.wait_ended()
    await pair.cdr()


async def test_reliable_provisional(theatre: Theatre) -> None:
    """100rel and PRACK work from end to end (RFC 3262)."""
    pair = await theatre.pair(Behaviour(reliable_provisional=True, answer_after_s=0.8))
    call = await pair.driver.call(pair.y, reliable="required")
    answering = await pair.passenger.next_call()
    await call.wait_answered()
    assert any(raw.startswith(b"PRACK") for _, _, raw in answering.messages)
    assert await call.wait_heard(pair.passenger.tone_hz)
    await call.hang_up()
    await pair.cdr()


async def test_update_and_reinvite_of_the_callee(theatre: Theatre) -> None:
    """UPDATE (RFC 3311) and re-INVITE after the answer leave the call talking."""
    for behaviour in (Behaviour(update_after_s=0.3), Behaviour(reinvite_after_s=0.3)):
        pair = await theatre.pair(behaviour)
        call = await pair.driver.call(pair.y)
        answering = await pair.passenger.next_call()
        await call.wait_answered()
        await asyncio.sleep(0.8)
        assert await call.wait_heard(pair.passenger.tone_hz)
        assert await answering.wait_heard(pair.driver.tone_hz)
        await call.hang_up()
        await answering.wait_ended()
        await pair.cdr()


async def test_session_timer(theatre: Theatre) -> None:
    """RFC 4028: the sides agree on an interval and refresh, and so the call outlives it."""
    pair = await theatre.pair(Behaviour(session_expires=4, refresher="uas"))
    call = await pair.driver.call(pair.y, session_expires=4)
    await call.wait_answered()
    await asyncio.sleep(5)
    assert call.state == "answered"
    await call.hang_up()
    await pair.cdr()


async def test_dtmf(theatre: Theatre) -> None:
    """Digits pass as RFC 4733 events and as SIP INFO."""
    pair = await theatre.pair()
    call = await pair.driver.call(pair.y)
    answering = await pair.passenger.next_call()
    await call.wait_answered()
    await call.dtmf("159")
    await asyncio.sleep(0.5)
    assert answering.dtmf_received == "159"
    await answering.info_dtmf("7")
    await asyncio.sleep(0.3)
    assert call.dtmf_received.endswith("7")
    await call.hang_up()
    await pair.cdr()


async def test_forked_provisionals(theatre: Theatre) -> None:
    """Several early dialogs of the callee's network: the call goes on with the one that answers."""
    pair = await theatre.pair(Behaviour(forked_provisionals=3, answer_after_s=0.6))
    call = await pair.driver.call(pair.y)
    answering = await pair.passenger.next_call()
    await call.wait_answered()
    assert await call.wait_heard(pair.passenger.tone_hz)
    await answering.hang_up()
    await call.wait_ended()
    await pair.cdr()


async def test_lost_packets(theatre: Theatre) -> None:
    """A third of the callee's SIP packets is lost over UDP; the call still comes and goes, once."""
    pair = await theatre.pair(Behaviour(drop_packets=0.3, seed=7))
    call = await pair.driver.call(pair.y)
    await call.wait_answered(timeout=15)
    await call.hang_up()
    await call.wait_ended(timeout=15)
    await pair.cdr()


async def test_dead_media(theatre: Theatre) -> None:
    """Both phones vanish without a BYE: the platform ends the call by itself (4 s on this platform)."""
    pair = await theatre.pair(Behaviour(send_rtp=False, send_rtcp=False), driver=None)
    pair.driver.behaviour = Behaviour(send_rtp=False, send_rtcp=False)
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    await call.wait_ended(timeout=15)
    cdr = await pair.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("dead_media", "platform", 31)
