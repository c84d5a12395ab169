"""Names of calls as the edge makes them, for tests in which there is none."""

import secrets
import time


def new_call_id() -> str:
    """A UUID of version 8 (RFC 9562) that begins with the time, in decimal digits of 10 µs."""
    t = f"{time.time_ns() // 10_000:015}"
    rest = secrets.token_hex(8)
    return f"{t[:8]}-{t[8:12]}-8{t[12:15]}-8{rest[:3]}-{rest[3:15]}"
