"""From rtpengine's capture to an audio file."""
