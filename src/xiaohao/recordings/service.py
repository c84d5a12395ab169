"""What can be done with recordings: find them, give out their audio and what is drawn of it, try one again.

Whoever hears a recording, or gets a link to it, stands in the audit log.
"""

from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found
from xiaohao.recordings import links, store
from xiaohao.recordings.files import RecordingFiles
from xiaohao.recordings.links import Link
from xiaohao.recordings.model import (
    MEDIA_TYPES,
    Failure,
    Recording,
    RecordingState,
)
from xiaohao.recordings.picture import Picture
from xiaohao.recordings.seal import CHUNK_BYTES, Opener
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.model import Principal
from xiaohao.tenants.service import Tenants

#: so much is read from the store and opened at a time
_AT_ONCE: Final = 4 * CHUNK_BYTES


@dataclass(frozen=True)
class Audio:
    """A recording's audio, ready to be read, and what to tell who downloads it."""

    path: str
    length: int
    sha256: str
    media_type: str
    name: str
    opener: Opener
    files: RecordingFiles

    async def read(self, at: int, length: int) -> bytes:
        """Some bytes of it. Raises FileNotFoundError, StoreAway, SealBroken."""
        part = self.opener.part(at, length)
        return self.opener.open(part, await self.files.read(self.path, part.at, part.length))

    async def check(self) -> None:
        """Raises FileNotFoundError where it is not in the store; StoreAway."""
        if await self.files.size(self.path) is None:
            raise FileNotFoundError("the recording's object is missing")

    async def stream(self, at: int, length: int) -> AsyncIterator[bytes]:
        """The same bit by bit. Raises the same."""
        end = at + length
        while at < end:
            # whole chunks, so that none is opened twice
            step = min(_AT_ONCE - at % CHUNK_BYTES, end - at)
            yield await self.read(at, step)
            at += step


class Recordings:
    """Finds recordings and gives them out. Where `customer_id` is None, the operator asks."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        settings: Settings,
        audit: Audit,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._database = database
        self._vault = vault
        self._files = RecordingFiles(settings)
        self._audit = audit
        self._tenants = Tenants(database, vault, clock)
        self._clock = clock
        #: for how long recordings without a rule are kept
        self.keep_days = settings.recording.keep_days

    async def get(self, customer_id: str | None, call_id: str) -> Recording:
        """What is known of a call's recording. Raises Refusal: `not_found`; DatabaseUnavailable."""
        async with self._database.read() as connection:
            recording = await store.find(connection, call_id, customer_id)
        if recording is None:
            raise not_found("recording")
        return recording

    async def page(
        self,
        customer_id: str | None,
        before: str | None,
        limit: int,
        *,
        state: RecordingState | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> list[Recording]:
        """At most `limit` recordings, the newest call first, of calls before the one with id `before`."""
        where = store.filters(customer_id, state, since, until)
        async with self._database.read() as connection:
            return await store.page(connection, before, limit, where)

    async def audio(self, principal: Principal, call_id: str, *, said: dict[str, Any] | None = None) -> Audio:
        """Its audio; that it was asked for stands in the audit log, with what is `said` about it.

        Raises Refusal: `not_found`, `recording_not_ready`, `recording_failed`, `recording_deleted`.
        """
        recording = await self._heard(principal, call_id, Action.RECORDING_AUDIO, said)
        return self._audio(recording)

    async def waveform(self, principal: Principal, call_id: str, pixels: int) -> dict[str, Any]:
        """What a player draws, at most so many pixels, and when who spoke.

        Raises as `audio` and as its `read`.
        """
        recording = await self._heard(principal, call_id, Action.RECORDING_WAVEFORM, None)
        audio = self._audio(recording)
        picture = Picture.unpacked(await audio.read(audio.length, recording.picture_bytes or 0))
        caller, callee = ([list(span) for span in spans] for spans in picture.voice)
        return {**picture.waveform(pixels), "voice": {"caller": caller, "callee": callee}}

    async def link(self, principal: Principal, call_id: str, expires_in_s: int) -> tuple[str, int]:
        """A link's token and the moment (µs) at which it ends. Raises as `audio`."""
        said = {"expires_in_s": expires_in_s}
        await self._heard(principal, call_id, Action.RECORDING_LINK, said)
        link = Link(call_id, principal.key_id, principal.customer_id, links.end(self._clock(), expires_in_s))
        return link.token(self._vault), link.until

    async def audio_by_link(self, token: str, said: dict[str, Any]) -> Audio:
        """The audio that a link leads to, in the name of the key that made it.

        Raises Refusal as `audio`, and `link_invalid`: it is over, was changed, or its key was revoked.
        """
        link = Link.read(self._vault, token, self._clock())
        if link is None or not await self._tenants.key_is_valid(link.customer_id, link.key_id):
            raise links.invalid()
        principal = Principal(link.key_id, link.customer_id, None)
        return await self.audio(principal, link.call_id, said={"by": "link", **said})

    async def retry(self, call_id: str) -> None:
        """For the operator: try a failed one again. Raises Refusal: `not_found`, `recording_never_made`."""
        async with self._database.begin() as connection:
            if await store.retry(connection, call_id, self._clock()):
                return
            recording = await store.find(connection, call_id, None)
        if recording is not None and recording.failure is Failure.DISK_FULL:
            raise conflict(
                "recording_never_made",
                "There was no recording",
                "The disk was full when the call came: nothing was recorded.",
            )
        raise not_found("failed recording")

    async def _heard(
        self, principal: Principal, call_id: str, action: Action, said: dict[str, Any] | None
    ) -> Recording:
        """A recording that can be heard; that it is, is written down first."""
        recording = await self.get(principal.customer_id, call_id)
        _check_ready(recording)
        async with self._database.begin() as connection:
            await self._audit.record(connection, principal, action, thing=call_id, details=said)
        return recording

    def _audio(self, recording: Recording) -> Audio:
        _check_ready(recording)
        assert recording.key_sealed is not None  # noqa: S101 - it is ready
        assert recording.path is not None  # noqa: S101
        assert recording.format is not None  # noqa: S101
        key, size = b64decode(self._vault.open(recording.key_sealed)), recording.size or 0
        return Audio(
            path=recording.path,
            length=size,
            sha256=recording.sha256 or "",
            media_type=MEDIA_TYPES[recording.format],
            name=f"{recording.call_id}.{recording.format}",
            opener=Opener(key, size + (recording.picture_bytes or 0)),
            files=self._files,
        )


def _check_ready(recording: Recording) -> None:
    if recording.state is RecordingState.FAILED:
        raise conflict(
            "recording_failed", "The recording failed", "What was recorded could not be turned into audio."
        )
    if recording.state in (RecordingState.DELETING, RecordingState.DELETED):
        raise conflict("recording_deleted", "The recording was deleted", "Nobody can hear it any more.")
    if recording.state is not RecordingState.READY:
        raise conflict(
            "recording_not_ready", "The recording is not ready", "The call's audio is still being made."
        )
