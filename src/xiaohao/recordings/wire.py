"""The one JSON form of a recording: in the API and in the events `recording.ready` and `recording.failed`."""

from typing import Any

from xiaohao.clock import DAY, rfc3339, rfc3339_local, rfc3339_or_none
from xiaohao.recordings.model import FOR_EVER, MEDIA_TYPES, Recording, RecordingState, Sound


def recording_document(recording: Recording, keep_days: int) -> dict[str, Any]:
    """What a customer may know. What cannot be known, yet or any more, is null; durations in ms.

    `keep_days` is for how long recordings without a rule of their own are kept.
    """
    is_ready = recording.state is RecordingState.READY
    return {
        "call_id": recording.call_id,
        "state": recording.state.value,
        "failure": None if recording.failure is None else recording.failure.value,
        "url": audio_path(recording.call_id) if is_ready else None,
        "waveform_url": waveform_path(recording.call_id) if is_ready else None,
        "format": recording.format,
        "media_type": None if recording.format is None else MEDIA_TYPES[recording.format],
        "bytes": recording.size,
        "sha256": recording.sha256,
        "duration_ms": recording.duration_ms,
        "cut_off": recording.cut_off,
        "sample_rate": recording.rate,
        "channels": {"left": "caller", "right": "callee"},
        "caller": _sound(recording.caller),
        "callee": _sound(recording.callee),
        "begins_at": rfc3339(recording.received_at),
        "begins_at_local": rfc3339_local(recording.received_at),
        "ready_at": rfc3339_or_none(recording.ready_at),
        "kept_until": rfc3339_or_none(kept_until(recording, keep_days)),
        "held": recording.held_at is not None,
    }


def kept_until(recording: Recording, keep_days: int) -> int | None:
    """When it is deleted (µs); None: never, or it is gone already."""
    if recording.held_at is not None or recording.state not in (RecordingState.READY, RecordingState.FAILED):
        return None
    if recording.delete_at is not None:
        return recording.delete_at if recording.delete_at < FOR_EVER else None
    return recording.ended_at + keep_days * DAY if keep_days else None


def _sound(sound: Sound | None) -> dict[str, Any] | None:
    if sound is None:
        return None
    return {
        "codecs": list(sound.codecs),
        "voice_ms": sound.voice.ms,
        "level_dbfs": sound.voice.level,
    }


def audio_path(call_id: str) -> str:
    """Where the API gives out the audio."""
    return f"/v1/recordings/{call_id}/audio"


def waveform_path(call_id: str) -> str:
    """Where the API gives out what a player draws."""
    return f"/v1/recordings/{call_id}/waveform"
