"""Routes: prompts, and what is played when."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from xiaohao.api.auth import AnyKey
from xiaohao.api.fields import Id, Request, Timestamp
from xiaohao.api.paging import Cursors, Page, PageQuery
from xiaohao.api.receiving import media_type_of, received, wrong_media_type
from xiaohao.api.route import NO_KEY, PROBLEM_CONTENT, api_router
from xiaohao.clock import rfc3339
from xiaohao.errors import not_found
from xiaohao.prompts.defaults import Announcement, Defaults
from xiaohao.prompts.desk import LONGEST_TEXT, PromptDesk, texts_of
from xiaohao.prompts.model import LONGEST_MS, ONLY_IF_CHOSEN, Language
from xiaohao.prompts.records import Kept, Source, Version
from xiaohao.prompts.studio import Task
from xiaohao.secrecy import Vault

#: of an uploaded file: the longest prompt as a WAV file of a studio's quality
UPLOAD_MAX: Final = 25_000_000
_KINDS: Final = ("audio/wav", "audio/mpeg", "audio/ogg")
_ALSO: Final = frozenset(
    {
        *_KINDS,
        *("audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/mp3", "audio/opus", "audio/vorbis"),
        *("application/ogg", "application/octet-stream"),
    }
)
_WHY: Final = {
    404: "There is no such thing, or it is another customer's",
    408: "The file came too slowly",
    409: "The name is taken, or there are too many prompts",
    413: "The file is too large",
    415: "The body is neither WAV, MP3 nor OGG",
    422: f"It cannot be decoded, is silence, or lasts longer than {LONGEST_MS // 1000} s",
}
_FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _KINDS},
    },
}
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": why, "content": PROBLEM_CONTENT} for status, why in _WHY.items()
}
_ABSENT: Final[dict[int | str, dict[str, Any]]] = {404: _PROBLEMS[404]}
_WAV: Final[dict[int | str, dict[str, Any]]] = {
    **_ABSENT,
    200: {
        "description": "A WAV file: 8 kHz, one channel, 16 bit",
        "content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}},
    },
}
_FOR: Final = "For the operator: of or for this customer; without it, what all customers share"
_LANGUAGES: Final = "In which languages it speaks, in their order"

PromptName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$"),
    Field(description="No situation's word", examples=["welcome"]),
]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT, pattern=r"^[^\x00-\x08]*$")]
Texts = Annotated[
    dict[Annotated[Language, Field(strict=False)], _Text],
    Field(
        min_length=1,
        description="What is to be said, Mandarin first. How a character is said may follow it in braces,"
        " as in `重{chong2}拨`",
        examples=[{"zh": "您好，这是快递员的来电。", "en": "This is a call from your courier."}],
    ),
]
Situation = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z_]*$")]


class NewPrompt(Request):
    """A prompt to be made of texts."""

    name: PromptName
    texts: Texts
    customer_id: Id | None = Field(None, description=_FOR)


class NewTexts(Request):
    """What a prompt is to say from now on."""

    texts: Texts


class ToRestore(Request):
    """Which version."""

    version: int = Field(ge=1, le=1_000_000_000)


class PromptChoice(Request):
    """What is to be played in a situation."""

    situation: Situation
    prompt_id: Id | None = Field(
        description="`prm_…`; `default`: what the default set says; `none`: nothing; null: what would be"
        " played without this choice"
    )
    pool_id: Id | None = Field(None, description="Only where a number of this pool is dialled")
    customer_id: Id | None = Field(None, description=_FOR)


class UploadQuery(BaseModel):
    """How to call what is sent."""

    model_config = ConfigDict(extra="forbid")

    name: PromptName
    languages: Annotated[list[Language], Field(max_length=2, description=_LANGUAGES)] = []
    customer_id: Annotated[Id | None, Field(description=_FOR)] = None


class ReplaceQuery(BaseModel):
    """What is to be known of what is sent."""

    model_config = ConfigDict(extra="forbid")

    languages: Annotated[list[Language], Field(max_length=2, description=_LANGUAGES)] = []


class VersionQuery(BaseModel):
    """Which version."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int | None, Field(ge=1, le=1_000_000_000, description="null: the present one")] = None


class SituationQuery(BaseModel):
    """Which one of the default set."""

    model_config = ConfigDict(extra="forbid")

    situation: Situation


class AnnouncementQuery(BaseModel):
    """Whose choices."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Annotated[Id | None, Field(description=_FOR)] = None


class VersionView(BaseModel):
    """One sound of a prompt."""

    version: int
    source: Source
    languages: list[Language] = Field(description=_LANGUAGES)
    texts: dict[Language, str] | None = Field(description="null: it was uploaded")
    duration_ms: int
    loudness_lufs: float = Field(description="EBU R 128, integrated; all prompts are made -23")
    sha256: str = Field(description="Of the WAV file")
    created_by: str | None = Field(description="By which key")
    created_at: Timestamp


class PromptView(BaseModel):
    """A prompt."""

    id: str
    customer_id: str | None = Field(description="null: the operator's, for all")
    name: str
    present: VersionView
    created_at: Timestamp
    updated_at: Timestamp


class VersionList(BaseModel):
    """What is kept of a prompt, the newest first."""

    items: list[VersionView]


class ChoiceView(BaseModel):
    """What was chosen for a situation."""

    pool_id: str | None = Field(description="null: wherever no pool says otherwise")
    prompt_id: str = Field(description="`prm_…`, `default` or `none`")
    updated_at: Timestamp


class AnnouncementView(BaseModel):
    """A situation, and what is said in it."""

    situation: str
    texts: dict[Language, str] = Field(description="Of the default set")
    only_if_chosen: bool = Field(description="Nothing is said unless something is chosen")
    chosen: list[ChoiceView]


class AnnouncementList(BaseModel):
    """Every situation."""

    items: list[AnnouncementView]


def router(desk: PromptDesk, defaults: Defaults, vault: Vault) -> APIRouter:
    """The routes of prompts."""
    routes = api_router("prompts")

    @routes.post("/v1/prompts", status_code=201)
    async def create_prompt(key: AnyKey, body: NewPrompt) -> PromptView:
        """Have texts said; costs what the contract says of a prompt."""
        return _prompt(await desk.create(key, body.customer_id, body.name, texts_of(body.texts)))

    @routes.post(
        "/v1/prompts:upload", status_code=201, openapi_extra={**NO_KEY, **_FILE}, responses=_PROBLEMS
    )
    async def upload_prompt(
        key: AnyKey, query: Annotated[UploadQuery, Query()], request: HttpRequest
    ) -> PromptView:
        """Make a prompt of a WAV, MP3 or OGG file (the body); costs what the contract says of a prompt."""
        async with _uploaded(request) as task:
            return _prompt(
                await desk.create(key, query.customer_id, query.name, task, tuple(query.languages))
            )

    @routes.get("/v1/prompts")
    async def list_prompts(key: AnyKey, query: Annotated[PageQuery, Query()]) -> Page[PromptView]:
        """Your prompts, and those that all customers share; for the operator, everybody's."""
        cursors = Cursors(vault, f"prompts {key.customer_id}")
        found = await desk.page(key, cursors.position(query.after) or "", query.limit + 1)
        return cursors.page(found, query.limit, _prompt, lambda prompt: prompt.id)

    @routes.get("/v1/prompts/{prompt_id}")
    async def get_prompt(key: AnyKey, prompt_id: str) -> PromptView:
        """One prompt."""
        return _prompt(await desk.get(key, prompt_id))

    @routes.get("/v1/prompts/{prompt_id}/versions")
    async def list_prompt_versions(key: AnyKey, prompt_id: str) -> VersionList:
        """What is kept of a prompt: the last ten versions, and who made them."""
        return VersionList(items=[_version(one) for one in await desk.versions(key, prompt_id)])

    @routes.get("/v1/prompts/{prompt_id}/audio", response_class=Response, responses=_WAV)
    async def get_prompt_audio(
        key: AnyKey, prompt_id: str, query: Annotated[VersionQuery, Query()]
    ) -> Response:
        """What callers hear."""
        return _wav(await desk.audio(key, prompt_id, query.version), prompt_id)

    @routes.put("/v1/prompts/{prompt_id}/audio", openapi_extra=_FILE, responses=_PROBLEMS)
    async def replace_prompt_audio(
        key: AnyKey, prompt_id: str, query: Annotated[ReplaceQuery, Query()], request: HttpRequest
    ) -> PromptView:
        """Play another file from now on."""
        await desk.get(key, prompt_id, own=True)  # before anything is received
        async with _uploaded(request) as task:
            return _prompt(await desk.replace(key, prompt_id, task, tuple(query.languages)))

    @routes.put("/v1/prompts/{prompt_id}/texts")
    async def replace_prompt_texts(key: AnyKey, prompt_id: str, body: NewTexts) -> PromptView:
        """Say other texts from now on."""
        return _prompt(await desk.replace(key, prompt_id, texts_of(body.texts)))

    @routes.post("/v1/prompts/{prompt_id}:restore")
    async def restore_prompt(key: AnyKey, prompt_id: str, body: ToRestore) -> PromptView:
        """Play an older version again."""
        return _prompt(await desk.restore(key, prompt_id, body.version))

    @routes.delete("/v1/prompts/{prompt_id}", status_code=204)
    async def delete_prompt(key: AnyKey, prompt_id: str) -> None:
        """Delete a prompt that no situation has chosen."""
        await desk.delete(key, prompt_id)

    @routes.get("/v1/announcements", responses=_ABSENT)
    async def list_announcements(
        key: AnyKey, query: Annotated[AnnouncementQuery, Query()]
    ) -> AnnouncementList:
        """Every situation in which something is said: by the default set, and what was chosen instead."""
        return await _announcements(key, query.customer_id)

    @routes.put("/v1/announcements")
    async def choose_prompt(key: AnyKey, body: PromptChoice) -> AnnouncementList:
        """Choose what is played in a situation. It is in force within a second."""
        await desk.choose(key, body.customer_id, body.situation, body.pool_id, body.prompt_id)
        return await _announcements(key, body.customer_id)

    @routes.get("/v1/announcements/audio", response_class=Response, responses=_WAV)
    async def get_default_audio(_: AnyKey, query: Annotated[SituationQuery, Query()]) -> Response:
        """What the default set says in a situation."""
        audio = await defaults.audio(query.situation)
        if audio is None:
            raise not_found("prompt")
        return _wav(audio, query.situation)

    async def _announcements(key: AnyKey, customer_id: str | None) -> AnnouncementList:
        chosen = await desk.choices(key, customer_id)
        return AnnouncementList(
            items=[
                _announcement(
                    one,
                    [
                        ChoiceView(
                            pool_id=choice.pool_id,
                            prompt_id=choice.prompt_id,
                            updated_at=rfc3339(choice.updated_at),
                        )
                        for choice in chosen
                        if choice.situation == one.situation
                    ],
                )
                for one in defaults.all()
            ]
        )

    return routes


@asynccontextmanager
async def _uploaded(request: HttpRequest) -> AsyncIterator[Task]:
    """The body in a file of its own. Raises Refusal."""
    kind = media_type_of(request)
    if kind and kind not in _ALSO:
        raise wrong_media_type(kind, _KINDS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompt"
        await received(request, file, UPLOAD_MAX)
        yield Task(path=str(file))


def _wav(content: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}.wav"', "Cache-Control": "private, no-cache"}
    return Response(content, media_type="audio/wav", headers=headers)


def _announcement(one: Announcement, chosen: list[ChoiceView]) -> AnnouncementView:
    return AnnouncementView(
        situation=one.situation,
        texts=dict(one.texts),
        only_if_chosen=one.situation in ONLY_IF_CHOSEN,
        chosen=chosen,
    )


def _version(version: Version) -> VersionView:
    return VersionView(
        version=version.version,
        source=version.source,
        languages=list(version.languages),
        texts=None if version.texts is None else dict(version.texts),
        duration_ms=version.duration_ms,
        loudness_lufs=version.loudness,
        sha256=version.sha256,
        created_by=version.created_by,
        created_at=rfc3339(version.created_at),
    )


def _prompt(prompt: Kept) -> PromptView:
    return PromptView(
        id=prompt.id,
        customer_id=prompt.customer_id,
        name=prompt.name,
        present=_version(prompt.present),
        created_at=rfc3339(prompt.created_at),
        updated_at=rfc3339(prompt.updated_at),
    )
