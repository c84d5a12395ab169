"""No customer makes the platform speak to the operator's own network."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.notifications.conftest import SECRET
from xiaohao.notifications.sender import Failure, Subscription
from xiaohao.outgoing.network import Network, PrivateAddress, is_host, is_public, names_a_private_place

PRIVATE = [
    *("127.0.0.1", "127.255.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1", "2001:db8::1"),
    # private IPv4 addresses inside IPv6 ones: mapped, NAT64, 6to4
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2002:7f00:1::1"),
]
REFUSED = Failure("the address is not public, and the operator does not allow that", endpoint_at_fault=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)
    assert not names_a_private_place(address)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "::1", "meta.internal", "printer.local"),
        *("127.1", "2130706433", "0x7f000001", "017700000001", "0xa.1", "10.0.0.1.", "0", "::ffff:10.0.0.1"),
    ],
)
def test_hosts_that_need_no_look_up_to_be_private(host: str) -> None:
    assert names_a_private_place(host)


@pytest.mark.parametrize("host", ["example.com", "example.com.", "0x08080808", "8.8.8.8", "::1", "3.example"])
def test_hosts(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize("host", ["", ".", "a..b", "1.2.3.4.5", "256.1.1.1", "example.123", "0xg.0x"])
def test_what_can_be_no_host(host: str) -> None:
    assert not is_host(host)


@asynccontextmanager
async def listening(address: str, port: int = 0) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that takes every POST: its port, and what came."""
    came: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, address, port) as server:
        yield server.sockets[0].getsockname()[1], came


async def post(url: str, network: Network) -> Failure | None:
    subscription = Subscription(url, [SECRET], network)
    try:
        return await subscription.post("evt_1", "{}", 2.0)
    finally:
        subscription.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:7f00:1]"]
)
async def test_nothing_goes_to_a_private_address_however_it_is_spelled(host: str) -> None:
    async with listening("127.0.0.1") as (port, came):
        network = Network(allow_private=False)
        assert await post(f"http://{host}:{port}/", network) == REFUSED
        network.close()
    assert came == []


async def test_what_the_operator_allows_is_spoken_to() -> None:
    async with listening("127.0.0.1") as (port, came):
        network = Network(allow_private=True)
        assert await post(f"http://localhost:{port}/", network) is None
        network.close()
    assert len(came) == 1


async def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """DNS rebinding: the name leads to an allowed address when it is checked, and to another one after."""
    answers = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
    asked: list[str] = []

    def lookup(host: str, _port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    network = Network(False, lookup=lookup, is_allowed=lambda address: address == "127.0.0.2")
    async with listening("127.0.0.2") as (port, good), listening("127.0.0.1", port) as (_, bad):
        url = f"http://rebound.example:{port}/"
        assert await post(url, network) is None
        assert asked == ["rebound.example"]
        assert await post(url, network) == REFUSED
        assert await post(url, network) is None
    network.close()
    assert (len(good), len(bad)) == (2, 0)
    assert f"host: rebound.example:{port}" in good[0]


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    network = Network(True, lookup=lambda _host, _port: ["127.0.0.3", "127.0.0.2"])
    async with listening("127.0.0.2") as (port, came):
        assert await post(f"http://two.example:{port}/", network) is None
    network.close()
    assert len(came) == 1


async def test_a_name_server_that_says_nothing_holds_one_thread_and_nobody_else() -> None:
    free = threading.Event()
    asked: list[str] = []

    def lookup(host: str, _port: int) -> list[str]:
        asked.append(host)
        if host.startswith("dead"):
            free.wait(20)
            raise socket.gaierror
        return ["127.0.0.2"]

    network = Network(True, lookup=lookup)
    async with listening("127.0.0.2") as (port, came):
        hosts = [f"dead{n}.example" for n in range(30)]
        waiting = [
            asyncio.create_task(post(f"http://{host}:{port}/", network)) for host in hosts for _ in range(3)
        ]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(1.5):
            assert await post(f"http://alive.example:{port}/", network) is None
        assert set(await asyncio.gather(*waiting)) == {Failure("no answer in time", True)}
        free.set()
    network.close()
    assert sorted(asked) == sorted([*hosts, "alive.example"])
    assert len(came) == 1


async def test_a_name_that_is_not_known() -> None:
    def lookup(_host: str, _port: int) -> list[str]:
        raise socket.gaierror

    network = Network(False, lookup=lookup)
    assert await post("http://nowhere.example/", network) == Failure("the host name is not known", True)
    network.close()


async def test_a_closed_network_refuses_by_address_still() -> None:
    network = Network(allow_private=False)
    with pytest.raises(PrivateAddress):
        await network.addresses("10.0.0.1", 80)
    network.close()
