"""RFC 3261 to the letter: what a phone sends, as a bare socket at the other end sees it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.simulator.line import A_HZ, A_NUMBER
from tests.simulator.raw_peer import SDP, RawPeer, branch, header, headers

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.call import CallState
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.transaction import Timers


@pytest.fixture
async def peer() -> AsyncIterator[RawPeer]:
    async with RawPeer() as peer:
        yield peer


@pytest.fixture
async def phone(peer: RawPeer) -> AsyncIterator[Phone]:
    async with Carrier(
        "127.0.0.2", edge=peer.address, timers=Timers(t1_s=0.05, t2_s=0.4, t4_s=0.5)
    ) as carrier:
        yield carrier.add_phone(A_NUMBER, A_HZ)
        assert carrier.errors == []


def contact(peer: RawPeer) -> str:
    return f"Contact: <sip:far@{peer.address[0]}:{peer.address[1]}>\r\n"


async def test_request_is_repeated_until_a_provisional_response(peer: RawPeer, phone: Phone):
    await phone.call("+8613900000002")
    copies = [await peer.next("INVITE") for _ in range(3)]
    assert copies[0] == copies[1] == copies[2]
    peer.send(peer.answer(copies[0], "100 Trying", tag=""), phone.carrier.address)
    await asyncio.sleep(0.05)
    await peer.count("INVITE", 0)
    assert await peer.count("INVITE", 0.6) == 0


async def test_refusal_is_acknowledged_in_its_transaction_each_time(peer: RawPeer, phone: Phone):
    call = await phone.call("+8613900000002")
    invite = await peer.next("INVITE")
    for _ in range(2):
        peer.send(peer.answer(invite, "486 Busy Here"), phone.carrier.address)
        ack = await peer.next("ACK")
        assert branch(ack) == branch(invite)
        assert header(ack, "CSeq") == "1 ACK"
        assert header(ack, "To").endswith(";tag=far")
        assert ack.split()[1] == invite.split()[1]
    await call.wait_ended()
    assert call.final_code == 486


async def test_answer_is_acknowledged_along_the_route_set_each_time(peer: RawPeer, phone: Phone):
    host, port = peer.address
    call = await phone.call("+8613900000002")
    invite = await peer.next("INVITE")
    route = f"Record-Route: <sip:far-proxy;lr>\r\nRecord-Route: <sip:{host}:{port};lr;x=1>\r\n"
    answer = peer.answer(invite, "200 OK", extra=f"{route}Contact: <sip:far@192.0.2.9:7777>\r\n", body=SDP)
    acks = []
    for _ in range(2):
        peer.send(answer, phone.carrier.address)
        acks.append(await peer.next("ACK"))
    assert acks[0] == acks[1]
    assert branch(acks[0]) != branch(invite)
    assert acks[0].startswith("ACK sip:far@192.0.2.9:7777 SIP/2.0")
    assert headers(acks[0], "Route") == [f"<sip:{host}:{port};lr;x=1>", "<sip:far-proxy;lr>"]
    hanging_up = asyncio.ensure_future(call.hang_up())
    bye = await peer.next("BYE")
    assert headers(bye, "Route") == headers(acks[0], "Route")
    assert header(bye, "CSeq") == "2 BYE"
    peer.send(peer.answer(bye, "200 OK"), phone.carrier.address)
    assert await hanging_up == 200


async def test_second_answer_with_another_tag_is_acknowledged_and_ended(peer: RawPeer, phone: Phone):
    call = await phone.call("+8613900000002")
    invite = await peer.next("INVITE")
    for tag in ("one", "two"):
        peer.send(
            peer.answer(invite, "200 OK", tag=tag, extra=contact(peer), body=SDP), phone.carrier.address
        )
        assert header(await peer.next("ACK"), "To").endswith(f";tag={tag}")
    bye = await peer.next("BYE")
    assert header(bye, "To").endswith(";tag=two")
    peer.send(peer.answer(bye, "200 OK"), phone.carrier.address)
    assert call.state is CallState.ANSWERED


async def test_cancel_has_the_branch_of_its_invite(peer: RawPeer, phone: Phone):
    call = await phone.call("+8613900000002")
    invite = await peer.next("INVITE")
    peer.send(peer.answer(invite, "180 Ringing", extra=contact(peer)), phone.carrier.address)
    await call.wait_ringing()
    cancelling = asyncio.ensure_future(call.cancel())
    cancel = await peer.next("CANCEL")
    assert branch(cancel) == branch(invite)
    assert header(cancel, "CSeq") == "1 CANCEL"
    assert ";tag=" not in header(cancel, "To")
    peer.send(peer.answer(cancel, "200 OK"), phone.carrier.address)
    peer.send(peer.answer(invite, "487 Request Terminated"), phone.carrier.address)
    await peer.next("ACK")
    await cancelling
    assert call.final_code == 487


async def test_digest_challenge_is_answered(peer: RawPeer):
    async with Carrier("127.0.0.2", edge=peer.address, username="trunk", password="secret") as carrier:
        call = await carrier.add_phone(A_NUMBER, A_HZ).call("+8613900000002")
        first = await peer.next("INVITE")
        challenge = 'Proxy-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5\r\n'
        peer.send(peer.answer(first, "407 Proxy Authentication Required", extra=challenge), carrier.address)
        assert branch(await peer.next("ACK")) == branch(first)
        second = await peer.next("INVITE")
        assert header(second, "Proxy-Authorization").startswith('Digest username="trunk"')
        assert branch(second) != branch(first)
        assert header(second, "CSeq") == "2 INVITE"
        for name in ("Call-ID", "From", "To"):
            assert header(second, name) == header(first, name)
        peer.send(peer.answer(second, "407 Proxy Authentication Required", extra=challenge), carrier.address)
        third = await peer.next("INVITE")
        peer.send(peer.answer(third, "403 Forbidden"), carrier.address)
        await call.wait_ended()
        assert call.final_code == 403


async def test_answer_is_repeated_until_its_ack(peer: RawPeer, phone: Phone):
    phone.behaviour = Behaviour(answer_after_s=0.0)
    target = phone.carrier.address
    uri = f"sip:{A_NUMBER}@{target[0]}:{target[1]}"
    route = "Record-Route: <sip:127.0.0.4:PORT;lr>\r\nRecord-Route: <sip:behind;lr>\r\n"
    route = route.replace("PORT", str(peer.address[1]))
    invite = peer.request("INVITE", uri, branch="1", extra=route, body=SDP)
    peer.send(invite, target)
    answers = [await peer.next("SIP/2.0 200") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert headers(answers[0], "Record-Route") == headers(invite, "Record-Route")
    peer.send(invite, target)
    tag = header(answers[0], "To").rpartition("tag=")[2]
    peer.send(peer.request("ACK", uri, branch="2", to_tag=tag), target)
    call = await phone.next_call()
    await call.wait_answered()
    await peer.count("SIP/2.0 200", 0.05)
    assert await peer.count("SIP/2.0 200", 0.8) == 0
    assert len(phone.calls) == 1
    hanging_up = asyncio.ensure_future(call.hang_up())
    bye = await peer.next("BYE")
    assert headers(bye, "Route") == headers(invite, "Record-Route")
    assert bye.startswith(f"BYE sip:raw@127.0.0.4:{peer.address[1]} ")
    peer.send(peer.answer(bye, "200 OK"), target)
    assert await hanging_up == 200


async def test_answer_that_is_never_acknowledged_ends_with_bye(peer: RawPeer):
    async with Carrier("127.0.0.2", edge=peer.address, timers=Timers(t1_s=0.01)) as carrier:
        phone = carrier.add_phone(A_NUMBER, A_HZ, behaviour=Behaviour(answer_after_s=0.0))
        uri = f"sip:{A_NUMBER}@127.0.0.2"
        peer.send(peer.request("INVITE", uri, branch="1", body=SDP), carrier.address)
        bye = await peer.next("BYE")
        peer.send(peer.answer(bye, "200 OK"), carrier.address)
        assert phone.calls[0].state is CallState.ENDED


async def test_refusal_is_repeated_until_its_ack(peer: RawPeer, phone: Phone):
    phone.behaviour = Behaviour(reject_with=(486, "Busy Here"))
    target = phone.carrier.address
    uri = f"sip:{A_NUMBER}@{target[0]}"
    peer.send(peer.request("INVITE", uri, branch="1", body=SDP), target)
    refusals = [await peer.next("SIP/2.0 486") for _ in range(3)]
    assert refusals[0] == refusals[1] == refusals[2]
    tag = header(refusals[0], "To").rpartition("tag=")[2]
    peer.send(peer.request("ACK", uri, branch="1", to_tag=tag), target)
    await peer.count("SIP/2.0 486", 0.05)
    assert await peer.count("SIP/2.0 486", 0.6) == 0


async def test_responses_go_where_the_via_says(peer: RawPeer, phone: Phone):
    target = phone.carrier.address
    async with RawPeer() as other:
        # sent from `other`, but its Via names `peer` and does not ask for the source port
        plain = peer.request("OPTIONS", "sip:127.0.0.2", branch="1", rport=False)
        other.send(plain, target)
        assert header(await peer.next("SIP/2.0 200"), "Via") == header(plain, "Via")
        with_port = peer.request("OPTIONS", "sip:127.0.0.2", branch="2")
        other.send(with_port, target)
        via = header(await other.next("SIP/2.0 200"), "Via")
        assert f"rport={other.address[1]}" in via
        assert "received=127.0.0.4" in via


@pytest.mark.parametrize(
    ("method", "to_tag", "code"), [("BYE", "nobody", 481), ("CANCEL", "", 481), ("SUBSCRIBE", "", 405)]
)
async def test_requests_that_belong_to_nothing(peer: RawPeer, phone: Phone, method, to_tag, code):
    peer.send(
        peer.request(method, f"sip:{A_NUMBER}@127.0.0.2", branch="1", to_tag=to_tag), phone.carrier.address
    )
    assert (await peer.next("SIP/2.0")).startswith(f"SIP/2.0 {code} ")


async def test_extension_that_the_phone_does_not_know(peer: RawPeer, phone: Phone):
    extra = "Require: 100rel, x-unheard-of\r\n"
    uri = f"sip:{A_NUMBER}@127.0.0.2"
    peer.send(peer.request("INVITE", uri, branch="1", extra=extra, body=SDP), phone.carrier.address)
    refusal = await peer.next("SIP/2.0 420")
    assert header(refusal, "Unsupported") == "x-unheard-of"
    peer.send(
        peer.request("ACK", uri, branch="1", to_tag=header(refusal, "To").rpartition("tag=")[2]),
        phone.carrier.address,
    )


async def test_old_cseq_in_a_dialog_is_refused(peer: RawPeer, phone: Phone):
    phone.behaviour = Behaviour(answer_after_s=0.0)
    target = phone.carrier.address
    uri = f"sip:{A_NUMBER}@{target[0]}"
    peer.send(peer.request("INVITE", uri, branch="1", cseq=10, body=SDP), target)
    tag = header(await peer.next("SIP/2.0 200"), "To").rpartition("tag=")[2]
    peer.send(peer.request("ACK", uri, branch="2", cseq=10, to_tag=tag), target)
    peer.send(peer.request("INFO", uri, branch="3", cseq=9, to_tag=tag), target)
    await peer.next("SIP/2.0 500")
    peer.send(peer.request("BYE", uri, branch="4", cseq=11, to_tag=tag), target)
    await peer.next("SIP/2.0 200")


async def test_no_codec_in_common(peer: RawPeer, phone: Phone):
    uri = f"sip:{A_NUMBER}@127.0.0.2"
    sdp = SDP.replace("RTP/AVP 8", "RTP/AVP 18").replace("8 PCMA", "18 G729")
    phone.behaviour = Behaviour(answer_after_s=0.0)
    peer.send(peer.request("INVITE", uri, branch="1", body=sdp), phone.carrier.address)
    refusal = await peer.next("SIP/2.0 488")
    tag = header(refusal, "To").rpartition("tag=")[2]
    peer.send(peer.request("ACK", uri, branch="1", to_tag=tag), phone.carrier.address)
    assert phone.calls[0].final_code == 488
