"""A call as the edge keeps it for us, so that a switch that begins anew knows what its calls are."""

import base64

import msgspec
import structlog

from xiaohao.calls.model import Call
from xiaohao.secrecy import SecrecyError, Vault

_log = structlog.get_logger()


def seal(vault: Vault, call: Call) -> str:
    """The call in one field of a line to the edge, which can neither read nor alter it."""
    # what was decided about it is long where it waited, and is told by whoever decided
    sealed = vault.seal(msgspec.json.encode(msgspec.structs.replace(call, path=[])).decode())
    return base64.urlsafe_b64encode(sealed).decode()


def unseal(vault: Vault, call_id: str, sealed: str) -> Call | None:
    """The call again; None where this is not it, or not ours."""
    try:
        call = msgspec.json.decode(vault.open(base64.urlsafe_b64decode(sealed)), type=Call)
    except (SecrecyError, ValueError, msgspec.DecodeError):
        _log.error("sealed_call_unreadable", call_id=call_id)
        return None
    return call if call.id == call_id else None
