"""Deliveries: at least once, in order within a call, every customer apart from the others."""

import asyncio

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook

from tests.calls_store.lives import life, locked
from tests.notifications.conftest import ALL_KINDS, SECRET, Post, of_customer, until
from xiaohao.clock import SECOND, now_us
from xiaohao.database import direct
from xiaohao.database.schema import customers, events
from xiaohao.notifications import delivery
from xiaohao.notifications.store import Outbox
from xiaohao.simulator.customer import Delivery, failing, flapping, hanging, slow

DELIVERED = ["delivered"] * 5


async def test_every_event_arrives_in_order_and_signed(post: Post) -> None:
    customer = await post.subscriber()
    async with post.delivering() as deliverer:
        call_ids = [await post.call(customer.id) for _ in range(8)]
        deliverer.wake()
        for call_id in call_ids:
            await post.settled(call_id, DELIVERED)
    for call_id in call_ids:
        assert customer.tried(call_id) == ALL_KINDS
    for arrived in customer.endpoint.events:
        Webhook(SECRET).verify(arrived.body, arrived.headers)
        assert arrived.headers["webhook-id"] == arrived.document["id"]
        assert arrived.headers["user-agent"].startswith("xiaohao/")
        assert arrived.headers["content-type"] == "application/json"


async def test_it_looks_by_itself(post: Post) -> None:
    customer = await post.subscriber()
    async with post.delivering():
        await asyncio.sleep(0.3)
        call_id = await post.call(customer.id)
        await until(lambda: customer.kinds(call_id) == ALL_KINDS, within_s=5)


async def test_what_was_due_before_the_start_is_delivered(post: Post) -> None:
    customer = await post.subscriber()
    call_ids = [await post.call(customer.id) for _ in range(3)]
    async with post.delivering():
        for call_id in call_ids:
            await post.settled(call_id, DELIVERED)


async def test_a_failed_event_holds_back_its_own_call_only(post: Post) -> None:
    customer = await post.subscriber()
    bad, good = await post.call(customer.id), await post.call(customer.id)
    refusing = True

    def answer(arrived: Delivery) -> tuple[int, None]:
        return (500 if refusing and arrived.call_id == bad and arrived.kind == "call.ringing" else 204), None

    customer.endpoint.answer = answer
    async with post.delivering():
        await post.settled(good, DELIVERED)
        await until(lambda: customer.tried(bad).count("call.ringing") >= 2)
        assert set(customer.tried(bad)) == {"call.received", "call.ringing"}
        refusing = False
        await post.settled(bad, DELIVERED)
    assert customer.kinds(bad) == ALL_KINDS


async def test_a_new_event_waits_for_one_that_failed_before(post: Post) -> None:
    customer = await post.subscriber(failing())
    changes = of_customer(life(), customer.id)
    call_id = changes[0].call.id
    await post.journal.write(changes[:1])
    async with post.delivering() as deliverer:
        await until(lambda: len(customer.tried(call_id)) == 1)
        await asyncio.sleep(0.3)
        await post.journal.write(changes[1:])
        deliverer.wake()
        await asyncio.sleep(0.5)
        assert set(customer.tried(call_id)) == {"call.received"}
        customer.endpoint.manner = flapping(3)
        await post.settled(call_id, DELIVERED, within_s=60)
    assert customer.kinds(call_id) == ALL_KINDS


async def test_order_holds_whatever_fails(post: Post) -> None:
    customer = await post.subscriber(flapping(2))
    async with post.delivering():
        call_ids = [await post.call(customer.id) for _ in range(6)]
        for call_id in call_ids:
            await post.settled(call_id, DELIVERED, within_s=40)
    for call_id in call_ids:
        assert customer.kinds(call_id) == ALL_KINDS


async def test_a_dead_endpoint_delays_nobody_else(post: Post) -> None:
    dead, alive = await post.subscriber(hanging()), await post.subscriber()
    refused = await post.subscriber()
    await refused.endpoint.stop()
    async with post.delivering() as deliverer:
        for _ in range(40):
            await post.call(dead.id)
            await post.call(refused.id)
        call_id = await post.call(alive.id)
        deliverer.wake()
        await until(lambda: alive.kinds(call_id) == ALL_KINDS, within_s=1.5)


async def test_a_dead_endpoint_soon_gets_one_connection_at_a_time(post: Post) -> None:
    post.settings.timeout_s = 0.2
    customer = await post.subscriber(hanging())
    async with post.delivering():
        for _ in range(60):
            await post.call(customer.id)
        await asyncio.sleep(1.5)
        before = len(customer.endpoint.events)
        await asyncio.sleep(1.0)
        assert 1 <= len(customer.endpoint.events) - before <= 10


async def test_an_endpoint_that_comes_back_gets_everything(post: Post) -> None:
    customer = await post.subscriber()
    await customer.endpoint.stop()
    async with post.delivering():
        call_ids = [await post.call(customer.id) for _ in range(5)]
        await asyncio.sleep(1.0)
        await customer.endpoint.start()
        for call_id in call_ids:
            await post.settled(call_id, DELIVERED, within_s=60)


async def test_a_day_later_it_is_given_up_and_the_next_one_goes(post: Post) -> None:
    customer = await post.subscriber()
    call_id = await post.call(customer.id)
    old = now_us() - 24 * 3600 * SECOND
    async with post.database.begin() as connection:
        await connection.execute(
            update(events)
            .where((events.c.call_id == call_id) & (events.c.sequence == 1))
            .values(created_at=old)
        )
    customer.endpoint.answer = lambda arrived: (500 if arrived.kind == "call.received" else 204, None)
    async with post.delivering():
        await post.settled(call_id, ["dead", *DELIVERED[1:]])
    assert customer.tried(call_id) == ALL_KINDS
    async with post.database.read() as connection:
        query = select(events.c.tries, events.c.last_error).where(events.c.state == "dead")
        assert (await connection.execute(query)).one() == (1, "HTTP 500")


async def test_nobody_is_told_who_has_no_url(post: Post) -> None:
    silent, other = await post.tenants.create_customer("Silent"), await post.subscriber()
    async with post.delivering():
        quiet, loud = await post.call(silent.id), await post.call(other.id)
        await post.settled(quiet, ["unwanted"] * 5)
        await post.settled(loud, DELIVERED)


async def test_a_new_url_counts_soon(post: Post) -> None:
    customer, other = await post.subscriber(failing()), await post.subscriber()
    async with post.delivering():
        call_id = await post.call(customer.id)
        await until(lambda: bool(customer.tried(call_id)))
        await post.tenants.set_webhook(customer.id, other.endpoint.url)
        await post.settled(call_id, DELIVERED)
    assert other.kinds(call_id) == ALL_KINDS


async def test_a_new_url_counts_for_the_next_call(post: Post) -> None:
    customer, other = await post.subscriber(), await post.subscriber()
    async with post.delivering():
        await post.settled(await post.call(customer.id), DELIVERED)
        await post.tenants.set_webhook(customer.id, other.endpoint.url)
        await asyncio.sleep(0.5)
        call_id = await post.call(customer.id)
        await post.settled(call_id, DELIVERED)
    assert (customer.tried(call_id), other.kinds(call_id)) == ([], ALL_KINDS)


async def test_who_takes_the_url_away_is_told_no_more(post: Post) -> None:
    customer = await post.subscriber()
    async with post.delivering():
        await post.settled(await post.call(customer.id), DELIVERED)
        await post.tenants.set_webhook(customer.id, None)
        await asyncio.sleep(0.5)
        call_id = await post.call(customer.id)
        await post.settled(call_id, ["unwanted"] * 5)
        await post.tenants.set_webhook(customer.id, customer.endpoint.url)
        await asyncio.sleep(1.2)
        later = await post.call(customer.id)
        await post.settled(later, DELIVERED)
    assert (customer.tried(call_id), customer.kinds(later)) == ([], ALL_KINDS)


async def test_an_unusable_url_is_a_failure_like_others(post: Post) -> None:
    customer = await post.subscriber()
    call_id = await post.call(customer.id)
    async with post.database.begin() as connection:
        await connection.execute(update(customers).values(webhook_url="gopher://example.com/"))
    async with post.delivering():
        wrong = ["the webhook's URL or secret cannot be used"]

        async def noticed() -> bool:
            return await last_errors(post, call_id) == wrong

        await until(noticed)
        await post.tenants.set_webhook(customer.id, customer.endpoint.url)
        await post.settled(call_id, DELIVERED)


async def last_errors(post: Post, call_id: str) -> list[str]:
    async with post.database.read() as connection:
        query = select(events.c.last_error).where(
            (events.c.call_id == call_id) & events.c.last_error.is_not(None)
        )
        return list((await connection.execute(query)).scalars())


async def test_more_than_memory_holds_is_delivered(post: Post) -> None:
    customer = await post.subscriber()
    lives = [of_customer(life(), customer.id) for _ in range(120)]
    await post.journal.write([change for stage in zip(*lives, strict=True) for change in stage])
    async with post.delivering():
        await until(lambda: len(customer.endpoint.accepted) == 600, within_s=60)
        for changes in lives[::17]:
            await post.settled(changes[0].call.id, DELIVERED)
    for changes in lives:
        assert customer.tried(changes[0].call.id) == ALL_KINDS


async def test_two_workers_do_not_tell_twice(post: Post) -> None:
    first, second = await post.subscriber(), await post.subscriber()
    async with post.delivering("worker 1") as one, post.delivering("worker 2") as two:
        call_ids = []
        for _ in range(10):
            call_ids += [await post.call(first.id), await post.call(second.id)]
            one.wake()
            two.wake()
        for call_id in call_ids:
            await post.settled(call_id, DELIVERED)
    for call_id in call_ids:
        assert first.tried(call_id) + second.tried(call_id) == ALL_KINDS


async def test_another_worker_takes_over_when_one_stops(post: Post) -> None:
    customer = await post.subscriber()
    async with post.delivering("worker 1"):
        await post.settled(await post.call(customer.id), DELIVERED)
    async with post.delivering("worker 2"):
        await post.settled(await post.call(customer.id), DELIVERED)


async def test_another_worker_takes_over_when_one_vanishes(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_LEASE_SLACK_S", 1.0)
    post.settings.timeout_s = 0.5
    customer = await post.subscriber()
    outbox = Outbox(post.database.url, "worker that vanished")
    now = now_us()
    assert outbox.take_leases([customer.id], now, now + 2 * SECOND) == {customer.id}
    outbox.close()
    call_id = await post.call(customer.id)
    async with post.delivering("worker 2"):
        await asyncio.sleep(1.0)
        assert customer.tried(call_id) == []
        await post.settled(call_id, DELIVERED)


async def test_a_locked_database_loses_no_delivery(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "BUSY_TIMEOUT_MS", 100)
    customer = await post.subscriber()
    async with post.delivering():
        await post.settled(await post.call(customer.id), DELIVERED)
        call_ids = [await post.call(customer.id) for _ in range(5)]
        with locked(post.database):
            await asyncio.sleep(3.0)
        for call_id in call_ids:
            await post.settled(call_id, DELIVERED)
    for call_id in call_ids:
        assert customer.kinds(call_id) == ALL_KINDS


async def test_what_was_on_its_way_at_the_stop_is_recorded(post: Post) -> None:
    customer = await post.subscriber(slow(0.5))
    async with post.delivering() as deliverer:
        call_id = await post.call(customer.id)
        deliverer.wake()
        await until(lambda: bool(customer.tried(call_id)))
    assert await post.states(call_id) == ["delivered", "due", "due", "due", "due"]
    async with post.delivering():
        await post.settled(call_id, DELIVERED)
    assert customer.tried(call_id) == ALL_KINDS


async def test_an_event_that_cannot_be_opened_is_not_sent(post: Post) -> None:
    customer = await post.subscriber()
    bad, good = await post.call(customer.id), await post.call(customer.id)
    async with post.database.begin() as connection:
        await connection.execute(
            update(events).where(events.c.call_id == bad).values(body_sealed=b"\x01 nothing of ours")
        )
    async with post.delivering():
        await post.settled(good, DELIVERED)
        assert await last_errors(post, bad) == ["the stored event cannot be opened"]
    assert customer.tried(bad) == []


async def test_however_many_endpoints_are_dead_there_is_room_for_the_others(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_MOST_AT_ONCE", 24)
    monkeypatch.setattr(delivery, "_MOST_IN_DOUBT", 4)
    post.settings.timeout_s = 0.5
    dead, alive = await post.subscriber(hanging()), await post.subscriber()
    many = [(await post.tenants.create_customer("Dead", dead.endpoint.url)).id for _ in range(40)]
    for customer_id in many:
        await post.tenants.set_webhook_secret(customer_id, SECRET)
    async with post.delivering() as deliverer:
        for customer_id in many:
            await post.call(customer_id)
        await until(lambda: len(dead.endpoint.events) >= 60)
        for _ in range(5):
            call_id = await post.call(alive.id)
            deliverer.wake()
            await until(lambda call_id=call_id: alive.kinds(call_id) == ALL_KINDS, within_s=1.5)  # type: ignore[misc]
