"""Policies on real calls: each kind of refusal, limits that count, and changes that are in force at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from xiaohao.simulator.call import CallOver

from .conftest import Pair, Theatre
from .test_refusals import recorded, refused

FORBIDDEN, LATER = (403, 21), (480, 31)
FOREIGN, PREMIUM = "+85223456790", "+449098790123"


async def in_force(theatre: Theatre) -> None:
    """Wait until the switch knows what was just changed: that takes less than a second."""
    changed_at = time.time()
    for _ in range(1500):
        if await theatre.metric("xiaohao_policies_in_force_timestamp_seconds") >= changed_at:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the switch does not look at the policies")


@asynccontextmanager
async def policies(theatre: Theatre, *wanted: tuple[str, str, dict[str, Any]]) -> AsyncIterator[list[str]]:
    """Have these (who, rules or entries, body) set, and take them away afterwards."""
    made = []
    askers = {"operator": theatre.stage, "customer": theatre.customer}
    try:
        for who, what, body in wanted:
            answer = await askers[who].request("POST", f"/v1/policies/{what}", body)
            found = answer["items"] if what == "entries" else [answer]
            made += [(who, f"/v1/policies/{what}/{item['id']}") for item in found]
        await in_force(theatre)
        yield [path.rpartition("/")[2] for _, path in made]
    finally:
        for who, path in made:
            await askers[who].request("DELETE", path)
        await in_force(theatre)


def rule(number: str, **spec: Any) -> tuple[str, str, dict[str, Any]]:
    """A customer's rule for calls to one number."""
    return "customer", "rules", {"name": spec["kind"], "number": number, "rule": spec}


def black(**whom: Any) -> tuple[str, str, dict[str, Any]]:
    """A customer's entry."""
    return "customer", "entries", {"entries": [{"list": "black", **whom}]}


async def uncounted(theatre: Theatre) -> float:
    """How many calls the switch has let through because it could not count them in time."""
    return await theatre.metric("xiaohao_calls_uncounted_total")


def messages(theatre: Theatre) -> tuple[int, int]:
    """How many messages have passed at each carrier."""
    return len(theatre.mobile.messages), len(theatre.city.messages)


async def is_refused(theatre: Theatre, pair: Pair, reason: str, how: tuple[int, int]) -> int:
    """The driver's call meets this reason, on the wire, in the CDR and in the events.

    A limit that cannot be asked within half a second lets the call through, on a machine out of breath: then
    the switch has counted that, and the driver tries again. Any other call that goes through is a failure.
    Gives how many were let through so.
    """
    for let_through in range(5):
        before, sent = await uncounted(theatre), messages(theatre)
        call = await pair.driver.call(pair.y)
        try:
            await call.wait_answered(10)
        except CallOver:
            await refused(theatre, call, *how, sent=sent)
            cdr = await recorded(theatre, pair.y, reason, *how, events=True)
            assert cdr["binding_id"] == pair.binding["id"]
            return let_through
        assert await uncounted(theatre) > before, f"{reason}: let through, though it was asked in time"
        await call.hang_up()
    raise AssertionError(f"{reason}: no call could be counted in time")


async def connects(pair: Pair) -> None:
    call = await pair.driver.call(pair.y)
    await call.wait_answered()
    await call.hang_up()


async def test_each_refusal_by_a_list_or_a_rule(theatre: Theatre) -> None:
    pairs = [await theatre.pair() for _ in range(8)]
    a, b, c, d, e, f, g, h = pairs
    assert len({pair.y for pair in pairs}) == len(pairs)
    async with policies(
        theatre,
        black(person=a.driver.number, side="caller"),
        ("operator", "entries", {"entries": [{"list": "black", "person": b.passenger.number}]}),
        black(person=c.passenger.number, other=c.driver.number),
        rule(d.y, kind="only_listed"),
        rule(e.y, kind="direction", roles=["b"]),
        rule(f.y, kind="hours", times=[{"since": "12:00", "until": "12:00"}]),
        rule(g.y, kind="hours", times=[{"since": "03:00", "until": "03:01", "days": ["holiday"]}]),
        rule(h.y, kind="only_listed"),
        ("customer", "entries", {"entries": [{"list": "white", "person": h.passenger.number}]}),
    ):
        await is_refused(theatre, a, "caller_blacklisted", FORBIDDEN)
        await is_refused(theatre, b, "callee_blacklisted", FORBIDDEN)
        await is_refused(theatre, c, "pair_blacklisted", FORBIDDEN)
        await is_refused(theatre, d, "not_whitelisted", FORBIDDEN)
        await is_refused(theatre, e, "direction_barred", FORBIDDEN)
        await is_refused(theatre, g, "outside_hours", LATER)
        await connects(f)
        await connects(h)
    await connects(a)


async def test_destinations(theatre: Theatre) -> None:
    """Other countries and premium numbers are barred until the operator allows them."""
    driver = theatre.mobile.add_phone("+8613511112222", 440)
    theatre.mobile.add_phone(FOREIGN, 880)
    terms = {"a": driver.number, "x_pool": theatre.x_pool, "y_pool": theatre.y_pool}
    abroad = await theatre.customer.request("POST", "/v1/bindings", {**terms, "b": FOREIGN})
    dear = await theatre.customer.request("POST", "/v1/bindings", {**terms, "b": PREMIUM})
    await refused(theatre, await driver.call(abroad["y"]), *FORBIDDEN)
    await recorded(theatre, abroad["y"], "international_barred", *FORBIDDEN, events=True)
    allowed = {"kind": "destinations", "international": ["+852", "+44"]}
    async with policies(theatre, ("operator", "rules", {"name": "Hong Kong", "rule": allowed})):
        call = await driver.call(abroad["y"])
        await call.wait_answered()
        await call.hang_up()
        await refused(theatre, await driver.call(dear["y"]), *FORBIDDEN)
        await recorded(theatre, dear["y"], "premium_barred", *FORBIDDEN, events=True)


async def test_limits_of_frequency(theatre: Theatre) -> None:
    ways = ("caller", "callee", "pair", "displayed")
    pairs = [await theatre.pair() for _ in ways]
    rules = [
        rule(pair.y, kind="frequency", per=per, limit=1 if per == "caller" else 0, every="hour")
        for per, pair in zip(ways, pairs, strict=True)
    ]
    async with policies(theatre, *rules) as rule_ids:
        caller = pairs[0]
        await connects(caller)
        for per, pair in zip(ways, pairs, strict=True):
            word = "number" if per == "displayed" else per
            await is_refused(theatre, pair, f"{word}_too_often", LATER)
        # what stands there can be asked for, and a changed limit loses nothing
        question = {
            "caller": caller.driver.number, "callee": caller.passenger.number,
            "dialled": caller.y, "displayed": caller.x,
        }  # fmt: skip
        found = await theatre.customer.request("POST", "/v1/policies:explain", question)
        assert (found["allowed"], found["reason"]) == (False, "caller_too_often")
        assert [(limit["count"], limit["limit"]) for limit in found["limits"]] == [(1, 1)]
        spec = {"kind": "frequency", "per": "caller", "limit": 2, "every": "hour"}
        await theatre.customer.request("PATCH", f"/v1/policies/rules/{rule_ids[0]}", {"rule": spec})
        await in_force(theatre)
        await connects(caller)
        await is_refused(theatre, caller, "caller_too_often", LATER)


async def test_calls_at_a_time(theatre: Theatre) -> None:
    ways = {"customer": "customer", "displayed": "number", "caller": "caller", "callee": "callee"}
    pairs = {per: await theatre.pair() for per in (*ways, "trunk")}
    rules = [
        rule(pair.y, kind="concurrent", per=per, limit=1) for per, pair in pairs.items() if per != "trunk"
    ]
    lines = {"kind": "concurrent", "per": "trunk", "limit": 0}
    body = {"name": "lines", "number": pairs["trunk"].y, "rule": lines}
    async with policies(theatre, *rules, ("operator", "rules", body)):
        talking = {per: await pairs[per].driver.call(pairs[per].y) for per in ways}
        for call in talking.values():
            await call.wait_answered()
        let_through = {
            per: await is_refused(theatre, pairs[per], f"{word}_calls_full", LATER)
            for per, word in ways.items()
        }
        await is_refused(theatre, pairs["trunk"], "trunk_calls_full", LATER)
        # whoever hangs up gives the line to the next
        for call in talking.values():
            await call.hang_up()
        for per in ways:
            await pairs[per].cdrs(2 + let_through[per])
            await connects(pairs[per])


async def test_suspected_fraud(theatre: Theatre) -> None:
    """Somebody dials one number after the other: the customer is told, and their calls are refused."""
    pair, other, third = [await theatre.pair() for _ in range(3)]
    suspect = {"kind": "fraud", "window_s": 60, "numbers": 3, "block_s": 60}
    async with policies(theatre, ("customer", "rules", {"name": "tries", "rule": suspect})):
        for number in (other.y, third.y):
            call = await pair.driver.call(number)
            await call.wait_ended()
        await connects(pair)
        told = await theatre.endpoint.wait_for("policy.fraud_suspected")
        data = told.document["data"]
        assert (data["subject"], data["found"]["numbers"]) == (pair.driver.number, 3)
        await in_force(theatre)
        await is_refused(theatre, pair, "fraud_suspected", FORBIDDEN)
        path = f"/v1/policies/alarms/{data['alarm_id']}/lift"
        await theatre.customer.request("POST", path)
        await in_force(theatre)
        await connects(pair)
