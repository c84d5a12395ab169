"""Another master key: every secret comes over, wherever the work was interrupted, and never a third key's."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, insert, select, text, update
from tests.filled import BEFORE, OTHER, A, B, Filled, fill
from tests.world import World

from xiaohao.bindings.service import Bindings
from xiaohao.database.engine import Database
from xiaohao.database.errors import DatabaseInUse, MasterKeyChanging, WrongMasterKey
from xiaohao.database.schema import audit, cdrs, events, legs
from xiaohao.rotation import service
from xiaohao.rotation.model import INDEX_BYTES, RotationFailed, secrets_of
from xiaohao.rotation.service import Rotation
from xiaohao.secrecy import SecrecyError, Vault

OLD, NEW, THIRD = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))

Contents = dict[str, list[dict[str, Any]]]


async def contents(database: Database, vault: Vault) -> Contents:
    """All tables, what is sealed opened, and each index replaced by whether it is that of its text."""
    found: Contents = {}
    for secrets in secrets_of():
        async with database.read() as connection:
            rows = [{**row} for row in (await connection.execute(select(secrets.table))).mappings()]
        for row in rows:
            for sealed, index in secrets.columns:
                plain = None if row[sealed] is None else vault.open_bytes(row[sealed])
                if index is not None and row[index] is not None and len(row[index]) == INDEX_BYTES:
                    assert plain is not None
                    row[index] = vault.index(plain.decode()) == row[index]
                row[sealed] = plain
            if secrets.table is legs and len(row["caller_key"]) == INDEX_BYTES:
                people = {vault.index(number): number for number in (A, B, BEFORE, OTHER)}
                row["caller_key"] = people[row["caller_key"]]
        found[secrets.table.name] = sorted(rows, key=repr)
    return found


@pytest.fixture
async def filled(world: World) -> Filled:
    return await fill(world)


async def test_everything_comes_over(world: World, filled: Filled) -> None:
    before = await contents(world.database, Vault(OLD))
    rows = sum(map(len, before.values()))
    assert {name for name, found in before.items() if not found} == set()
    told: dict[str, tuple[int, int]] = {}

    def tell(table: str, done: int, total: int) -> None:
        told[table] = (done, total)

    done = await Rotation(world.database, OLD, NEW, tell).run()
    assert await contents(world.database, Vault(NEW)) == before
    with pytest.raises(SecrecyError):
        await contents(world.database, Vault(OLD))
    if world.database.is_sqlite:
        path = Path(str(world.database.url.database))
        left = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        assert left.count(Vault(NEW).prefix) > 25
        assert Vault(OLD).prefix not in left, "neither in free pages nor in the log"
    assert 25 < done <= rows + len(before["legs"])
    assert {table: done for table, (done, _) in told.items()} == {
        table: all_ for table, (_, all_) in told.items()
    }
    again = Bindings(world.database, Vault(NEW), world.clock)
    assert (await again.look_up(A, filled.live.y)).callee == B
    assert (await again.look_up(B, filled.live.x)).callee == A
    assert (await again.look_up(OTHER, filled.released.y)).outcome == "binding_expired"
    assert (await Bindings(world.database, Vault(OLD), world.clock).look_up(A, filled.live.y)).callee is None
    assert await Rotation(world.database, OLD, NEW).run() == 0
    assert await Rotation(world.database, NEW, OLD).run() == done
    assert await contents(world.database, Vault(OLD)) == before


class Interrupted(Exception):
    """Stands for a crash between two transactions."""


async def test_it_is_taken_up_wherever_it_stopped(
    world: World, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_BATCH", 2)
    before = await contents(world.database, Vault(OLD))
    stops = 0
    while True:
        steps = 0

        def tell(_table: str, done: int, _total: int) -> None:
            nonlocal steps
            steps += done > 0
            if steps == 3:
                raise Interrupted

        try:
            await Rotation(world.database, OLD, NEW, tell).run()
            break
        except Interrupted:
            stops += 1
        # between two runs both keys are at work: each value says which, and nobody else comes in
        await contents_with_either(world.database)
        for key in (OLD, NEW):
            await refused(world, key, MasterKeyChanging)
    assert stops >= 8
    assert await contents(world.database, Vault(NEW)) == before


async def contents_with_either(database: Database) -> None:
    either = Vault(NEW, OLD)
    for secrets in secrets_of():
        async with database.read() as connection:
            for row in (await connection.execute(select(secrets.table))).mappings():
                for sealed, _ in secrets.columns:
                    if row[sealed] is not None:
                        either.open_bytes(row[sealed])


async def refused(world: World, key: bytes, error: type[Exception]) -> None:
    """A process with this key cannot even ask a question."""
    other = Database(world.database.url.render_as_string(hide_password=False), Vault(key).key_id)
    try:
        with pytest.raises(error):
            await other.agree()
        with pytest.raises(error):
            await other.ping()
    finally:
        await other.close()


async def test_nobody_works_on_the_database_meanwhile(world: World, filled: Filled) -> None:
    url = world.database.url.render_as_string(hide_password=False)
    running = Database(url, Vault(OLD).key_id)
    await running.agree()
    with pytest.raises(DatabaseInUse, match="stop it first"):
        await Rotation(world.database, OLD, NEW).run()
    await running.close()
    with world.database.fence.alone():
        await refused(world, OLD, MasterKeyChanging)
        with pytest.raises(DatabaseInUse):
            await Rotation(world.database, OLD, NEW).run()
    await running.agree()  # opened again
    await running.close()
    assert await Rotation(world.database, OLD, NEW).run() > 0
    with pytest.raises(WrongMasterKey):
        await running.ping()
    await running.close()


async def test_a_process_with_another_key_is_told(world: World) -> None:
    url = world.database.url.render_as_string(hide_password=False)
    first = Database(url, Vault(OLD).key_id)
    await first.agree()
    await first.agree()
    await first.close()
    await refused(world, NEW, WrongMasterKey)
    with pytest.raises(WrongMasterKey):
        await Rotation(world.database, NEW, THIRD).run()


async def test_a_rotation_under_way_leads_to_no_third_key(
    world: World, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_table: str, _done: int, _total: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        await Rotation(world.database, OLD, NEW, stop).run()
    for old, new in ((OLD, THIRD), (NEW, OLD), (THIRD, NEW)):
        with pytest.raises(WrongMasterKey):
            await Rotation(world.database, old, new).run()
    with pytest.raises(RotationFailed, match="make another"):
        await Rotation(world.database, OLD, OLD).run()
    await Rotation(world.database, OLD, NEW).run()
    await contents(world.database, Vault(NEW))


async def test_what_is_not_the_old_key_s_work_stops_it_and_is_named(world: World, filled: Filled) -> None:
    spoilt = {  # in the order in which the tables are done
        "without": (audit, {"subject_sealed": None}),
        "differ": (cdrs, {"caller_key": Vault(OLD).index(BEFORE)}),
        "third key": (events, {"body_sealed": Vault(THIRD).seal("x")}),
    }
    for said, (table, values) in spoilt.items():
        key = next(iter(table.primary_key.columns))
        async with world.database.begin() as connection:
            first = (await connection.execute(select(table).order_by(key).limit(1))).mappings().one()
            await connection.execute(update(table).where(key == first[key.name]).values(**values))
        with pytest.raises(RotationFailed, match=rf"^{table.name} {first[key.name]}: .*{said}"):
            await Rotation(world.database, OLD, NEW).run()
        repaired = {name: first[name] for name in values}
        async with world.database.begin() as connection:
            # a row that was not reached is as it was
            await connection.execute(update(table).where(key == first[key.name]).values(**repaired))
    async with world.database.begin() as connection:
        stray = {"caller_key": bytes(16), "dialled": "+861060000009", "binding_id": "bnd_gone", "mode": "ax"}
        more = {"customer_id": "c", "role": "a", "state": "live", "record": False}
        await connection.execute(insert(legs).values(**stray, **more))
    with pytest.raises(RotationFailed, match="bnd_gone"):
        await Rotation(world.database, OLD, NEW).run()
    async with world.database.begin() as connection:
        await connection.execute(text("DELETE FROM legs WHERE binding_id = 'bnd_gone'"))
    await Rotation(world.database, OLD, NEW).run()
    await contents(world.database, Vault(NEW))


def test_an_index_whose_text_is_kept_nowhere_is_no_column_of_ours() -> None:
    table = Table("t", MetaData(), Column("id", Text, primary_key=True), Column("p_key", LargeBinary))
    with pytest.raises(RotationFailed, match=r"t\.p_key"):
        secrets_of([table])


async def test_a_column_of_another_version_is_not_left_behind(world: World) -> None:
    async with world.database.begin() as connection:
        await connection.execute(text("CREATE TABLE newer (id INTEGER PRIMARY KEY, name_sealed TEXT)"))
    try:
        with pytest.raises(RotationFailed, match=r"newer\.name_sealed"):
            await Rotation(world.database, OLD, NEW).run()
    finally:
        async with world.database.begin() as connection:
            await connection.execute(text("DROP TABLE newer"))


def test_a_vault_opens_old_values_and_seals_new_ones() -> None:
    old, both = Vault(OLD), Vault(NEW, OLD)
    assert both.open(old.seal("13800000001")) == "13800000001"
    assert both.index("1") == Vault(NEW).index("1")
    assert both.seal("1")[:5] == Vault(NEW).prefix
    for value in (old.seal("1"), b"", b"\x01", old.seal("1")[:20], b"\x02" + old.seal("1")[1:]):
        with pytest.raises(SecrecyError):
            Vault(NEW).open(value)
    moved = Vault(NEW).prefix + old.seal("1")[5:]
    with pytest.raises(SecrecyError):
        both.open(moved)
