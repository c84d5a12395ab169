"""What can be done with prompts: make, replace, restore, delete, hear, and choose them for situations.

Every one of these is told who asks (a Principal): the operator, or a customer, whose prompts nobody else
hears of. What has no owner (`customer_id` None) is the operator's, and all customers share it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.billing.prompts import charge_prompt
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found, validation_failed
from xiaohao.ids import new_id
from xiaohao.pools.service import Pools
from xiaohao.prompts import store
from xiaohao.prompts.marks import is_well_marked
from xiaohao.prompts.model import DEFAULT, LANGUAGES, NOTHING, SITUATIONS, Language
from xiaohao.prompts.records import ChosenPrompt, Kept, Source, Version, chosen_of, kept_of, version_of
from xiaohao.prompts.studio import Made, Studio, Task
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal
from xiaohao.tenants.service import Tenants

#: versions that are kept of a prompt, the present one among them
VERSIONS_KEPT: Final = 10
#: prompts of one owner
PROMPTS_MOST: Final = 1000
LONGEST_TEXT: Final = 500
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_SPEAKABLE: Final = re.compile(r"[\w\u3400-\u9fff]")


class PromptDesk:
    """The prompts of the platform. `clock` gives microseconds since the epoch."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        audit: Audit,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._database, self._vault, self._audit = database, vault, audit
        self._pools, self._tenants = Pools(database, vault, clock), Tenants(database, vault, clock)
        self._clock = clock
        self._studio = Studio()

    async def create(
        self,
        who: Principal,
        customer_id: str | None,
        name: str,
        task: Task,
        languages: tuple[Language, ...] = (),
    ) -> Kept:
        """A new prompt of a file or of texts, for a customer or (None) for all.

        Raises Refusal: `validation_failed`, `prompt_name_taken`, `prompts_full`, those of `Studio.make`.
        """
        _check_name(name)
        _check_texts(task)
        owner = await self._tenants.meant(who, customer_id)
        made, audio = await self._studio.make(task)
        now, prompt_id = self._clock(), new_id("prm")
        row = {
            "id": prompt_id,
            "owner": owner,
            "name": name,
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.begin() as connection:
                revision = await store.begin_change(connection)
                if len(await store.names(connection, [owner])) >= PROMPTS_MOST:
                    raise conflict("prompts_full", "There are too many prompts", f"At most {PROMPTS_MOST}.")
                await store.add(connection, {**row, "revision": revision})
                await self._add_version(connection, who, prompt_id, 1, task, languages, made, audio)
                await self._note(connection, who, "created", name, version=1)
                if owner:
                    await charge_prompt(connection, self._vault, owner, name, who.key_id, now)
                return self._kept(await store.find(connection, prompt_id))
        except IntegrityError:
            raise _name_taken(name) from None

    async def replace(
        self, who: Principal, prompt_id: str, task: Task, languages: tuple[Language, ...] = ()
    ) -> Kept:
        """Another sound in the place of the present one, which stays as a version.

        Raises Refusal: `not_found`, `validation_failed`, those of `Studio.make`.
        """
        _check_texts(task)
        await self.get(who, prompt_id, own=True)  # before any work is done
        made, audio = await self._studio.make(task)
        async with self._database.begin() as connection:
            revision = await store.begin_change(connection)
            row = _own(await store.find(connection, prompt_id), who)
            version = (await store.versions(connection, prompt_id))[0]["version"] + 1
            await self._add_version(connection, who, prompt_id, version, task, languages, made, audio)
            await store.forget_versions(connection, prompt_id, before=version - VERSIONS_KEPT + 1)
            await self._set_version(connection, prompt_id, version, revision)
            await self._note(connection, who, "replaced", row["name"], version=version)
            return self._kept(await store.find(connection, prompt_id))

    async def restore(self, who: Principal, prompt_id: str, version: int) -> Kept:
        """Make a version that is kept the present one again. Raises Refusal: `not_found`."""
        async with self._database.begin() as connection:
            revision = await store.begin_change(connection)
            row = _own(await store.find(connection, prompt_id), who)
            if version not in {one["version"] for one in await store.versions(connection, prompt_id)}:
                raise not_found("version")
            await self._set_version(connection, prompt_id, version, revision)
            await self._note(connection, who, "restored", row["name"], version=version)
            return self._kept(await store.find(connection, prompt_id))

    async def delete(self, who: Principal, prompt_id: str) -> None:
        """Delete a prompt and all its versions. Raises Refusal: `not_found`, `prompt_in_use`."""
        async with self._database.begin() as connection:
            revision = await store.begin_change(connection)
            row = _own(await store.find(connection, prompt_id), who)
            uses = await store.chosen_for(connection, prompt_id)
            if uses:
                raise conflict(
                    "prompt_in_use",
                    "The prompt is in use",
                    "Choose another one for the situations in which it is played first.",
                    situations=sorted({use["situation"] for use in uses}),
                )
            values = {"name": prompt_id, "version": 0, "revision": revision, "updated_at": self._clock()}
            await store.change(connection, prompt_id, values)
            await store.forget_versions(connection, prompt_id)
            await self._note(connection, who, "deleted", row["name"])

    async def get(self, who: Principal, prompt_id: str, *, own: bool = False) -> Kept:
        """A prompt: one's own or (unless `own`) one that the operator shares. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await store.find(connection, prompt_id)
        return self._kept(_own(row, who) if own else _visible(row, who))

    async def page(self, who: Principal, after: str, limit: int) -> list[Kept]:
        """At most `limit` prompts: a customer's own and the operator's; all of them for the operator."""
        owners = None if who.is_operator else (_owner(who), "")
        async with self._database.read() as connection:
            rows = await store.page(connection, owners, after, limit)
        return [self._kept(row) for row in rows]

    async def versions(self, who: Principal, prompt_id: str) -> list[Version]:
        """What is kept of a prompt, the newest first. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            _visible(await store.find(connection, prompt_id), who)
            return [version_of(row, self._vault) for row in await store.versions(connection, prompt_id)]

    async def audio(self, who: Principal, prompt_id: str, version: int | None = None) -> bytes:
        """The WAV file of a version, or (None) of the present one. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = _visible(await store.find(connection, prompt_id), who)
            found = await store.audio(connection, prompt_id, version or row["version"])
        if found is None:
            raise not_found("version")
        return found

    async def choose(
        self,
        who: Principal,
        customer_id: str | None,
        situation: str,
        pool_id: str | None,
        prompt_id: str | None,
    ) -> None:
        """Have a prompt played in a situation, everywhere or where a number of a pool is dialled.

        `prompt_id` may be DEFAULT or NOTHING, too; None: no longer.

        Raises Refusal: `not_found`, `validation_failed`.
        """
        if situation not in SITUATIONS:
            raise validation_failed("situation", "is no situation in which something is said")
        owner = await self._tenants.meant(who, customer_id)
        if pool_id is not None:
            await self._pools.get(pool_id, owner or None)
        async with self._database.begin() as connection:
            revision = await store.begin_change(connection)
            name = prompt_id
            if prompt_id not in (None, DEFAULT, NOTHING):
                found = await store.find(connection, prompt_id)
                if found is None or found["owner"] not in (owner, ""):
                    raise not_found("prompt")
                name = found["name"]
            row = {
                "owner": owner,
                "pool_id": pool_id or "",
                "situation": situation,
                "prompt_id": prompt_id,
                "revision": revision,
                "updated_at": self._clock(),
            }
            await store.choose(connection, row)
            await self._note(connection, who, "chosen", name, situation=situation, pool_id=pool_id)

    async def choices(self, who: Principal, customer_id: str | None) -> list[ChosenPrompt]:
        """What is chosen for a customer, or (None) for all. Raises Refusal: `not_found`."""
        owner = await self._tenants.meant(who, customer_id)
        async with self._database.read() as connection:
            return [chosen_of(row) for row in await store.choices(connection, [owner])]

    async def names(self, customer_id: str | None) -> set[str]:
        """Names under which a customer (None: the operator) may have something played."""
        async with self._database.read() as connection:
            return await store.names(connection, [customer_id or "", ""]) | SITUATIONS

    async def _add_version(
        self,
        connection: AsyncConnection,
        who: Principal,
        prompt_id: str,
        version: int,
        task: Task,
        languages: tuple[Language, ...],
        made: Made,
        audio: bytes,
    ) -> None:
        texts = dict(task.texts)
        spoken = json.dumps({one.value: text for one, text in texts.items()}, ensure_ascii=False)
        row = {
            "prompt_id": prompt_id,
            "version": version,
            "source": Source.TEXT.value if texts else Source.UPLOAD.value,
            "texts_sealed": self._vault.seal(spoken) if texts else None,
            "languages": json.dumps([one.value for one in (texts or languages)]),
            "sha256": hashlib.sha256(audio).hexdigest(),
            "bytes": made.bytes,
            "duration_ms": made.duration_ms,
            "loudness": str(made.loudness),
            "audio": audio,
            "created_by": who.key_id,
            "created_at": self._clock(),
        }
        await store.add_version(connection, row)

    async def _set_version(
        self, connection: AsyncConnection, prompt_id: str, version: int, revision: int
    ) -> None:
        values = {"version": version, "revision": revision, "updated_at": self._clock()}
        await store.change(connection, prompt_id, values)

    async def _note(
        self, connection: AsyncConnection, who: Principal, did: str, name: str | None, **more: Any
    ) -> None:
        details = {"did": did, "prompt": name, **more}
        await self._audit.record(connection, who, Action.PROMPT, details=details)

    def _kept(self, row: RowMapping | None) -> Kept:
        assert row is not None  # noqa: S101 – it has just been written or seen
        return kept_of(row, self._vault)


def texts_of(given: Mapping[Language, str]) -> Task:
    """The task of saying texts, in the order in which the default set says its own."""
    return Task(texts=[(language, given[language]) for language in LANGUAGES if language in given])


def _owner(who: Principal) -> str:
    return who.customer_id or ""


def _visible(row: RowMapping | None, who: Principal) -> RowMapping:
    if row is None or not (who.is_operator or row["owner"] in (_owner(who), "")):
        raise not_found("prompt")
    return row


def _own(row: RowMapping | None, who: Principal) -> RowMapping:
    """The operator may do with a customer's prompts what the customer may."""
    if row is None or not (who.is_operator or row["owner"] == _owner(who)):
        raise not_found("prompt")
    return row


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.startswith("prm_"):
        raise validation_failed("name", "must be of a-z, 0-9 and _ . - and not begin with prm_")
    if name in SITUATIONS or name in (DEFAULT, NOTHING):
        raise validation_failed("name", "means something else: take another, and choose it for the situation")


def _check_texts(task: Task) -> None:
    for language, text in task.texts:
        field = f"texts.{language.value}"
        if len(text) > LONGEST_TEXT or not _SPEAKABLE.search(text):
            raise validation_failed(field, f"must have a word and at most {LONGEST_TEXT} characters")
        if not is_well_marked(text):
            raise validation_failed(
                field, "braces hold the Pinyin of the one character before them, as in 重{chong2}拨"
            )


def _name_taken(name: str) -> Exception:
    return conflict("prompt_name_taken", "The name is taken", f"There is a prompt {name!r} already.")
