"""The one JSON form of a recording: in the API and in the event `recording.ready`."""

from typing import Any

from xiaohao.clock import rfc3339, rfc3339_local, rfc3339_or_none
from xiaohao.recordings.model import MEDIA_TYPES, Recording


def recording_document(recording: Recording) -> dict[str, Any]:
    """What a customer may know. What cannot be known yet is null; durations in ms."""
    return {
        "call_id": recording.call_id,
        "state": recording.state.value,
        "url": audio_path(recording.call_id) if recording.format else None,
        "format": recording.format,
        "media_type": None if recording.format is None else MEDIA_TYPES[recording.format],
        "bytes": recording.bytes,
        "sha256": recording.sha256,
        "duration_ms": recording.duration_ms,
        "channels": {"left": "caller", "right": "callee"},
        "begins_at": rfc3339(recording.received_at),
        "begins_at_local": rfc3339_local(recording.received_at),
        "ready_at": rfc3339_or_none(recording.ready_at),
    }


def audio_path(call_id: str) -> str:
    """Where the API gives out the audio."""
    return f"/v1/recordings/{call_id}/audio"
