"""The terms of a recording: whose voice, in which codec, what has become of it."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, Literal

Format = Literal["wav", "mp3", "opus"]

#: added to the number of an IPv6 port: the IPv4 port of that number is another one, perhaps of the other side
OF_IPV6: Final = 65_536

#: a moment that does not come (the year 9999)
FOR_EVER: Final = 253_402_300_799_000_000

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
    #: its key is destroyed, so that nobody can hear it any more; the worker removes what is left of it
    DELETING = "deleting"
    #: its object and its captures were looked for and are gone
    DELETED = "deleted"


class Failure(StrEnum):
    """Why a recording failed, for programs."""

    #: what was captured cannot become audio
    CAPTURE = "capture"
    #: nothing was captured: the disk was full when the call came
    DISK_FULL = "disk_full"


class StoreAway(Exception):
    """The store cannot be reached, or does not take or give what it should. The text carries no number."""


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
class Voice:
    """How long a side spoke, and how loud (dBFS, ITU-T P.56); None: it was silent all the time."""

    ms: int
    level: float | None


@dataclass(frozen=True)
class Sound:
    """What is known of one side's audio: its codecs in the order of their first packet, and its voice."""

    codecs: tuple[str, ...]
    voice: Voice


@dataclass(frozen=True)
class Stored:
    """An object as it lies in the store: encrypted."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class AudioFile:
    """A finished conversion, before it is put into the store. Bytes and SHA-256 are of what is delivered.

    `picture_bytes` of what is drawn of it are sealed behind it.
    """

    format: Format
    bytes: int
    sha256: str
    duration_ms: int
    rate: int
    caller: Sound
    callee: Sound
    picture_bytes: int
    stored: Stored
    #: what was said is not all in it: its capture ends in the middle, or is not known to be whole
    cut_off: bool = False


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
    failure: str | None = None


@dataclass(frozen=True)
class Recording:
    """What is known of a call's recording; moments in microseconds since the epoch.

    `size` in bytes and `sha256` are of the audio as it is delivered. `key_sealed` opens its object; None:
    there is none, or it was destroyed.
    """

    call_id: str
    customer_id: str | None
    state: RecordingState
    received_at: int
    ended_at: int
    pool_id: str | None
    error: str | None
    failure: Failure | None
    path: str | None
    format: Format | None
    size: int | None
    sha256: str | None
    duration_ms: int | None
    rate: int | None
    caller: Sound | None
    callee: Sound | None
    picture_bytes: int | None
    stored: Stored | None
    key_sealed: bytes | None = field(repr=False)
    ready_at: int | None
    delete_at: int | None
    held_at: int | None
    #: not all that was said is in it; None: there is no audio
    cut_off: bool | None = None


@dataclass(frozen=True)
class Backlog:
    """What waits to be converted and what failed for good: how many, and since when (µs; None: none)."""

    waiting: int
    oldest_waiting: int | None
    failed: int
    oldest_failed: int | None
