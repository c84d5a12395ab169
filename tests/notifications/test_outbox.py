"""What the database gives out as due, and what it is told."""

from collections.abc import Iterator

import pytest

from tests.notifications.conftest import Post
from xiaohao.clock import SECOND, now_us
from xiaohao.notifications.feed import Feed
from xiaohao.notifications.model import Event, Outcome
from xiaohao.notifications.store import Outbox
from xiaohao.secrecy import Vault

LATER = 3600 * SECOND


@pytest.fixture
def outbox(post: Post) -> Iterator[Outbox]:
    outbox = Outbox(post.database.url, "worker 1")
    yield outbox
    outbox.close()


def due(outbox: Outbox, customer_id: str, limit: int = 100, now: int | None = None) -> list[Event]:
    return outbox.due({customer_id: limit}, now or now_us())[customer_id]


def sequences(events: list[Event]) -> list[int]:
    return [event.sequence for event in events]


async def test_each_event_says_how_many_of_its_call_come_before_it(post: Post, outbox: Outbox) -> None:
    await post.call("cus_a")
    found = due(outbox, "cus_a")
    assert [(event.sequence, event.before) for event in found] == [(n + 1, n) for n in range(5)]
    outbox.settle([Outcome(found[0], now_us())], [])
    assert [(event.sequence, event.before) for event in due(outbox, "cus_a")] == [
        (2, 0),
        (3, 1),
        (4, 2),
        (5, 3),
    ]


async def test_a_failure_puts_the_rest_of_its_call_off(post: Post, outbox: Outbox) -> None:
    bad, good = await post.call("cus_a"), await post.call("cus_a")
    now = now_us()
    second = [event for event in due(outbox, "cus_a") if event.call_id == bad][1]
    outbox.settle([Outcome(second, now, "HTTP 500", now + LATER)], [])
    found = due(outbox, "cus_a")
    assert sequences([event for event in found if event.call_id == bad]) == [1]
    assert sequences([event for event in found if event.call_id == good]) == [1, 2, 3, 4, 5]
    again = due(outbox, "cus_a", now=now + LATER)
    assert [event.tries for event in again if event.call_id == bad] == [0, 1, 0, 0, 0]


async def test_one_that_must_wait_is_put_off_as_long_as_the_one_it_waits_for(
    post: Post, outbox: Outbox
) -> None:
    await post.call("cus_a")
    now = now_us()
    first, *rest = due(outbox, "cus_a")
    outbox.settle([Outcome(first, now, "HTTP 500", now + LATER)], [])
    outbox.settle([Outcome(rest[3], now, "late", now)], [])  # as if it had been stored just now
    (late,) = due(outbox, "cus_a")
    assert (late.sequence, late.before) == (5, 4)
    outbox.settle([], [late])
    assert due(outbox, "cus_a") == []
    assert sequences(due(outbox, "cus_a", now=now + LATER)) == [1, 2, 3, 4, 5]


async def test_the_longest_due_come_first_and_no_more_than_asked(post: Post, outbox: Outbox) -> None:
    first, second = await post.call("cus_a"), await post.call("cus_a")
    found = due(outbox, "cus_a", limit=7)
    assert [event.call_id for event in found] == [first] * 5 + [second] * 2


async def test_customers_with_something_due_are_named_once(post: Post, outbox: Outbox) -> None:
    assert outbox.customers(now_us()) == []
    for customer_id in ("cus_b", "cus_a", "cus_c", "cus_b"):
        await post.call(customer_id)
    assert outbox.customers(now_us()) == ["cus_a", "cus_b", "cus_c"]
    now = now_us()
    outbox.settle([Outcome(event, now) for event in due(outbox, "cus_a")], [])
    outbox.settle([Outcome(event, now, "no", now + LATER) for event in due(outbox, "cus_b")], [])
    assert outbox.customers(now_us()) == ["cus_c"]


async def test_only_what_is_new_arrives(post: Post, outbox: Outbox) -> None:
    await post.call("cus_a")
    newest = outbox.newest()
    assert outbox.arrived(newest, now_us(), 100) == []
    call_id = await post.call("cus_b")
    found = outbox.arrived(newest, now_us(), 3)
    assert [(event.call_id, event.sequence) for event in found] == [(call_id, 1), (call_id, 2), (call_id, 3)]
    assert sequences(outbox.arrived(found[-1].seq, now_us(), 100)) == [4, 5]


async def test_nobody_overrules_what_is_settled(post: Post, outbox: Outbox) -> None:
    call_id = await post.call("cus_a")
    found = due(outbox, "cus_a")
    now = now_us()
    outbox.settle([Outcome(found[0], now), Outcome(found[1], now, "too old", None)], [])
    outbox.settle([Outcome(found[0], now, "HTTP 500", now), Outcome(found[1], now)], [])
    assert await post.states(call_id) == ["delivered", "dead", "due", "due", "due"]
    outbox.set_aside("cus_a")
    assert await post.states(call_id) == ["delivered", "dead", "unwanted", "unwanted", "unwanted"]


async def test_the_backlog_is_counted(post: Post, outbox: Outbox) -> None:
    assert (outbox.backlog().due, outbox.backlog().oldest_due_at) == (0, None)
    before = now_us()
    await post.call("cus_a")
    backlog = outbox.backlog()
    assert backlog.due == 5
    assert backlog.oldest_due_at is not None and before <= backlog.oldest_due_at <= now_us()


async def test_one_worker_at_a_time_has_a_customer(post: Post, outbox: Outbox) -> None:
    other = Outbox(post.database.url, "worker 2")
    now = now_us()
    assert outbox.take_leases(["cus_a", "cus_b"], now, now + LATER) == {"cus_a", "cus_b"}
    assert other.take_leases(["cus_b", "cus_c"], now, now + LATER) == {"cus_c"}
    assert outbox.take_leases(["cus_b"], now, now + 2 * LATER) == {"cus_b"}
    other.release_leases(["cus_b"])
    assert other.take_leases(["cus_b"], now, now + LATER) == set()
    outbox.release_leases(["cus_b"])
    assert other.take_leases(["cus_b"], now, now + LATER) == {"cus_b"}
    assert other.take_leases(["cus_a"], now + LATER + 1, now + 2 * LATER) == {"cus_a"}
    other.close()


async def test_what_a_clock_set_back_has_left_in_the_future(post: Post, outbox: Outbox, vault: Vault) -> None:
    """A failed event, the rest of its call, another worker's lease: as if put off for an hour."""
    await post.call("cus_a")
    now = now_us()
    first = due(outbox, "cus_a")[0]
    outbox.settle([Outcome(first, now, "HTTP 500", now + LATER)], [])
    dead = Outbox(post.database.url, "worker 2")
    assert dead.take_leases(["cus_a"], now, now + LATER) == {"cus_a"}
    feed = Feed(post.database, vault)
    assert await feed.pull_in(2 * LATER / SECOND) == 0
    assert (due(outbox, "cus_a"), outbox.take_leases(["cus_a"], now, now + SECOND)) == ([], set())
    assert await feed.pull_in(600) == 5
    assert sequences(due(outbox, "cus_a")) == [1, 2, 3, 4, 5]
    assert outbox.take_leases(["cus_a"], now, now + SECOND) == {"cus_a"}
    dead.close()
