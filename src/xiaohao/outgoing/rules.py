"""What a customer may name as its URL, and what may sign the POSTs there."""

import secrets
from base64 import b64decode, b64encode
from typing import Final
from urllib.parse import SplitResult, urlsplit

from xiaohao.errors import validation_failed
from xiaohao.outgoing.network import is_host, names_a_private_place

_WHSEC: Final = "whsec_"
_SECRET_BYTES: Final = 32
_LONGEST_URL: Final = 2000


def check_url(field: str, url: str | None, *, allow_private: bool) -> None:
    """Whether a customer may name this URL; None always. Raises Refusal: `validation_failed` of the field."""
    if url is None:
        return
    parts = _parts_of(url)
    if parts is None:
        raise validation_failed(field, "must be an http or https URL of at most 2000 characters")
    if allow_private:
        return
    if parts.username is not None or parts.password is not None:
        # It would be shown to whoever may look at the URL, and there is the signature.
        raise validation_failed(field, "must have no user name or password: our signature says who asks")
    if names_a_private_place(parts.hostname or ""):
        raise validation_failed(field, "must not lead into a private network")


def new_secret() -> str:
    """A secret that nobody has."""
    return _WHSEC + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def checked_secret(secret: str) -> str:
    """A secret that a customer made. Raises Refusal: `validation_failed`."""
    try:
        length = len(b64decode(secret.removeprefix(_WHSEC), validate=True))
    except ValueError:
        length = 0
    if not secret.startswith(_WHSEC) or not 24 <= length <= 64:
        raise validation_failed("secret", "must be whsec_ and the base64 of 24 to 64 bytes")
    return secret


def _parts_of(url: str) -> SplitResult | None:
    """The parts of a URL that can be POSTed to; None where it is no such URL."""
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_whole = is_host(host) and (":" in host or "[" not in parts.netloc)
        usable = parts.scheme in ("http", "https") and parts.port != 0 and is_whole
    except ValueError:
        return None
    return parts if usable else None
