"""Links to a recording's audio that need no API key: short-lived, signed, and with no number in them.

A token is the facts of the link and their HMAC-SHA256, in base64url. Whoever has it hears one recording, in
the name of the key that made it, until it ends or that key is revoked.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from xiaohao.clock import SECOND
from xiaohao.errors import Refusal
from xiaohao.secrecy import Vault

LONGEST_S: Final = 86_400
_PURPOSE: Final = "recording link"
_MAC_BYTES: Final = 32
_LONGEST_TOKEN: Final = 500


class Link(msgspec.Struct, frozen=True, array_like=True):
    """Which recording, in whose name, until when (µs since the epoch)."""

    call_id: str
    key_id: str
    customer_id: str | None
    until: int

    def token(self, vault: Vault) -> str:
        """As it stands in a URL."""
        facts = msgspec.msgpack.encode(self)
        return urlsafe_b64encode(facts + vault.sign(_PURPOSE, facts)).rstrip(b"=").decode()

    @classmethod
    def read(cls, vault: Vault, token: str, now: int) -> "Link | None":
        """What a token says; None where it was changed, is another platform's, or is over."""
        if len(token) > _LONGEST_TOKEN:
            return None
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        if urlsafe_b64encode(raw).rstrip(b"=").decode() != token:
            return None  # the decoder passes over what does not belong there
        facts, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, vault.sign(_PURPOSE, facts)):
            return None
        link = msgspec.msgpack.decode(facts, type=cls)
        return link if now < link.until else None


def end(now: int, expires_in_s: int) -> int:
    """When a link made now ends."""
    return now + expires_in_s * SECOND


def invalid() -> Refusal:
    """The one answer to every link that leads nowhere."""
    return Refusal("link_invalid", "The link is not valid", "It is over, or is not what was given out.", 403)
