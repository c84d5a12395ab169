"""How calls leave: over which trunk, in which spelling, and what happens when a trunk fails."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from xiaohao.simulator.behaviour import Behaviour

from .bare import exchange, header
from .conftest import Theatre
from .relays import Relays, relays


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def two(theatre: Theatre) -> AsyncIterator[Relays]:
    """Two trunks of one carrier. A test leaves them as it found them."""
    async with relays(
        theatre, "127.0.0.31", "127.0.0.32", specs=[{"probe": False}, {"probe": False}]
    ) as opened:
        yield opened


@pytest.mark.parametrize("code", [408, 500, 503, 580])
async def test_the_next_trunk_takes_over(two: Relays, code: int) -> None:
    """A trunk that fails is followed by the next; the caller has one dialog, and media."""
    await two.people()
    two.trunks[0].refuse_all = (code, "Trouble")
    try:
        call = await two.talk(1)
    finally:
        two.trunks[0].refuse_all = None
    assert call.provisional_codes == [180]
    assert len(call.dialogs) == 1
    await call.hang_up()
    assert await two.tries() == [(0, code), (1, None)]
    cdr = await two.cdr()
    assert cdr["trunk_out"] == two.trunk_ids[1]
    assert (cdr["reason"], cdr["sip_code"]) == ("caller_hung_up", 200)


async def test_silent_trunk(two: Relays) -> None:
    """A trunk that does not answer at all is given up after three seconds."""
    await two.people()
    two.trunks[0].silent = True
    try:
        call = await two.talk(1)
    finally:
        two.trunks[0].silent = False
    await call.hang_up()
    assert await two.tries() == [(0, 408), (1, None)]


async def test_trunk_that_says_trying_and_nothing_more(two: Relays) -> None:
    """100 alone is no sign of the callee's phone: the next trunk is tried while the caller still waits."""
    await two.people(Behaviour(ring_after_s=None, never_answer=True))
    two.callee_at(1).behaviour = Behaviour()
    call = await two.talk(1)
    await call.hang_up()
    assert await two.tries() == [(0, 408), (1, None)]


@pytest.mark.parametrize("silent", [True, False])
async def test_hung_up_before_anything_rings(two: Relays, silent: bool) -> None:
    """The platform ends a call that still looks for a way: no other trunk rings the callee after that."""
    await two.people(Behaviour(ring_after_s=None, never_answer=True))
    two.callee_at(1).behaviour = Behaviour()
    two.trunks[0].silent = silent
    try:
        call = await two.call()
        live = await two.theatre.live(two.binding_id)
        await two.theatre.customer.request("POST", f"/v1/calls/{live['call_id']}/hang-up")
        await call.wait_ended()
        assert (call.final_code, call.reason_header) == (480, "Q.850;cause=31")
    finally:
        two.trunks[0].silent = False
    cdr = await two.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("platform_hung_up", "platform", 31)
    assert [index for index, _ in await two.tries()] == [0]


async def test_a_callee_who_refuses_is_no_trunk_that_fails(two: Relays) -> None:
    """486 is the callee's own word: nobody asks the next trunk."""
    await two.people(Behaviour(reject_with=(486, "Busy Here")))
    call = await two.call()
    await call.wait_ended()
    assert call.final_code == 486
    assert await two.tries() == [(0, 486)]


async def test_all_trunks_fail(two: Relays) -> None:
    """The caller gets the last one's code and a cause, the CDR names all tries."""
    await two.people()
    for trunk, code in zip(two.trunks, (500, 502), strict=True):
        trunk.refuse_all = (code, "Trouble")
    try:
        call = await two.call()
        await call.wait_ended()
    finally:
        for trunk in two.trunks:
            trunk.refuse_all = None
    assert call.final_code == 502
    cdr = await two.cdr()
    assert (cdr["reason"], cdr["ended_by"], cdr["q850_cause"]) == ("trunk_failure", "platform", 38)
    assert await two.tries() == [(0, 500), (1, 502)]


async def test_ringing_trunk_fails_after_all(two: Relays) -> None:
    """A trunk may ring and then fail: the next one rings the callee again."""
    await two.people(Behaviour(reject_with=(503, "Lost"), reject_after_s=0.3, early_media=True))
    two.callee_at(1).behaviour = Behaviour()
    call = await two.talk(1)
    assert set(call.provisional_codes) <= {180, 183}
    await call.hang_up()
    assert await two.tries() == [(0, 503), (1, None)]


async def test_channels(two: Relays) -> None:
    """A full trunk gives its calls to one with room; where all are full the caller is told so."""
    await two.change(0, 1, channels=1)
    try:
        await two.people()
        first = await two.talk(0)
        second = await two.talk(1)
        third = await two.call()
        await third.wait_ended()
        assert third.final_code == 503
        assert third.reason_header == "Q.850;cause=34"
        await first.hang_up()
        await asyncio.sleep(0.3)
        fourth = await two.talk(0)
        await fourth.hang_up()
        await second.hang_up()
        cdrs = await two.theatre.until_cdrs(f"/v1/cdrs?binding_id={two.binding_id}", 4)
        assert sorted(cdr["reason"] for cdr in cdrs) == ["caller_hung_up"] * 3 + ["channels_full"]
    finally:
        await two.change(0, 1, channels=0)


async def test_disabled_trunks(two: Relays) -> None:
    """A disabled trunk carries nothing, from the next second on: neither out of the platform nor into it."""
    await two.people(caller=two.trunks[1])
    theirs = two.trunks[1].phones[two.caller.number]
    call = await two.talk(0)
    await call.hang_up()
    await two.change(1, state="disabled")
    try:
        unheard = await theirs.call(two.number)
        await asyncio.sleep(1.5)
        assert unheard.state == "calling"
        await unheard.close()
    finally:
        await two.change(1)
    call = await two.talk(0)
    await call.hang_up()


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_calls_go_on_when_their_trunk_is_disabled(two: Relays, who: str) -> None:
    """Whoever talks over it still holds and hangs up, whoever is ringing somebody still gives up."""
    await two.people(caller=two.trunks[1])
    call = await two.talk(0)
    callee = two.callee_at(0).calls[-1]
    two.callee_at(0).behaviour = Behaviour(never_answer=True)
    waiting = await two.call()
    await waiting.wait_ringing()
    index = 1 if who == "caller" else 0
    await two.change(index, state="disabled")
    try:
        on_it, other = (call, callee) if who == "caller" else (callee, call)
        assert await on_it.hold() == 200
        assert await on_it.hang_up() == 200
        await other.wait_ended()
        await waiting.cancel()
        await waiting.wait_ended()
    finally:
        await two.change(index)
    cdrs = await two.theatre.until_cdrs(f"/v1/cdrs?binding_id={two.binding_id}", 2)
    assert [cdr["reason"] for cdr in cdrs] == [f"{who}_hung_up", "caller_cancelled"]


async def test_trunk_that_only_takes_calls(two: Relays) -> None:
    """Without `sources` no call comes from a trunk, but its callees hold and hang up."""
    await two.change(0, sources=[])
    try:
        await two.people()
        call = await two.talk(0)
        callee = two.callee_at(0).calls[-1]
        assert await callee.hold() == 200
        assert await callee.hang_up() == 200
        await call.wait_ended()
    finally:
        await two.change(0, sources=[two.trunks[0].host])
    assert (await two.cdr())["reason"] == "callee_hung_up"


async def test_no_trunk(two: Relays) -> None:
    """The trunk that owns the number is disabled: 503, and the CDR says no_trunk."""
    await two.people()
    await two.change(0, state="disabled")
    try:
        call = await two.call()
        await call.wait_ended()
    finally:
        await two.change(0)
    assert (call.final_code, call.reason_header) == (503, "Q.850;cause=38")
    assert (await two.cdr())["reason"] == "no_trunk"


async def test_redirections(theatre: Theatre) -> None:
    """A trunk may send a call to another address of its own (302), and to nobody else's."""
    specs = [{"sources": ["127.0.0.33", "127.0.0.34"], "probe": False}]
    silent = [{"sources": []}]
    async with (
        relays(theatre, "127.0.0.33", specs=specs) as one,
        relays(theatre, "127.0.0.34", specs=silent) as other,
    ):
        await one.people()
        await other.change(0, state="disabled")
        number = one.callee_at(0).number
        host, port = other.trunks[0].address
        elsewhere = other.trunks[0].add_phone(number, 900)
        one.callee_at(0).behaviour = Behaviour(redirect_to=f"sip:{number}@{host}:{port}")
        call = await one.call()
        answering = await elsewhere.next_call()
        await call.wait_answered()
        assert await answering.wait_heard(400)
        await call.hang_up()
        assert (await one.cdr())["reason"] == "caller_hung_up"

        await one.people()
        foreign = theatre.mobile.address
        one.callee_at(0).behaviour = Behaviour(redirect_to=f"sip:{number}@{foreign[0]}:{foreign[1]}")
        call = await one.call()
        await call.wait_ended()
        assert call.final_code == 503
        assert await one.tries() == [(0, 302)]


async def test_targets_that_do_not_answer_options_are_passed_over(theatre: Theatre) -> None:
    """A target without answer to OPTIONS, or with 503, is not tried; it is again when it answers again."""
    async with relays(theatre, "127.0.0.35", "127.0.0.36", "127.0.0.43") as three:
        three.trunks[0].options_reply, three.trunks[1].options_reply = None, 503
        for trunk in three.trunks[:2]:
            await _until_health(theatre, trunk.address, 0)
        await three.people()
        call = await three.talk(2)
        await call.hang_up()
        assert await three.tries() == [(2, None)]
        three.trunks[0].options_reply = three.trunks[1].options_reply = 200
        for trunk in three.trunks[:2]:
            await _until_health(theatre, trunk.address, 1)
        await three.people()
        call = await three.talk(0)
        await call.hang_up()


async def _until_health(theatre: Theatre, target: tuple[str, int], wanted: int) -> None:
    series = f'xiaohao_trunk_target_up{{target="{target[0]}:{target[1]};transport=udp"}}'
    for _ in range(300):
        if await theatre.metric(series) == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{series} does not become {wanted}")


async def test_tcp_in_both_directions(theatre: Theatre) -> None:
    """Calls come and go over TCP; within a call, too, and where the other side speaks UDP."""
    specs = [{"transport": "tcp"}, {"transport": "tcp"}]
    async with relays(theatre, "127.0.0.37", "127.0.0.38", specs=specs) as pair:
        for caller in (None, pair.trunks[1]):
            await pair.people(caller=caller)
            call = await pair.talk(0)
            other = pair.callee_at(0).calls[-1]
            assert await other.hold() == 200
            assert await other.resume() == 200
            assert await call.wait_heard(900)
            await (call.hang_up() if caller else other.hang_up())
            await call.wait_ended()
            await other.wait_ended()
            await pair.cdr()


async def test_trunk_that_nobody_listens_at(theatre: Theatre) -> None:
    """A TCP connection that is refused is a failed try like any other."""
    specs = [{"transport": "tcp", "probe": False}, {"probe": False}]
    async with relays(theatre, "127.0.0.39", "127.0.0.40", specs=specs) as pair:
        await pair.trunks[0].stop()
        await pair.people()
        call = await pair.talk(1)
        await call.hang_up()
        assert [index for index, _ in await pair.tries()] == [0, 1]


async def test_spelling_towards_a_trunk(theatre: Theatre) -> None:
    """Number forms, technical prefix and the header with the number displayed are the trunk's own."""
    spec = {"callee_form": "zero", "prefix_out": "9911", "cli_form": "national", "cli_header_out": "pai"}
    async with exchange(theatre, "127.0.0.41", "127.0.0.42", **spec) as bare:
        line = await bare.line()
        line.invite()
        invite = await bare.far.next("INVITE", holding=line.far.number[3:])
        shown = header(invite, "From").partition("sip:")[2].partition("@")[0]
        assert invite.startswith(f"INVITE sip:99110{line.far.number[3:]}@127.0.0.42:")
        assert len(shown) == 11
        assert shown.startswith("1709")
        assert header(invite, "P-Asserted-Identity") == f"<sip:{shown}@127.0.0.1>"
        line.far.take(invite)
        line.far.reply(invite, "486 Busy Here")
        await line.near.socket.next("SIP/2.0 486")
