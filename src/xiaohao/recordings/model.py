"""The terms of a recording: whose voice, in which codec, what has become of it."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal

Format = Literal["wav", "mp3", "opus"]

#: what a player is told; `.opus` is Opus in Ogg (RFC 7845)
MEDIA_TYPES: dict[str, str] = {"wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg"}


class Side(IntEnum):
    """Whose voice; the value is the channel in the file."""

    A = 0  # caller, left
    B = 1  # callee, right

    @property
    def other(self) -> "Side":
        """The one they talk to."""
        return Side(1 - self)


class RecordingState(StrEnum):
    """What has become of a call's recording."""

    #: the capture still has to be converted
    PENDING = "pending"
    READY = "ready"
    #: the capture cannot be converted; it is kept where rtpengine left it
    FAILED = "failed"


class CaptureError(Exception):
    """A capture that cannot become audio. The text tells why and carries neither numbers nor addresses."""


@dataclass(frozen=True)
class Payload:
    """What a payload type of RTP stands for: name in capitals, clock in Hz, SDP parameters."""

    name: str
    clock: int
    parameters: tuple[tuple[str, str], ...] = field(default=())

    def parameter(self, name: str, default: str = "") -> str:
        """The value of a format parameter (a=fmtp), names in lower case."""
        return dict(self.parameters).get(name, default)


@dataclass(frozen=True)
class AudioFile:
    """A finished conversion, before it is put into the store."""

    format: Format
    bytes: int
    sha256: str
    duration_ms: int
    rate: int


@dataclass(frozen=True)
class PendingRecording:
    """A row whose capture is due; moments in microseconds since the epoch."""

    call_id: str
    customer_id: str | None
    received_at: int
    ended_at: int
    tries: int
    due_at: int
    #: JSON list of calls.model.Announcement
    announcements: str | None = None


@dataclass(frozen=True)
class Recording:
    """What is known of a call's recording; moments in microseconds since the epoch."""

    call_id: str
    customer_id: str | None
    state: RecordingState
    received_at: int
    ended_at: int
    error: str | None
    path: str | None
    format: Format | None
    bytes: int | None
    sha256: str | None
    duration_ms: int | None
    ready_at: int | None
