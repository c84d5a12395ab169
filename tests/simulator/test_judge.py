"""The judge finds what is wrong and nothing else."""

import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.simulator.line import A_HZ, A_NUMBER, B_HZ, Line, MakeLine
from tests.simulator.raw_peer import SDP, RawPeer, header

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.phone import Phone

URI = f"sip:{A_NUMBER}@127.0.0.2"


@pytest.fixture
async def peer() -> AsyncIterator[RawPeer]:
    async with RawPeer() as peer:
        yield peer


@pytest.fixture
async def phone(peer: RawPeer) -> AsyncIterator[Phone]:
    async with Carrier("127.0.0.2", edge=peer.address) as carrier:
        yield carrier.add_phone(A_NUMBER, A_HZ, behaviour=Behaviour(answer_after_s=0.0))


@pytest.mark.parametrize(
    ("good", "bad", "fault"),
    [
        ("Max-Forwards: 70\r\n", "", "no Max-Forwards"),
        ("branch=z9hG4bK", "branch=", "magic cookie"),
        (";tag=near", "", "From without a tag"),
        ("CSeq: 1 INVITE", "CSeq: 1 OPTIONS", "another method"),
        ("Content-Length: ", "Content-Length: 1", "length of the body"),
        ("Contact: ", "X-Contact: ", "not exactly one Contact"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nCSeq: 1 INVITE\r\n", "more than one cseq"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\n", "without CR"),
        ("o=- 1 1 IN", "o=- 1 x IN", "damaged o= line"),
    ],
)
async def test_faulty_request(peer: RawPeer, phone: Phone, good, bad, fault):
    invite = peer.request("INVITE", URI, branch="1", body=SDP)
    assert good in invite
    peer.send(invite.replace(good, bad), phone.carrier.address)
    await peer.next("SIP/2.0")
    assert any(fault in complaint for complaint in phone.carrier.complaints), phone.carrier.complaints


async def test_request_in_order(peer: RawPeer, phone: Phone):
    peer.send(peer.request("INVITE", URI, branch="1", body=SDP), phone.carrier.address)
    tag = header(await peer.next("SIP/2.0 200"), "To").rpartition("tag=")[2]
    peer.send(peer.request("ACK", URI, branch="2", to_tag=tag), phone.carrier.address)
    call = await phone.next_call()
    await call.wait_answered()
    assert phone.carrier.complaints == []


async def test_acknowledgement_with_the_branch_of_its_invite(peer: RawPeer, phone: Phone):
    peer.send(peer.request("INVITE", URI, branch="1", body=SDP), phone.carrier.address)
    tag = header(await peer.next("SIP/2.0 200"), "To").rpartition("tag=")[2]
    peer.send(peer.request("ACK", URI, branch="1", to_tag=tag), phone.carrier.address)
    await (await phone.next_call()).wait_answered()
    assert any("branch of its INVITE" in complaint for complaint in phone.carrier.complaints)


@pytest.mark.parametrize(
    ("origin", "fault"),
    [
        ("o=- 1 2 IN", None),
        ("o=- 2 2 IN", "another session id"),
        ("o=- 1 0 IN", "older version"),
        ("o=- 1 1 IN", "same version"),
        ("o=- 1 3 IN", "more than one higher"),
    ],
)
async def test_session_descriptions_that_follow_one_another(peer: RawPeer, phone: Phone, origin, fault):
    target = phone.carrier.address
    peer.send(peer.request("INVITE", URI, branch="1", body=SDP), target)
    tag = header(await peer.next("SIP/2.0 200"), "To").rpartition("tag=")[2]
    peer.send(peer.request("ACK", URI, branch="2", to_tag=tag), target)
    changed = SDP.replace("o=- 1 1 IN", origin) + "a=sendonly\r\n"
    peer.send(peer.request("INVITE", URI, branch="3", cseq=2, to_tag=tag, body=changed), target)
    await peer.next("SIP/2.0 200")
    peer.send(peer.request("ACK", URI, branch="4", cseq=2, to_tag=tag), target)
    complaints = phone.carrier.complaints
    assert [fault in complaint for complaint in complaints] == [True] if fault else complaints == []


@pytest.mark.parametrize(
    ("good", "bad", "fault"),
    [
        (";tag=far", "", "To without a tag"),
        ("Contact: ", "X-Contact: ", "not exactly one Contact"),
        ("Via: SIP/2.0/UDP 127.0.0.2", "Via: SIP/2.0/UDP 127.0.0.9", "Via that is not ours"),
        ("From: ", "Via: SIP/2.0/UDP 127.0.0.9;branch=z9hG4bKx\r\nFrom: ", "our own Via"),
        ("branch=z9hG4bK", "branch=z9hG4bKx", "answers no request"),
    ],
)
async def test_faulty_response(peer: RawPeer, phone: Phone, good, bad, fault):
    await phone.call("+8613900000002")
    invite = await peer.next("INVITE")
    answer = peer.answer(invite, "200 OK", extra="Contact: <sip:far@127.0.0.4>\r\n", body=SDP)
    assert good in answer
    peer.send(answer.replace(good, bad), phone.carrier.address)
    peer.send(peer.request("OPTIONS", "sip:127.0.0.2", branch="9", call_id="other"), phone.carrier.address)
    await peer.next("SIP/2.0 200")
    assert any(fault in complaint for complaint in phone.carrier.complaints), phone.carrier.complaints


async def test_ended_calls_can_be_forgotten(line: Line):
    call, far = await line.talk()
    going_on, _ = await line.talk()
    await call.hang_up()
    await far.wait_ended()
    line.near.forget_ended()
    line.far.forget_ended()
    assert line.a.calls == [going_on]
    assert await going_on.wait_heard(B_HZ, seconds=0.3)
    assert await going_on.hang_up() == 200


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "carrier.invalid")])
    now = datetime.datetime.now(tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


async def test_call_over_tls(make_line: MakeLine, tmp_path: Path):
    line = await make_line(transport="tls", certificate=self_signed(tmp_path))
    call, far = await line.talk()
    assert await call.wait_heard(B_HZ, seconds=0.3)
    assert b"Via: SIP/2.0/TLS " in far.messages[0].raw
    await far.hang_up()
    await call.wait_ended()


def test_certificate_and_transport_go_together(tmp_path: Path):
    with pytest.raises(ValueError, match="certificate"):
        Carrier("127.0.0.2", edge=("127.0.0.3", 5061), transport="tls")
    with pytest.raises(ValueError, match="certificate"):
        Carrier("127.0.0.2", edge=("127.0.0.3", 5060), certificate=(tmp_path, tmp_path))
