"""A table as a request's body, CSV or XLSX: how OpenAPI tells of it, and which of the two it is."""

from pathlib import Path
from typing import Any, Final

from starlette.requests import Request

from xiaohao.api.receiving import media_type_of, wrong_media_type
from xiaohao.api.route import NO_KEY
from xiaohao.inventory.files import MEDIA_TYPES, Format, format_of

#: what a file with a table has as its content, in OpenAPI's words
TABLE: Final[dict[str, Any]] = {
    "text/csv": {"schema": {"type": "string"}},
    MEDIA_TYPES[Format.XLSX]: {"schema": {"type": "string", "format": "binary"}},
}
#: `openapi_extra` of a POST that takes one
IMPORT: Final[dict[str, Any]] = {**NO_KEY, "requestBody": {"required": True, "content": TABLE}}
_KINDS: Final = {media_type.partition(";")[0]: format_ for format_, media_type in MEDIA_TYPES.items()}
#: what clients say who do not know what they send
_ANYTHING: Final = ("", "application/octet-stream")


def said_format(request: Request) -> Format | None:
    """What the Content-Type says that the body is; None where it says nothing.

    Raises Refusal: `media_type_not_supported`.
    """
    kind = media_type_of(request)
    if kind not in _KINDS and kind not in _ANYTHING:
        raise wrong_media_type(kind, tuple(_KINDS))
    return _KINDS.get(kind)


def format_of_file(said: Format | None, file: Path) -> Format:
    """What was said of a file that is here now; where nothing was, what it looks like."""
    return said or format_of(file)
