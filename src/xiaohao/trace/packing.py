"""How paths and SIP messages lie in the database: MessagePack, compressed, sealed.

SIP says much the same in every message, and so does rtpengine: what they always say stands in a dictionary
(RFC 1950 section 2.2, FDICT) that is never stored. A packed value begins with the dictionary's number, so
that another one can follow it.
"""

import zlib
from importlib import resources
from typing import Final, TypeVar

import msgspec

from xiaohao.secrecy import Vault
from xiaohao.trace.model import Message, Path

_T = TypeVar("_T")


def _dictionary(name: str) -> bytes:
    return resources.files("xiaohao.trace").joinpath(name).read_bytes().replace(b"\n", b"\r\n")


#: one that values were packed with is never changed: another one is put beside it
_DICTIONARIES: Final = {1: _dictionary("dictionary1.txt")}
_NEWEST: Final = max(_DICTIONARIES)
_LEVEL: Final = 6
#: a value that grows beyond this when it is unpacked was not packed here
_LARGEST: Final = 16_000_000

_encode = msgspec.msgpack.Encoder().encode
_path = msgspec.msgpack.Decoder(Path)
_messages = msgspec.msgpack.Decoder(list[Message])


class PackingError(Exception):
    """A stored value cannot be unpacked. Never carries the value."""


def pack_path(path: Path, vault: Vault) -> bytes:
    """The column `call_paths.facts_sealed`."""
    return vault.seal_bytes(_packed(_encode(path)))


def unpack_path(sealed: bytes, vault: Vault) -> Path:
    """Raises PackingError, secrecy.SecrecyError."""
    return _unpacked(vault.open_bytes(sealed), _path)


def pack_messages(messages: list[Message], vault: Vault) -> bytes:
    """The column `sip_messages.messages_sealed`."""
    return vault.seal_bytes(_packed(_encode(messages)))


def unpack_messages(sealed: bytes, vault: Vault) -> list[Message]:
    """Raises PackingError, secrecy.SecrecyError."""
    return _unpacked(vault.open_bytes(sealed), _messages)


def _packed(data: bytes) -> bytes:
    press = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS, zdict=_DICTIONARIES[_NEWEST])
    return bytes((_NEWEST,)) + press.compress(data) + press.flush()


def _unpacked(packed: bytes, decoder: msgspec.msgpack.Decoder[_T]) -> _T:
    try:
        press = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_DICTIONARIES[packed[0]])
        data = press.decompress(packed[1:], _LARGEST)
        if not press.eof:
            raise PackingError("larger than anything packed here")
        return decoder.decode(data)
    except (zlib.error, KeyError, IndexError, msgspec.DecodeError) as error:
        raise PackingError(type(error).__name__) from None
