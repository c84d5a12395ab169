"""Calls over SIP with TLS: between carriers that both use it, and to and from one that uses UDP."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.stage import Stage, StageCustomer, free_ports

from .searcher import leaks, received, secrets_of

EDGE = "127.0.0.1"
#: an address that is no trunk's
STRANGER = "127.0.0.39"
#: name, address and transport of each carrier
CARRIERS = {
    "first": ("127.0.0.35", "tls"),
    "second": ("127.0.0.36", "tls"),
    "plain": ("127.0.0.38", "udp"),
    # its certificate is from nobody whom the edge knows
    "forged": ("127.0.0.45", "tls"),
}


@dataclass
class Hall:
    """A platform that listens with UDP and with TLS, its carriers, and a pool of numbers shown over each."""

    stage: Stage
    edge: tuple[str, int]
    carriers: dict[str, Carrier]
    pools: dict[str, str]
    customer: StageCustomer


def certificate_of(host: str, folder: Path) -> tuple[Path, Path]:
    """A new self-signed certificate of an address, and its key."""
    certificate, key = folder / f"{host}.pem", folder / f"{host}.key"
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={host}".split()
    words += ["-addext", f"subjectAltName=IP:{host}", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    except FileNotFoundError:
        raise AssertionError("openssl is missing: apt-get install openssl") from None
    return certificate, key


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hall(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hall]:
    folder = tmp_path_factory.mktemp("tls")
    plain_port, secure_port = free_ports(EDGE, 2)
    certificate, key = certificate_of(EDGE, folder)
    shown = {
        host: certificate_of(host, folder) for host, transport in CARRIERS.values() if transport == "tls"
    }
    authorities = folder / "authorities.pem"
    known = [shown[CARRIERS[name][0]][0] for name in ("first", "second")]
    authorities.write_text("".join(path.read_text() for path in known))
    edge = {
        "listen": [f"udp:{EDGE}:{plain_port}", f"tls:{EDGE}:{secure_port}"],
        "tls_certificate": str(certificate),
        "tls_private_key": str(key),
        "tls_authorities": str(authorities),
    }
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(
            Stage(folder / "platform", edge=edge, announcements={"on": False})
        )
        customer = await stage.add_customer("ride")
        carriers: dict[str, Carrier] = {}
        pools: dict[str, str] = {}
        for serial, (name, (host, transport)) in enumerate(CARRIERS.items()):
            secured = transport == "tls"
            carrier = Carrier(
                host,
                edge=(EDGE, secure_port if secured else plain_port),
                transport="tls" if secured else "udp",
                certificate=shown.get(host),
            )
            carriers[name] = await stack.enter_async_context(carrier)
            trunk = await stage.add_trunk(name, carrier.address, transport=transport)
            pools[name] = await stage.add_pool(name, customer)
            numbers = [f"+86171{serial}100{n:04}" for n in range(10)]
            await stage.add_numbers(numbers, trunk, pools[name])
        # the switch looks for what is new of trunks once a second
        await asyncio.sleep(1.5)
        yield Hall(stage, (EDGE, secure_port), carriers, pools, customer)
        for carrier in carriers.values():
            assert carrier.errors == []
            assert carrier.complaints == [] or carrier is carriers["forged"]


@pytest.mark.parametrize("hangs_up", ["caller", "callee"])
@pytest.mark.parametrize("way", ["first second", "first plain", "plain first"])
async def test_call(hall: Hall, way: str, hangs_up: str) -> None:
    """Two who write who they are wherever they can hear each other and learn nothing of each other."""
    near, far = (hall.carriers[name] for name in way.split())
    serial = sum(len(carrier.phones) for carrier in hall.carriers.values())
    leaky = Behaviour(leaky_headers=True)
    caller = near.add_phone(f"+861357246{serial:04}", 400, behaviour=leaky)
    callee = far.add_phone(f"+861878135{serial:04}", 900, behaviour=leaky)
    pools = [hall.pools[name] for name in reversed(way.split())]
    binding = await hall.customer.reserve(caller.number, callee.number, *pools)
    call = await caller.call(binding["y"])
    answering = await callee.next_call()
    await call.wait_answered()
    assert answering.display == binding["x"]
    assert await call.wait_heard(callee.tone_hz)
    assert await answering.wait_heard(caller.tone_hz)
    assert await call.hold() == 200
    assert await answering.reinvite() == 200
    assert await call.resume() == 200
    await (call if hangs_up == "caller" else answering).hang_up()
    await call.wait_ended()
    await answering.wait_ended()
    for one, another in ((call, answering), (answering, call)):
        transport = one.carrier.transport_name.encode()
        assert all(b"\r\nVia: SIP/2.0/" + transport in got.raw for got in received([one]))
        assert leaks([one], secrets_of([another])) == []
    (cdr,) = await cdrs(hall, binding["id"])
    assert (cdr["reason"], cdr["ended_by"]) == (f"{hangs_up}_hung_up", hangs_up)


async def test_nobody_vouches_for_the_carrier(hall: Hall) -> None:
    """A certificate that no authority of ours has signed: nothing of the call is sent there."""
    near, far = hall.carriers["first"], hall.carriers["forged"]
    caller, callee = near.add_phone("+8613572469999", 400), far.add_phone("+8618781359999", 900)
    binding = await hall.customer.reserve(
        caller.number, callee.number, hall.pools["forged"], hall.pools["first"]
    )
    call = await caller.call(binding["y"])
    await call.wait_ended(timeout=20)
    assert callee.calls == []
    (cdr,) = await cdrs(hall, binding["id"])
    assert (cdr["reason"], cdr["ended_by"]) == ("trunk_failure", "platform")


async def cdrs(hall: Hall, binding_id: str) -> list[dict[str, object]]:
    """The CDRs of a binding when there is one, and what came a moment later."""
    found: list[dict[str, object]] = []
    for _ in range(300):
        ready = bool(found)
        await asyncio.sleep(0.1)
        found = (await hall.customer.request("GET", f"/v1/cdrs?binding_id={binding_id}"))["items"]
        if ready:
            break
    return found


async def shake_hands(hall: Hall, host: str, version: ssl.TLSVersion) -> str:
    """Connect from `host` with this version of TLS and no other, refusing no cipher for its age."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    _, writer = await asyncio.open_connection(*hall.edge, local_addr=(host, 0), ssl=context)
    agreed = str(writer.get_extra_info("ssl_object").version())
    writer.close()
    return agreed


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_versions(hall: Hall) -> None:
    """TLS 1.2 and 1.3; what is older is refused by name, as RFC 8996 asks."""
    host = hall.carriers["first"].host
    assert await shake_hands(hall, host, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert await shake_hands(hall, host, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    for old in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1):
        with pytest.raises(ssl.SSLError) as refused:
            await shake_hands(hall, host, old)
        assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


async def answer_to(hall: Hall, host: str, method: str) -> bytes:
    """What the edge answers over TLS to a request from `host`, until it is silent for a second or closes."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(*hall.edge, local_addr=(host, 0), ssl=context)
    address = f"{host}:{writer.get_extra_info('sockname')[1]}"
    lines = [
        f"{method} sip:+861711100000@{EDGE} SIP/2.0",
        f"Via: SIP/2.0/TLS {address};branch=z9hG4bK{host}{method}",
        "Max-Forwards: 70",
        f"From: <sip:+8613800000000@{host}>;tag=1",
        f"To: <sip:+861711100000@{EDGE}>",
        f"Call-ID: {method}@{host}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:nobody@{address};transport=tls>",
        "Content-Length: 0",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    said = b""
    try:
        while more := await asyncio.wait_for(reader.read(4096), 1):
            said += more
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return said


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "REGISTER"])
async def test_strangers_get_nothing(hall: Hall, method: str) -> None:
    """TLS lets nobody in: an address of no trunk gets not one byte, where a trunk's gets an answer."""
    assert await answer_to(hall, STRANGER, method) == b""
    assert (await answer_to(hall, hall.carriers["second"].host, method)).startswith(b"SIP/2.0 ")
