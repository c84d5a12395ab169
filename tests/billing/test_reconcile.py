"""A carrier's file against our CDRs."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.billing.scenes import LANDLINE, Scene
from tests.billing.worlds import START
from tests.calls_store.lives import CALLEE, CALLER
from xiaohao.audit.service import Audit
from xiaohao.billing import carrier_file
from xiaohao.billing.carrier_file import CarrierCall, MappingInvalid, Unreadable
from xiaohao.billing.rater import Rater
from xiaohao.billing.reconcile import Reconciliations
from xiaohao.calls.corrections import Corrections
from xiaohao.clock import CHINA, SECOND
from xiaohao.database.billing_tables import reconciliation_items
from xiaohao.database.engine import Database
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal
from xiaohao.trunks.model import Target, TrunkSpec
from xiaohao.trunks.service import Trunks

MAPPING: dict[str, Any] = {
    "leg": "in",
    "caller": "主叫",
    "called": "被叫",
    "begins_at": "开始时间",
    "seconds": "时长",
    "amount": "费用",
    "price": "0.06",
}
HEAD = "主叫,被叫,开始时间,时长,费用"


@pytest.fixture
def scene(database: Database, vault: Vault) -> Scene:
    return Scene(database, vault)


def clock(at: int) -> str:
    """As the carrier writes it: a Chinese clock, whole seconds."""
    return datetime.fromtimestamp(at // SECOND, CHINA).strftime("%Y-%m-%d %H:%M:%S")


async def a_trunk(scene: Scene) -> str:
    spec = TrunkSpec(carrier="Telecom", targets=[Target("127.0.0.1", 5070)], sources=["127.0.0.1"])
    return (await Trunks(scene.database, scene.vault).create("east", spec)).id


async def test_everything_that_can_differ(scene: Scene) -> None:
    trunk_id = await a_trunk(scene)
    customer_id = await scene.customer()
    calls = []
    for seconds in (60, 61, 30, 90):
        calls.append(await scene.call(customer_id, seconds, trunk_in=trunk_id))
        scene.clock.forward(3600)
    await scene.call(customer_id, None, trunk_in=trunk_id)
    at = [call.received_at for call in calls]
    caller, called = "013866660001", "01062000101"
    lines = [
        HEAD,
        f"{caller},{called},{clock(at[0] + 20 * SECOND)},60,0.06",  # rings longer with them: the same call
        f"{caller},{called},{clock(at[1])},75,0.12",  # other seconds
        f"{caller},{called},{clock(at[2])},30,0.10",  # other amount
        f"{caller},{called},{clock(at[3] + 40 * SECOND)},90,0.12",  # too far away: missing on both sides
        f"{caller},{called},{clock(at[0] + 20 * SECOND)},60,0.06",  # twice
        f"{caller},{called},yesterday,60,0.06",
        "",
    ]
    service = Reconciliations(scene.database, scene.vault, scene.clock)
    seen: list[int] = []
    made = await service.compare(trunk_id, at[0], scene.clock.now, lines, MAPPING, seen.append)
    assert made.summary == {
        "our_calls": 4,
        "their_calls": 5,
        "matched": 3,
        "missing_here": 2,
        "missing_there": 1,
        "seconds": 1,
        "amount": 1,
        "unreadable": 1,
        "unreadable_columns": ["begins_at"],
        "our_seconds": 241,
        "their_seconds": 315,
        "their_amount": "0.46",
        "their_seconds_ought_to_cost": "0.42",
        "our_seconds_ought_to_cost": "0.36",
        "too_much": "0.10",
    }
    assert sum(seen) == len(lines) + 4
    items = await service.items(made.id, -1, 10)
    assert [(one["finding"], one["line"], one["our_seconds"], one["their_seconds"]) for one in items] == [
        ("missing_here", 6, None, 60),
        ("seconds", 3, 61, 75),
        ("amount", 4, 30, 30),
        ("missing_there", None, 90, None),
        ("missing_here", 5, None, 90),
        ("unreadable", 7, None, None),
    ]
    assert items[2]["person"] == CALLER
    assert (await service.get(made.id)).summary == made.summary
    assert [one.id for one in await service.page("", 5)] == [made.id]
    # no number of a person stands in the clear
    async with scene.database.read() as connection:
        stored = str((await connection.execute(select(reconciliation_items))).all())
    assert "13866660001" not in stored


async def test_corrected_cdrs_count_as_they_are_now(scene: Scene) -> None:
    """Their newest correction says how long they were, and whether they were answered at all."""
    trunk_id = await a_trunk(scene)
    customer_id = await scene.customer()
    calls = [await scene.call(customer_id, talk_s, trunk_in=trunk_id) for talk_s in (60, 60, None, 60)]
    begin = calls[0].received_at
    scene.clock.forward(3600)
    corrections = Corrections(
        scene.database,
        scene.vault,
        Audit(scene.database, scene.vault),
        Rater(scene.database, scene.vault).correct,
        scene.clock,
    )
    answered = {"answered_at": begin, "ended_at": begin + 90 * SECOND, "reason": "callee_hung_up"}
    unanswered = {"answered_at": None, "reason": "caller_cancelled"}
    for call, values in (
        (calls[0], {"ended_at": begin + 40 * SECOND}),
        (calls[0], {"ended_at": begin + 30 * SECOND}),
        (calls[1], unanswered),
        (calls[2], answered),
    ):
        await corrections.correct(Principal("key_1", None, None), call.id, values, "as the carrier saw it")
    service = Reconciliations(scene.database, scene.vault, scene.clock)
    made = await service.compare(trunk_id, begin, scene.clock.now + 1, [HEAD], MAPPING)
    assert made.summary["our_calls"] == 3
    items = await service.items(made.id, -1, 10)
    assert {one["call_id"]: one["our_seconds"] for one in items} == {
        **{calls[0].id: 30, calls[2].id: 90, calls[3].id: 60}
    }


async def test_a_bill_of_sums(scene: Scene) -> None:
    """Our units are those of the carrier: 61 s are two minutes."""
    trunk_id = await a_trunk(scene)
    customer_id = await scene.customer()
    numbers = [f"+8610620001{place:02}" for place in range(5)]
    for number, seconds in zip(numbers, ([60, 61], [60], [60], [60], []), strict=True):
        for one in seconds:
            await scene.call(customer_id, one, number, trunk_in=trunk_id)
    lines = [
        "号码;分钟;金额",
        "01062000100;1;0.06",
        "01062000100;2;0.12",  # the rest of the same number
        "01062000101;7.5;0.45",  # other minutes
        "01062000102;1;1,000.06",  # other amount
        "01062000104;3;0.18",  # missing here
        "01062000104;many;0.18",
        "01062000104",
    ]  # +861062000103: missing there
    mapping = {"kind": "bill", "leg": "in", "number": "号码", "minutes": "分钟", "amount": "金额"}
    mapping |= {"delimiter": ";", "price": "0.06"}
    service = Reconciliations(scene.database, scene.vault, scene.clock)
    made = await service.compare(trunk_id, START, scene.clock.now + 1, lines, mapping)
    summary = made.summary
    assert (summary["our_calls"], summary["their_calls"], summary["matched"]) == (5, None, 3)
    assert (summary["our_seconds"], summary["their_seconds"]) == (360, 180 + 450 + 60 + 180)
    assert (summary["their_amount"], summary["too_much"]) == ("1000.87", "1000.51")
    items = await service.items(made.id, -1, 10)
    assert [
        (one["finding"], one["number"], one["line"], one["our_seconds"], one["their_seconds"])
        for one in items
    ] == [
        ("seconds", numbers[1], 4, 60, 450),
        ("amount", numbers[2], 5, 60, 60),
        ("missing_there", numbers[3], None, 60, None),
        ("missing_here", numbers[4], 6, None, 180),
        ("unreadable", None, 7, None, None),
        ("unreadable", None, 8, None, None),
    ]
    assert [one["our_amount"] for one in items[:4]] == ["0.06", "0.06", "0.06", None]
    for wrong in ({"seconds": "分钟"}, {"minutes": None}, {"number": "nobody"}, {"caller": "号码"}):
        with pytest.raises(Refusal, match="carrier_file_not_valid"):
            await service.compare(trunk_id, START, START + 1, lines, mapping | wrong)


async def test_calls_that_the_carrier_took_on(scene: Scene) -> None:
    trunk_id = await a_trunk(scene)
    customer_id = await scene.customer()
    call = await scene.call(customer_id, 60, displayed=LANDLINE, trunk_out=trunk_id)
    mapping = {"leg": "out", "caller": 1, "called": 0, "begins_at": 2, "seconds": 3, "head": False}
    line = f"{CALLEE};01062000101;{call.received_at // SECOND};60"
    service = Reconciliations(scene.database, scene.vault, scene.clock)
    mapping |= {"delimiter": ";", "time_format": "epoch"}
    done: list[int] = []
    span = call.received_at, call.received_at + 1
    made = await service.compare(trunk_id, *span, [line], mapping, done.append)
    assert sum(done) == 1 + await service.count(trunk_id, "out", *span) == 2
    assert (made.summary["matched"], made.summary["missing_here"]) == (1, 0)
    assert made.summary["too_much"] is None


@pytest.mark.parametrize(
    ("mapping", "lines"),
    [
        ({**MAPPING, "leg": "both"}, [HEAD]),
        ({**MAPPING, "caller": "来电"}, [HEAD]),
        ({**MAPPING, "head": False}, []),
        ({**MAPPING, "delimiter": "::"}, [HEAD]),
        ({**MAPPING, "unit_s": 0}, [HEAD]),
        ({**MAPPING, "delimiter": "\n"}, [HEAD]),
        ({**MAPPING, "caller": -1}, [HEAD]),
        ({**MAPPING, "time_format": "%Y %Y"}, [HEAD]),
        ({**MAPPING, "time_format": "%Q"}, [HEAD]),
        ({**MAPPING, "time_format": "%"}, [HEAD]),
        ({**MAPPING, "price": "NaN"}, [HEAD]),
        ({**MAPPING, "price": "1e400"}, [HEAD]),
        ({**MAPPING, "price": "-1"}, [HEAD]),
        (MAPPING, [HEAD, "x" * 200_000]),
    ],
)
async def test_what_cannot_be_read(mapping: dict[str, Any], lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(MappingInvalid):
        list(carrier_file.read(lines, carrier_file.take(mapping)))
    database = Database(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(Refusal, match="carrier_file_not_valid"):
        await Reconciliations(database, Vault(bytes(32))).compare("trk_1", 0, 1, lines, mapping)
    await database.close()


def test_lines_are_read_or_told() -> None:
    mapped = carrier_file.take(MAPPING)
    good = "13866660001,4001234567,2026-11-02 08:00:00,61,0.12"
    spoilt = ["x,4001234567,2026-11-02 08:00:00,61,0.12", "13866660001,4001234567", good.replace("61", "6.1")]
    spoilt += [good.replace("61", "-61"), good.replace("61", "9" * 20), good.replace("0.12", "9" * 17)]
    found = list(carrier_file.read(["\ufeff" + HEAD, good, *spoilt], mapped))
    assert found == [
        CarrierCall(2, "+8613866660001", "+864001234567", 1_793_577_600 * SECOND, 61, 120_000),
        Unreadable(3, "caller"),
        Unreadable(4, "begins_at"),
        Unreadable(5, "seconds"),
        Unreadable(6, "seconds"),
        Unreadable(7, "seconds"),
        Unreadable(8, "amount"),
    ]
    epoch = carrier_file.take({**MAPPING, "time_format": "epoch"})
    for moment in ("1e300", "1e999999999", "NaN", "9" * 20):
        line = good.replace("2026-11-02 08:00:00", moment)
        assert list(carrier_file.read([HEAD, line], epoch)) == [Unreadable(2, "begins_at")]
    for minutes in ("1e20", "1e999999999", "1e999990", "NaN"):
        assert carrier_file.value_of("minutes", minutes) is None
