"""A prompt and its versions as they are shown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from xiaohao.prompts.model import Language
from xiaohao.secrecy import Vault


class Source(StrEnum):
    """What a version was made of."""

    UPLOAD = "upload"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Version:
    """One sound of a prompt. `loudness` in LUFS; `texts` only where it was made of them."""

    version: int
    source: Source
    languages: tuple[Language, ...]
    texts: Mapping[Language, str] | None = field(repr=False)
    duration_ms: int
    loudness: float
    sha256: str
    created_by: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A prompt as it is kept. `customer_id` None: the operator's, which all customers share."""

    id: str
    customer_id: str | None
    name: str
    present: Version
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class ChosenPrompt:
    """What somebody chose for a situation. `pool_id` None: wherever no pool says otherwise."""

    customer_id: str | None
    pool_id: str | None
    situation: str
    prompt_id: str
    updated_at: int


def version_of(row: Mapping[Any, Any], vault: Vault) -> Version:
    """The version in a row of `prompt_versions`, or in one that has the prompt's columns as well."""
    sealed = row["texts_sealed"]
    texts = None if sealed is None else json.loads(vault.open(sealed))
    return Version(
        version=row["version"],
        source=Source(row["source"]),
        languages=tuple(Language(one) for one in json.loads(row["languages"])),
        texts=None if texts is None else {Language(name): text for name, text in texts.items()},
        duration_ms=row["duration_ms"],
        loudness=float(row["loudness"]),
        sha256=row["sha256"],
        created_by=row["created_by"],
        created_at=row["made_at"] if "made_at" in row else row["created_at"],
    )


def kept_of(row: Mapping[Any, Any], vault: Vault) -> Kept:
    """The prompt in a row of `store.find` or `store.page`."""
    return Kept(
        id=row["id"],
        customer_id=row["owner"] or None,
        name=row["name"],
        present=version_of(row, vault),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def chosen_of(row: Mapping[Any, Any]) -> ChosenPrompt:
    """The choice in a row."""
    return ChosenPrompt(
        row["owner"] or None, row["pool_id"] or None, row["situation"], row["prompt_id"], row["updated_at"]
    )
