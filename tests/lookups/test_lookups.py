"""Who is, and was, behind a number: what the history says of every moment, on both databases."""

from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from tests.api.facts import ended, journal_of, talking
from tests.bindings.test_policies import change as of_pool
from tests.world import NOON, Ride, World, person, x_number, y_number

from xiaohao.audit.model import Action, Filter
from xiaohao.audit.service import Audit
from xiaohao.bindings.model import Binding, Changes, Mode, Reservation
from xiaohao.bindings.recognition import Outcome
from xiaohao.clock import SECOND
from xiaohao.database.schema import cdrs, number_history, numbers
from xiaohao.errors import Refusal
from xiaohao.lookups.model import AboutNumber, Side, Standing
from xiaohao.lookups.service import Lookups
from xiaohao.numbers.model import NumberSpec
from xiaohao.tenants.model import CustomerState, Principal

OPERATOR = Principal("key_operator", None, None)
HOUR = 3600 * SECOND


def key_of(ride: Ride) -> Principal:
    return Principal("key_ride", ride.customer.id, CustomerState.ACTIVE)


@pytest.fixture
def audit(world: World) -> Audit:
    return Audit(world.database, world.vault, world.clock)


@pytest.fixture
def lookups(world: World, audit: Audit) -> Lookups:
    return Lookups(world.database, world.vault, audit, world.clock)


async def evidence(
    lookups: Lookups, number: str, at: int, who: Principal = OPERATOR, **asked: Any
) -> AboutNumber:
    question = {"window_s": 60, "reason": "complaint 7", "person": None, "before": None, "limit": 100}
    return await lookups.evidence(who, number, at, **{**question, **asked})


def behind(found: AboutNumber) -> list[tuple[str | None, Standing]]:
    return [(relation.person, relation.standing) for relation in found.relations]


async def test_one_number_serves_one_after_the_other(world: World, lookups: Lookups) -> None:
    ride = await world.ride(xs=1, ys=1, x_recycle_s=600, y_recycle_s=600)
    first = await ride.reserve(1, 2, expires_in_s=3600)
    world.clock.forward(1800)
    await ride.release(first)
    world.clock.forward(1200)
    second = await ride.reserve(3, 4)
    world.clock.forward(60)
    for number, before, after in (
        (first.x, person(1), person(3)),
        (first.y, person(2), person(4)),
    ):
        assert second.x == first.x
        expected = [
            (NOON - 1, []),
            (NOON, [(before, Standing.LIVE)]),
            (NOON + 1800 * SECOND - 1, [(before, Standing.LIVE)]),
            (NOON + 1800 * SECOND, [(before, Standing.QUARANTINED)]),
            (NOON + 2400 * SECOND, []),
            (NOON + 3000 * SECOND, [(after, Standing.LIVE)]),
        ]
        for moment, answer in expected:
            assert behind(await evidence(lookups, number, moment)) == answer, (number, moment)


async def test_an_expiry_that_nobody_has_swept_counts(world: World, lookups: Lookups) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2, expires_in_s=60)
    world.clock.forward(61)
    assert behind(await evidence(lookups, binding.x, NOON + 59 * SECOND)) == [(person(1), Standing.LIVE)]
    assert behind(await evidence(lookups, binding.x, NOON + 60 * SECOND)) == [
        (person(1), Standing.QUARANTINED)
    ]


async def test_a_change_of_the_person_does_not_rewrite_the_past(world: World, lookups: Lookups) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    at = NOON + HOUR
    world.clock.forward(3600)
    await world.bindings.change(ride.customer.id, binding.id, {"b": person(5)})
    world.clock.forward(3600)
    earlier = await evidence(lookups, binding.y, at - 1)
    later = await evidence(lookups, binding.y, at)
    assert behind(earlier) == [(person(2), Standing.LIVE)]
    assert (earlier.relations[0].since, earlier.relations[0].until) == (NOON, at)
    assert behind(later) == [(person(5), Standing.LIVE)]
    assert (later.relations[0].since, later.relations[0].until) == (at, None)


async def test_who_was_replaced_is_shown_for_as_long_as_their_key_rests(
    world: World, lookups: Lookups
) -> None:
    ride = await world.ride(x_recycle_s=600, y_recycle_s=600)
    binding = await ride.reserve(1, 2)
    world.clock.forward(60)
    at = NOON + 60 * SECOND
    await world.bindings.change(ride.customer.id, binding.id, {"b": person(5)})
    world.clock.forward(1200)
    resting = await evidence(lookups, binding.x, at, key_of(ride), person=person(2))
    (was,) = resting.relations
    assert (was.a, was.b, was.standing) == (person(1), person(2), Standing.QUARANTINED)
    assert (was.since, was.until, was.recycle_until) == (NOON, at, at + 600 * SECOND)
    both = await evidence(lookups, binding.x, at + 599 * SECOND)
    assert [(one.b, one.standing) for one in both.relations] == [
        (person(5), Standing.LIVE),
        (person(2), Standing.QUARANTINED),
    ]
    over = await evidence(lookups, binding.x, at + 600 * SECOND)
    assert [one.b for one in over.relations] == [person(5)]
    gone = await evidence(lookups, binding.x, at + 600 * SECOND, person=person(2))
    assert gone.relations == []


async def test_a_live_relation_says_that_a_call_would_be_refused(world: World, lookups: Lookups) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)

    async def outcome() -> tuple[Standing, Outcome]:
        (dial,) = (await lookups.person(OPERATOR, person(2))).dials
        assert dial.number == binding.x
        return dial.standing, dial.outcome

    assert await outcome() == (Standing.LIVE, Outcome.CONNECT)
    for number, values, expected in (
        (binding.x, {"state": "suspended"}, Outcome.NUMBER_NOT_IN_SERVICE),
        (binding.y, {"state": "retired"}, Outcome.NUMBER_NOT_IN_SERVICE),
        (binding.y, {"verification": "expired"}, Outcome.NUMBER_NOT_VERIFIED),
    ):
        before = select(*(numbers.c[name] for name in values)).where(numbers.c.number == number)
        async with world.database.begin() as connection:
            was = (await connection.execute(before)).mappings().one()
            await connection.execute(update(numbers).where(numbers.c.number == number).values(values))
        assert await outcome() == (Standing.LIVE, expected)
        async with world.database.begin() as connection:
            await connection.execute(update(numbers).where(numbers.c.number == number).values(**was))
    await ride.release(binding)
    assert await outcome() == (Standing.QUARANTINED, Outcome.BINDING_EXPIRED)


async def test_an_x_that_passes_on_stood_for_whom_it_stood_then(world: World, lookups: Lookups) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    at = NOON + HOUR
    world.clock.forward(3600)
    await world.bindings.change(ride.customer.id, binding.id, {"a": person(6)})
    world.clock.forward(3600)
    for moment, who in ((at - 1, person(1)), (at, person(6))):
        found = await evidence(lookups, binding.x, moment)
        assert behind(found) == [(who, Standing.LIVE)]
        assert found.number.person == who


async def test_whose_a_number_was_is_told_to_whose_customer_it_was(world: World, lookups: Lookups) -> None:
    """Numbers go from one customer to the next, and with them nothing of the people behind them."""
    ride = await world.ride(x_recycle_s=60, y_recycle_s=60)
    other = await world.customer("Other")
    pool = await world.pool(other, 60, [])
    binding = await ride.release(await ride.reserve(1, 2))
    then, later = NOON, NOON + HOUR
    world.clock.forward(3600)
    await world.bindings.sweep()
    for number in (binding.x, str(binding.y)):
        await world.numbers.change_number(number, {"pool_id": pool.id})
    world.clock.forward(60)
    theirs, ours = Principal("key_other", other.id, CustomerState.ACTIVE), key_of(ride)

    async def told(number: str, at: int, who: Principal) -> tuple[str | None, str | None, str | None]:
        said = (await evidence(lookups, number, at, who)).number
        return said.customer_id, said.state, said.person

    for number in (binding.x, str(binding.y)):
        assert await told(number, then, theirs) == (None, None, None)
        assert await told(number, later, theirs) == (other.id, "available", None)
        assert await told(number, later, ours) == (None, None, None)
        assert await told(number, later, OPERATOR) == (other.id, "available", None)
    assert await told(binding.x, then, OPERATOR) == (ride.customer.id, "ageing", person(1))
    assert await told(binding.x, then, ours) == (ride.customer.id, "ageing", person(1))


@pytest.mark.parametrize("ended_by", ["release", "sweep", "time"])
async def test_a_time_of_grace_is_told_however_long_ago_it_was(
    world: World, lookups: Lookups, ended_by: str
) -> None:
    customer = await world.customer()
    xs = await world.pool(customer, 600, [x_number(1)], grace_s=100)
    ys = await world.pool(customer, 600, [y_number(1)], grace_s=50)
    ride = Ride(world, customer, xs, ys)
    binding = await ride.reserve(1, 2, expires_in_s=10)
    world.clock.forward(10)
    if ended_by == "release":
        await ride.release(binding)
    elif ended_by == "sweep":
        await world.bindings.sweep()
    for passed in (200, 86_400):
        world.clock.forward(passed)
        for number, who, grace_s in ((binding.x, person(1), 100), (str(binding.y), person(2), 50)):
            end = NOON + (10 + grace_s) * SECOND
            assert behind(await evidence(lookups, number, end - 1)) == [(who, Standing.GRACE)]
            assert behind(await evidence(lookups, number, end)) == [(who, Standing.QUARANTINED)]
            live, over = [
                (await evidence(lookups, number, at)).relations[0] for at in (NOON, NOON + 10 * SECOND)
            ]
            assert (live.grace_until, over.grace_until) == (None, end)
        if ended_by != "time":
            await world.bindings.purge()
            # by other rules from now on
            await of_pool(world, xs.id, grace_s=0)


async def test_a_number_s_keys_rest_as_long_as_its_own_pool_says(world: World, lookups: Lookups) -> None:
    ride = await world.ride(xs=1, ys=1, x_recycle_s=60, y_recycle_s=600)
    first = await ride.release(await ride.reserve(1, 2))
    world.clock.forward(60)
    await world.bindings.sweep()
    second = await ride.reserve(3, 4)
    assert second.x == first.x
    found = (await evidence(lookups, first.x, NOON + 30 * SECOND)).relations
    assert [(one.standing, one.recycle_until) for one in found] == [
        (Standing.QUARANTINED, NOON + 60 * SECOND)
    ]
    assert behind(await evidence(lookups, first.x, world.clock.now)) == [(person(3), Standing.LIVE)]
    found = (await evidence(lookups, str(first.y), world.clock.now)).relations
    assert [(one.person, one.standing) for one in found] == [
        (person(4), Standing.LIVE),
        (person(2), Standing.QUARANTINED),
    ]
    assert found[1].recycle_until == NOON + 600 * SECOND


async def test_a_key_that_was_left_rests_by_its_own_number_s_pool(world: World, lookups: Lookups) -> None:
    ride = await world.ride(x_recycle_s=600, y_recycle_s=600)
    short = await world.pool(ride.customer, 10, [x_number(50)])
    binding = await ride.reserve(1, 2, y_pool=None, mode=Mode.AXB)
    changed = await world.bindings.change(ride.customer.id, binding.id, {"x": x_number(50)})
    assert (changed.x, short.policy.recycle_s) == (x_number(50), 10)
    await ride.release(changed)
    world.clock.forward(30)
    (found,) = (await evidence(lookups, binding.x, world.clock.now)).relations
    assert (found.standing, found.recycle_until) == (Standing.QUARANTINED, NOON + 600 * SECOND)


async def test_a_binding_that_nobody_has_ended_yet_is_in_its_time_of_grace(
    world: World, lookups: Lookups
) -> None:
    customer = await world.customer()
    xs = await world.pool(customer, 600, [x_number(1)], grace_s=100)
    ride = Ride(world, customer, xs, await world.pool(customer, 600, [y_number(1)]))
    await ride.reserve(1, 2, expires_in_s=10)
    world.clock.forward(11)
    for who, standing in ((1, "quarantined"), (2, "grace")):
        (dial,) = (await lookups.person(OPERATOR, person(who))).dials
        assert (dial.standing, dial.outcome == "connect") == (standing, standing == "grace")


async def test_a_time_of_grace_is_of_the_number_asked_for_and_of_pairs(
    world: World, lookups: Lookups
) -> None:
    customer = await world.customer()
    xs = await world.pool(customer, 600, [x_number(1), x_number(2)], grace_s=100)
    ys = await world.pool(customer, 600, [y_number(1)])
    ride = Ride(world, customer, xs, ys)
    pair = await ride.release(await ride.reserve(1, 2))
    ax = await ride.release(await ride.reserve(3, 4, mode=Mode.AX, y_pool=None))
    world.clock.forward(50)
    for number, standing in ((pair.x, "grace"), (pair.y, "quarantined"), (ax.x, "quarantined")):
        (relation,) = (await evidence(lookups, str(number), world.clock.now)).relations
        assert relation.standing == standing
    for who, standing in ((1, "quarantined"), (2, "grace"), (3, "quarantined")):
        (dial,) = (await lookups.person(OPERATOR, person(who))).dials
        assert (dial.standing, dial.outcome == "connect") == (standing, standing == "grace")


async def test_what_rests_after_a_change_is_shown_in_every_mode_and_without_a_pool(
    world: World, lookups: Lookups
) -> None:
    ride = await world.ride(x_recycle_s=600)
    await world.numbers.add_numbers([NumberSpec(y_number(9), customer_id=ride.customer.id)])
    pair = await ride.reserve(1, 2, x=y_number(9), x_pool=None)
    axe, marker = [
        await world.bindings.reserve(ride.customer.id, Reservation(x_pool=ride.x_pool.id, **wanted))
        for wanted in ({"a": person(3), "mode": Mode.AXE, "extension": "1"}, {"mode": Mode.X})
    ]
    world.clock.forward(10)
    changes: list[tuple[Binding, Changes]] = [
        (pair, {"b": person(5)}),
        (axe, {"extension": "2"}),
        (marker, {"instead_of_x": marker.x}),
    ]
    for binding, change in changes:
        await world.bindings.change(ride.customer.id, binding.id, change)
        found = await evidence(lookups, binding.x, world.clock.now)
        (rests,) = [one for one in found.relations if one.standing is Standing.QUARANTINED]
        assert (rests.binding_id, rests.b, rests.extension) == (binding.id, binding.b, binding.extension)
        assert (rests.recycle_until or 0) > world.clock.now
        assert (await world.bindings.look_up(person(2), pair.x)).outcome is Outcome.BINDING_EXPIRED


async def test_whose_a_fixed_number_was_comes_from_the_number_s_history(
    world: World, lookups: Lookups
) -> None:
    ride = await world.ride()
    number = x_number(1)
    sealed, key = world.vault.seal(person(9)), world.vault.index(person(9))
    given = {"to_state": "in_service", "person_sealed": sealed, "person_key": key}
    async with world.database.begin() as connection:
        await connection.execute(delete(number_history))
        for at, said in ((NOON, given), (NOON + HOUR, {"to_state": "available"})):
            row = {"number": number, "at": at, "reason": "x", "customer_id": ride.customer.id}
            await connection.execute(insert(number_history).values(**row, **said))
    world.clock.forward(2 * 3600)
    for who in (OPERATOR, key_of(ride)):
        then = (await evidence(lookups, number, NOON + HOUR - 1, who)).number
        assert (then.person, then.state, then.known_since) == (person(9), "in_service", NOON)
        later = (await evidence(lookups, number, NOON + HOUR, who)).number
        assert (later.person, later.state, later.known_since) == (None, "available", NOON + HOUR)


async def test_the_calls_around_the_moment(world: World, lookups: Lookups) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    world.clock.forward(3 * 3600)
    at = NOON + HOUR
    seen = {"caller": person(1), "callee": person(2), "dialled": binding.y, "displayed": binding.x}
    async with journal_of(world.database, world.vault) as journal:

        async def call(received_at: int, **facts: Any) -> str:
            known = {**seen, "binding_id": binding.id, "received_at": received_at, **facts}
            return (await ended(journal, ride.customer.id, **known)).id

        inside = await call(at - 59 * SECOND)
        long = await call(at - 600 * SECOND)  # the journal ends it after five seconds: made longer below
        stranger = await call(at + 60 * SECOND, binding_id=None, caller=person(8), callee=None)
        await call(at - 70 * SECOND)
        await call(at + 61 * SECOND)
        await call(at, dialled=x_number(3), displayed=None)
        talk = await talking(journal, ride.customer.id, **seen, binding_id=binding.id, received_at=at)
    async with world.database.begin() as connection:
        await connection.execute(update(cdrs).where(cdrs.c.call_id == long).values(ended_at=at - 60 * SECOND))
    found = await evidence(lookups, binding.y, at)
    assert [call.id for call in found.ended_calls] == [long, inside, stranger]
    assert [call.id for call in found.live_calls] == [talk.id]
    assert found.ended_calls[1].caller == person(1)
    assert [call.id for call in (await evidence(lookups, binding.y, at, window_s=0)).ended_calls] == []
    of_the_stranger = await evidence(lookups, binding.y, at, person=person(8))
    assert [call.id for call in of_the_stranger.ended_calls] == [stranger]
    assert (of_the_stranger.relations, of_the_stranger.live_calls) == ([], [])


async def test_a_shared_number_says_to_each_customer_its_own(world: World, lookups: Lookups) -> None:
    first, second = await world.ride(), await world.customer("other")
    pool = await world.pool(None, 60, [f"+86106888{n:04}" for n in range(1)])
    mine = await first.reserve(1, 2, y_pool=pool.id)
    stranger = Principal("key_other", second.id, CustomerState.ACTIVE)
    assert behind(await lookups.number(key_of(first), mine.y, None, 10)) == [(person(2), Standing.LIVE)]
    for question in (
        lookups.number(stranger, mine.y, None, 10),
        evidence(lookups, mine.y, NOON, stranger),
        evidence(lookups, mine.x, NOON, stranger),
    ):
        with pytest.raises(Refusal, match="not_found"):
            await question
    assert (await lookups.person(stranger, person(1))).relations == []
    assert (await lookups.pair(stranger, person(1), person(2))).dials == []


async def test_many_relations_come_in_pages(world: World, lookups: Lookups) -> None:
    ride = await world.ride(xs=8, ys=1)
    for place in range(5):
        await ride.reserve(10 + place, 30 + place)
    found, before = [], None
    for _ in range(3):
        page = await evidence(lookups, "+861060000001", NOON, before=before, limit=2)
        found += [relation.person for relation in page.relations]
        before = page.more
    assert before is None
    assert found == [person(30 + place) for place in reversed(range(5))]
    one = await evidence(lookups, "+861060000001", NOON, person=person(12))
    assert behind(one) == [(person(32), Standing.LIVE)]
    assert one.relations[0].stands_for is Side.B


async def test_a_person_and_a_pair(world: World, lookups: Lookups) -> None:
    ride = await world.ride(x_recycle_s=600, y_recycle_s=600)
    first = await ride.reserve(1, 2)
    second = await ride.release(await ride.reserve(1, 3))
    third = await ride.reserve(4, 1)
    async with journal_of(world.database, world.vault) as journal:
        seen = {"caller": person(1), "callee": person(2), "binding_id": first.id}
        call = await talking(journal, ride.customer.id, **seen)
    for who in (OPERATOR, key_of(ride)):
        found = await lookups.person(who, person(1))
        assert [relation.binding_id for relation in found.relations] == [third.id, second.id, first.id]
        assert {(dial.number, dial.reaches, dial.standing) for dial in found.dials} == {
            (first.y, person(2), Standing.LIVE),
            (second.y, person(3), Standing.QUARANTINED),
            (third.x, person(4), Standing.LIVE),
        }
        assert found.own_numbers == [first.x]
        assert [live.id for live in found.live_calls] == [call.id]
        pair = await lookups.pair(who, person(1), person(4))
        assert [relation.binding_id for relation in pair.relations] == [third.id]
        assert [dial.number for dial in pair.dials] == [third.x]
        assert pair.live_calls == []
    world.clock.forward(601)
    assert len((await lookups.person(OPERATOR, person(1))).relations) == 2
    assert len((await lookups.person(OPERATOR, person(1))).dials) == 2


async def test_every_question_is_written_down_also_one_without_an_answer(
    world: World, lookups: Lookups, audit: Audit
) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    who = key_of(ride)
    await lookups.number(OPERATOR, binding.x, None, 10)
    await lookups.person(who, person(1))
    await lookups.pair(who, person(1), person(2))
    await evidence(lookups, binding.y, NOON, who, person=person(1))
    with pytest.raises(Refusal):
        await evidence(lookups, "+8613500000000", NOON, who)
    written = await audit.page(None, None, 10, Filter())
    assert [(entry.action, entry.subject, entry.customer_id) for entry in written] == [
        (Action.EVIDENCE, "135****0000", ride.customer.id),
        (Action.EVIDENCE, binding.y, ride.customer.id),
        (Action.LOOKUP_PAIR, "138****0001", ride.customer.id),
        (Action.LOOKUP_PERSON, "138****0001", ride.customer.id),
        (Action.LOOKUP_NUMBER, binding.x, None),
    ]
    assert written[1].details == {
        "found": 1,
        "reason": "complaint 7",
        "at": "2026-11-24T04:00:00.000Z",
        "window_s": 60,
        "with": "138****0001",
    }
    assert (written[0].key_id, written[0].details["found"]) == ("key_ride", 0)
    assert [entry.seq for entry in await audit.page(ride.customer.id, None, 10, Filter())] == [
        entry.seq for entry in written[:4]
    ]


async def test_nobody_asks_about_the_future(world: World, lookups: Lookups) -> None:
    ride = await world.ride()
    binding = await ride.reserve(1, 2)
    with pytest.raises(Refusal, match="validation_failed"):
        await evidence(lookups, binding.x, NOON + 1)
