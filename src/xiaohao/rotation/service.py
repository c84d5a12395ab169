"""Replacing the master key of a database: row by row, in batches, to be taken up again wherever it stopped.

Each value says with which key it was sealed, so that a row is either done or not, and nothing beside the rows
remembers how far a rotation has come. From the first batch to the last the database carries the mark of the
key to come, and lets nobody else in.
"""

from typing import Final, Protocol

from xiaohao.database.engine import Database
from xiaohao.database.errors import WrongMasterKey
from xiaohao.database.fence import MASTER_KEY, NEXT_MASTER_KEY
from xiaohao.rotation import store
from xiaohao.rotation.model import (
    RotationFailed,
    Secrets,
    caller_of,
    check_known,
    renewed,
    secrets_of,
)
from xiaohao.secrecy import Vault

#: rows in one transaction: some tenths of a second of work
_BATCH: Final = 1000


class Progress(Protocol):
    """Is told how far it is."""

    def __call__(self, table: str, done: int, total: int) -> None:
        """So many of the rows of a table that were to be done are done."""


def _quietly(table: str, done: int, total: int) -> None:
    """Tell nobody."""


class Rotation:
    """From one master key to another. `database` is one that was opened without a key."""

    def __init__(self, database: Database, old: bytes, new: bytes, progress: Progress = _quietly) -> None:
        self._database = database
        self._old, self._new = Vault(old), Vault(new)
        #: opens what either of them sealed
        self._either = Vault(new, old)
        self._progress = progress

    async def is_over(self) -> bool:
        """Whether the database is sealed with the new key already."""
        async with self._database.read() as connection:
            said = await store.key_marks(connection)
        return said.get(MASTER_KEY) == self._new.key_id and NEXT_MASTER_KEY not in said

    async def run(self) -> int:
        """Seal everything anew; says how many rows that were. Does nothing where it is over already.

        Raises DatabaseInUse while anybody else works on the database; WrongMasterKey where it was sealed with
        another key than the old one, or another rotation is under way; RotationFailed; DatabaseUnavailable.
        After any of them, as after a crash, everything is as it was or further on: run it again.
        """
        with self._database.fence.alone():
            return await self.run_alone()

    async def run_alone(self) -> int:
        """The same for who keeps everybody else out already (`fence.alone`)."""
        if self._old.key_id == self._new.key_id:
            raise RotationFailed("the new master key is the old one, or looks like it: make another")
        if await self.is_over():
            return 0
        tables = secrets_of()
        async with self._database.read() as connection:
            check_known(tables, await store.columns(connection))
        await self._begin()
        done = await self._renew_callers()
        for secrets in tables:
            done += await self._renew(secrets)
        await self._finish(tables)
        return done

    async def has_begun(self) -> bool:
        """Whether anything can be sealed with the new key."""
        async with self._database.read() as connection:
            said = await store.key_marks(connection)
        return self._new.key_id in said.values()

    async def _begin(self) -> None:
        old, new = self._old.key_id, self._new.key_id
        async with self._database.begin() as connection:
            await store.forget_what_was(connection)
            said = await store.key_marks(connection)
            if said.get(MASTER_KEY, old) != old:
                its = said[MASTER_KEY]
                raise WrongMasterKey(
                    f"the database was sealed with the key {its:08x}, the old one is {old:08x}"
                )
            if said.get(NEXT_MASTER_KEY, new) != new:
                next_one = said[NEXT_MASTER_KEY]
                raise WrongMasterKey(
                    f"the database is on its way to the key {next_one:08x}, not to {new:08x}"
                )
            await store.begin(connection, old, new)

    async def _renew(self, secrets: Secrets) -> int:
        async with self._database.read() as connection:
            total = await store.count_old(connection, secrets, self._new.prefix)
        done, after = 0, None
        while True:
            async with self._database.begin() as connection:
                rows = await store.page_old(connection, secrets, self._new.prefix, after, _BATCH)
                changed = [(row, renewed(secrets, row, self._old, self._new)) for row in rows]
                await store.change(connection, secrets, changed)
            done += len(rows)
            self._progress(secrets.table.name, done, total)
            if len(rows) < _BATCH:
                return done
            after = tuple(rows[-1][name] for name in secrets.keys)

    async def _renew_callers(self) -> int:
        """The legs' callers: an index that is part of the key, and whose text the leg's binding has.

        A leg that is done moves to another place among the rest and is met again there, done.
        """
        async with self._database.read() as connection:
            total = await store.count_people(connection)
        done, after = 0, None
        while True:
            async with self._database.begin() as connection:
                legs = await store.page_legs(connection, after, _BATCH)
                sealed = await store.people(connection, list({leg["binding_id"] for leg in legs}))
                changed = []
                for leg in legs:
                    people = map(self._either.open, sealed[leg["binding_id"]])
                    key = caller_of(leg, people, self._old, self._new)
                    if key is not None:
                        changed.append((leg, key))
                await store.change_callers(connection, changed)
            done += len(changed)
            self._progress("legs (callers)", min(done, total), total)
            if len(legs) < _BATCH:
                return done
            after = (legs[-1]["caller_key"], legs[-1]["dialled"])

    async def _finish(self, tables: list[Secrets]) -> None:
        async with self._database.begin() as connection:
            for secrets in tables:
                if await store.count_old(connection, secrets, self._new.prefix):
                    raise RotationFailed(f"{secrets.table.name}: somebody wrote with the old key meanwhile")
            await store.finish(connection, self._new.key_id)
        async with self._database.read() as connection:
            await store.empty_the_log(connection)
