"""Events to fetch: every one of them once, in order, whatever is being written; and to have sent again."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text, update

from tests.calls_store.lives import life
from tests.ids import new_call_id
from tests.notifications.conftest import ALL_KINDS, Post, of_customer, until
from tests.postgresql import Cluster
from xiaohao.audit.service import Audit
from xiaohao.calls.journal import CallEnded, CallJournal
from xiaohao.calls.records import CallRecords, CdrFilter
from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import events
from xiaohao.errors import Refusal
from xiaohao.notifications import feed as feed_module
from xiaohao.notifications.feed import Feed, Wanted
from xiaohao.notifications.model import EventState, Kind, event_id
from xiaohao.notifications.store import event_row, insert
from xiaohao.secrecy import Vault
from xiaohao.simulator.customer import failing

ALL = Wanted()
DAY = 86_400 * SECOND


@pytest.fixture
def feed(post: Post) -> Feed:
    return Feed(post.database, post.vault)


async def put_one(database: Database, vault: Vault, name: str, pause_s: float = 0.0) -> None:
    """Store one event in a transaction that stays open for a while."""
    async with database.begin() as connection:
        call = of_customer(life(id=name), "cus_1")[0].call
        await insert(connection, [event_row(vault, Kind.RECEIVED, call, now_us(), now_us())])
        await asyncio.sleep(pause_s)


async def test_they_come_in_order_page_by_page(post: Post, feed: Feed) -> None:
    first, second = await post.call("cus_a"), await post.call("cus_b")
    seen, place = [], 0
    for _ in range(5):
        told, place = await feed.after(place, 3, ALL)
        seen += told
    assert [one.kind for one in seen] == ALL_KINDS * 2
    assert [one.document["data"]["call_id"] for one in seen] == [first] * 5 + [second] * 5
    assert await feed.after(place, 3, ALL) == ([], place)
    assert seen[0].document["delivery"] == {
        "state": "due",
        "tries": 0,
        "error": None,
        "delivered_at": None,
        "next_try_at": seen[0].document["delivery"]["next_try_at"],
    }


async def test_who_filters_goes_on_behind_everything_that_was_looked_through(post: Post, feed: Feed) -> None:
    for _ in range(3):
        await post.call("cus_a")
    wanted = Wanted(customer_id="cus_a", kinds=["call.ringing"])
    told, place = await feed.after(0, 2, wanted)
    assert [one.kind for one in told] == ["call.ringing"] * 2
    told, place = await feed.after(place, 2, wanted)
    assert len(told) == 1
    assert (await feed.after(place, 100, ALL))[0] == []
    assert (await feed.after(0, 100, Wanted(customer_id="cus_b")))[0] == []


async def test_who_is_ahead_of_a_restored_database_goes_on_at_its_end(post: Post, feed: Feed) -> None:
    """Its places are given out anew: who waited for those behind the old one would miss what comes first."""
    records = CallRecords(post.database, post.vault, Audit(post.database, post.vault))
    await post.call("cus_a")
    told, place = await feed.after(1_000, 100, ALL)
    found, at = await records.follow_cdrs(None, 1_000, 100, CdrFilter())
    assert (told, found) == ([], [])
    call_id = await post.call("cus_a")
    told, _ = await feed.after(place, 100, ALL)
    found, _ = await records.follow_cdrs(None, at, 100, CdrFilter())
    assert {one.document["data"]["call_id"] for one in told} == {call_id}
    assert [one.document["call_id"] for one in found] == [call_id]


async def test_an_event_that_cannot_be_opened_stops_nobody(post: Post, feed: Feed) -> None:
    call_id = await post.call("cus_a")
    async with post.database.begin() as connection:
        await connection.execute(update(events).where(events.c.sequence == 2).values(body_sealed=b"\x01?"))
    told, _ = await feed.after(0, 100, Wanted(call_id=call_id))
    assert [one.document["data"] is None for one in told] == [False, True, False, False, False]
    assert told[1].document["type"] == "call.ringing"


@pytest.fixture
async def on_postgresql(postgresql: Cluster) -> AsyncIterator[Database]:
    with postgresql.lent("template_xiaohao") as name:
        database = Database(postgresql.url(name))
        yield database
        await database.close()


async def test_what_was_stored_first_and_committed_last_is_not_skipped(
    on_postgresql: Database, vault: Vault
) -> None:
    feed = Feed(on_postgresql, vault)
    journal = CallJournal(on_postgresql, vault)
    early, late = new_call_id(), new_call_id()
    async with on_postgresql.begin() as connection:
        call = of_customer(life(id=early), "cus_1")[0].call
        await insert(connection, [event_row(vault, Kind.RECEIVED, call, now_us(), now_us())])
        await journal.write(of_customer(life(id=late), "cus_1"))
        async with on_postgresql.read() as other:
            assert len((await other.execute(select(events.c.seq))).all()) == 5  # they are there to be seen
        told, place = await feed.after(0, 100, ALL)
        assert told == []
    told, place = await feed.after(place, 100, ALL)
    assert [one.document["data"]["call_id"] for one in told] == [early] + [late] * 5
    assert (await feed.after(place, 100, ALL))[0] == []
    journal.close()


async def test_a_transaction_that_is_given_up_holds_nobody_back(
    on_postgresql: Database, vault: Vault
) -> None:
    feed = Feed(on_postgresql, vault)
    with pytest.raises(RuntimeError):
        async with on_postgresql.begin() as connection:
            call = of_customer(life(), "cus_1")[0].call
            await insert(connection, [event_row(vault, Kind.RECEIVED, call, now_us(), now_us())])
            raise RuntimeError
    name = new_call_id()
    await put_one(on_postgresql, vault, name)
    told, _ = await feed.after(0, 100, ALL)
    assert [one.document["data"]["call_id"] for one in told] == [name]


async def test_cdrs_are_not_skipped_either(on_postgresql: Database, vault: Vault) -> None:
    """Two switches write: the journal of one commits while the transaction of the other is still open."""
    records = CallRecords(on_postgresql, vault, Audit(on_postgresql, vault))
    slow, quick = CallJournal(on_postgresql, vault), CallJournal(on_postgresql, vault)
    entered, release = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    put = slow._statements.put_recordings.run

    def wait_before_the_commit(cursor: object, rows: object) -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
        put(cursor, rows)  # type: ignore[arg-type]

    slow._statements.put_recordings.run = wait_before_the_commit  # type: ignore[assignment,method-assign]
    early, late = new_call_id(), new_call_id()
    writing = asyncio.create_task(slow.write(of_customer(life(id=early), "cus_1")))
    await entered.wait()
    await until(lambda: sequence_has_moved(on_postgresql))
    await quick.write(of_customer(life(id=late), "cus_1"))
    found, place = await records.follow_cdrs("cus_1", 0, 100, CdrFilter())
    assert found == []
    release.set()
    await writing
    found, place = await records.follow_cdrs("cus_1", place, 100, CdrFilter())
    assert sorted(one.document["call_id"] for one in found) == sorted([early, late])
    for journal in (slow, quick):
        journal.close()


async def sequence_has_moved(database: Database) -> bool:
    # what goes through a pipeline may be on its way still
    async with database.read() as connection:
        query = text("SELECT is_called FROM cdrs_seq_seq")
        return bool((await connection.execute(query)).scalar_one())


async def test_a_reader_among_many_writers_sees_every_event_once(post: Post, feed: Feed) -> None:
    names = [new_call_id() for _ in range(60)]
    pauses = random.Random(7)

    async def write(some: list[str]) -> None:
        for name in some:
            await put_one(post.database, post.vault, name, pauses.uniform(0, 0.01))

    writers = [asyncio.create_task(write(names[start::6])) for start in range(6)]
    seen: list[str] = []
    seqs: list[int] = []
    place = 0

    async def read_on() -> bool:
        nonlocal place
        told, place = await feed.after(place, 7, ALL)
        seen.extend(one.document["data"]["call_id"] for one in told)
        seqs.extend(one.seq for one in told)
        return len(seen) >= len(names)

    await until(read_on)
    await asyncio.gather(*writers)
    assert sorted(seen) == sorted(names)
    assert seqs == sorted(seqs)


async def test_the_dead_are_listed_and_replayed(post: Post, feed: Feed) -> None:
    customer = await post.subscriber(failing())
    post.settings.give_up_after_h = 0.2 / 3600
    call_id = await post.call(customer.id)
    async with post.delivering():
        await post.settled(call_id, ["dead"] * 5)
        dead = Wanted(customer_id=customer.id, state=EventState.DEAD)
        told, _ = await feed.after(0, 100, dead)
        assert [one.document["delivery"]["error"] for one in told] == ["HTTP 500"] * 5
        ids = [one.document["id"] for one in told]
        post.settings.give_up_after_h = 24.0
        customer.endpoint.manner = failing(204)
        tried = len(customer.endpoint.events)
        assert await feed.count_replayable(dead) == 5
        assert await post.states(call_id) == ["dead"] * 5
        assert await feed.replay(dead) == 5
        await post.settled(call_id, ["delivered"] * 5)
    again = customer.endpoint.events[tried:]
    assert [one.message_id for one in again] == ids
    assert [one.document["sequence"] for one in again] == [1, 2, 3, 4, 5]
    assert await feed.replay(dead) == 0


async def test_what_was_delivered_long_ago_is_replayed_in_full(post: Post, feed: Feed) -> None:
    """Its 24 hours begin anew: a failure of the first try is no end."""
    customer = await post.subscriber()
    call_id = await post.call(customer.id)
    async with post.delivering():
        await post.settled(call_id, ["delivered"] * 5)
        async with post.database.begin() as connection:
            await connection.execute(update(events).values(created_at=now_us() - 7 * DAY))
        answers = iter([500])
        customer.endpoint.answer = lambda _: (next(answers, 204), None)
        assert await feed.replay(Wanted(customer_id=customer.id, call_id=call_id)) == 5
        await post.settled(call_id, ["delivered"] * 5)
    assert customer.kinds(call_id) == ALL_KINDS * 2


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ({"kinds": ["cdr.created", "call.ended"]}, 4),
        ({"since": 65_000_000}, 4),
        ({"until": 1}, 2),
        ({"since": 2_000_000, "until": 5_000_000}, 2),
        ({"state": EventState.UNWANTED}, 10),
        ({"state": EventState.DEAD}, 0),
        ({"kinds": ["call.ended"], "since": 65_000_001}, 0),
    ],
)
async def test_what_is_replayed_is_chosen(
    post: Post, feed: Feed, chosen: dict[str, object], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_AT_ONCE", 3)
    at = now_us()
    customer = await post.tenants.create_customer("Ride", "https://example.com/")
    other = await post.tenants.create_customer("Other", "https://example.com/")
    for customer_id in (customer.id, customer.id, other.id):
        await post.call(customer_id, received_at=at)
    async with post.database.begin() as connection:
        await connection.execute(update(events).values(state="unwanted"))
    moments = {name: at + int(chosen[name]) for name in ("since", "until") if name in chosen}  # type: ignore[call-overload]
    wanted = Wanted(customer_id=customer.id, **{**chosen, **moments})  # type: ignore[arg-type]
    assert await feed.count_replayable(wanted) == count
    assert await feed.replay(wanted) == count
    due = Wanted(state=EventState.DUE)
    assert len((await feed.after(0, 100, due))[0]) == count


async def test_events_are_found_by_their_ids_while_others_write(post: Post, feed: Feed) -> None:
    customer = await post.tenants.create_customer("Ride", "https://example.com/")
    call_id = await post.call(customer.id)
    async with post.database.begin() as connection:
        await connection.execute(update(events).values(state="unwanted"))
    one, other = event_id(call_id, Kind.ENDED), event_id(call_id, Kind.RECEIVED)
    assert await feed.count_replayable(Wanted(ids=[one, other], kinds=["call.ended"])) == 1
    assert await feed.count_replayable(Wanted(customer_id="cus_other", ids=[one])) == 0
    async with post.database.begin():  # SQLite has one writer at a time
        assert await feed.replay(Wanted(customer_id=customer.id, ids=["evt_x", one], call_id="x")) == 0
    assert await feed.replay(Wanted(customer_id=customer.id, ids=["evt_x", one])) == 1
    told, _ = await feed.after(0, 9, Wanted(state=EventState.DUE))
    assert [item.document["id"] for item in told] == [one]


async def test_a_replay_needs_a_choice_and_a_webhook(post: Post, feed: Feed) -> None:
    customer = await post.tenants.create_customer("Silent")
    with pytest.raises(Refusal, match="say which events"):
        await feed.replay(Wanted())
    with pytest.raises(Refusal, match="webhook_missing"):
        await feed.replay(Wanted(customer_id=customer.id, state=EventState.UNWANTED))
    with pytest.raises(Refusal, match="not_found"):
        await feed.replay(Wanted(customer_id="cus_nobody", state=EventState.DEAD))


async def test_kinds_that_nobody_wants_are_passed_over_and_can_be_had_later(post: Post, feed: Feed) -> None:
    customer = await post.subscriber()
    await post.tenants.plan_webhook(customer.id, customer.endpoint.url, ["call.answered", "cdr.created"], 1)
    async with post.delivering():
        call_id = await post.call(customer.id)
        await post.settled(call_id, ["unwanted", "unwanted", "delivered", "unwanted", "delivered"])
        assert customer.tried(call_id) == ["call.answered", "cdr.created"]
        unwanted = Wanted(customer_id=customer.id, state=EventState.UNWANTED)
        assert await feed.replay(unwanted) == 3
        await post.settled(call_id, ["delivered"] * 5)
    assert sorted(customer.kinds(call_id)) == sorted(ALL_KINDS)


async def test_old_events_go_and_what_is_due_stays(
    post: Post, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_FORGET_AT_ONCE", 4)
    old, waiting, young = [await post.call("cus_a") for _ in range(3)]
    async with post.database.begin() as connection:
        aged = update(events).where(events.c.call_id.in_([old, waiting]))
        await connection.execute(aged.values(created_at=now_us() - 31 * DAY))
        settled = update(events).where((events.c.call_id == old) | (events.c.sequence > 3))
        await connection.execute(settled.values(state="delivered"))
    assert await feed.forget_old(30) == 7
    told, _ = await feed.after(0, 100, ALL)
    assert [one.document["data"]["call_id"] for one in told] == [waiting] * 3 + [young] * 5
    assert await feed.forget_old(30) == 0


async def test_cdrs_come_together_where_that_is_wanted(post: Post) -> None:
    """And each still behind the other events of its call."""
    customer = await post.subscriber()
    await post.tenants.plan_webhook(customer.id, customer.endpoint.url, None, 50)
    async with post.delivering() as deliverer:
        call_ids = [await post.call(customer.id) for _ in range(12)]
        deliverer.wake()
        for call_id in call_ids:
            await post.settled(call_id, ["delivered"] * 5)
    batches = [one for one in customer.endpoint.accepted if one.kind == "cdr.batch"]
    told = [event for one in batches for event in one.document["events"]]
    assert len(batches) <= 3
    assert sorted(event["data"]["call_id"] for event in told) == sorted(call_ids)
    assert all(event["type"] == "cdr.created" and event["sequence"] == 5 for event in told)
    assert all(one.message_id == one.document["id"] for one in batches)
    place = {id(one): n for n, one in enumerate(customer.endpoint.events)}
    for one in batches:
        for event in one.document["events"]:
            call_id = event["data"]["call_id"]
            before = [e for e in customer.endpoint.events if e.call_id == call_id]
            assert [e.kind for e in before] == ALL_KINDS[:4]
            assert max(place[id(e)] for e in before) < place[id(one)]


async def test_one_that_the_customer_cannot_take_keeps_nobody_else_waiting(post: Post) -> None:
    customer = await post.subscriber()
    await post.tenants.plan_webhook(customer.id, customer.endpoint.url, ["cdr.created"], 50)
    good, bad = [await post.call(customer.id) for _ in range(3)], await post.call(customer.id)
    customer.endpoint.answer = lambda arrived: (422 if bad.encode() in arrived.body else 204, None)
    async with post.delivering():
        for call_id in good:
            await post.settled(call_id, ["unwanted"] * 4 + ["delivered"])
        assert (await post.states(bad))[-1] == "due"
        customer.endpoint.answer = None
        await post.settled(bad, ["unwanted"] * 4 + ["delivered"])


async def test_a_batch_is_no_larger_than_asked_for(post: Post) -> None:
    customer = await post.subscriber()
    await post.tenants.plan_webhook(customer.id, customer.endpoint.url, ["cdr.created"], 4)
    lives = [of_customer(life(), customer.id) for _ in range(10)]
    await post.journal.write(
        [change for changes in lives for change in changes if isinstance(change, CallEnded)]
    )
    async with post.delivering():
        await until(lambda: sum(len(one.document["events"]) for one in customer.endpoint.accepted) == 10)
    assert max(len(one.document["events"]) for one in customer.endpoint.accepted) == 4
