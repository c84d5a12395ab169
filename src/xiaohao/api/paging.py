"""Lists page by page: a cursor is a position, sealed, so that it tells nothing and cannot be made up."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from xiaohao.errors import validation_failed
from xiaohao.secrecy import SecrecyError, Vault

LIMIT_MAX: Final = 500
LIMIT: Final = 100
_CURSOR_MAX: Final = 500

T = TypeVar("T")
V = TypeVar("V", bound=BaseModel)


class PageQuery(BaseModel):
    """The part that the query strings of all lists have in common."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        str | None,
        Field(max_length=_CURSOR_MAX, pattern=r"^[A-Za-z0-9_-]*$", description="`next` of the page before"),
    ] = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX, description="Items at most")] = LIMIT


class Page(BaseModel, Generic[V]):
    """One page of a list."""

    items: list[V]
    next: str | None = Field(description="Give it as `after` to get the next page; null on the last one")


class Cursors:
    """Makes and reads cursors of one list. `scope` binds them to it, and to the customer whose list it is."""

    def __init__(self, vault: Vault, scope: str) -> None:
        self._vault = vault
        self._scope = scope

    def position(self, cursor: str | None) -> str | None:
        """What `cursor` stands for, None at the beginning. Raises Refusal for a cursor of another list."""
        if not cursor:
            return None
        try:
            sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            scope, _, position = self._vault.open(sealed).rpartition("\n")
        except (ValueError, SecrecyError):
            scope, position = "", ""
        if scope != self._scope:
            raise validation_failed("after", "not a cursor of this list")
        return position

    def at(self, position: str | int) -> str:
        """The cursor that stands for a position."""
        sealed = self._vault.seal(f"{self._scope}\n{position}")
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def page(
        self, found: Sequence[T], limit: int, view: Callable[[T], V], position: Callable[[T], str | int]
    ) -> Page[V]:
        """The page of `found`, which holds one item more than `limit` unless it is the last page."""
        cursor = self.at(position(found[limit - 1])) if len(found) > limit else None
        return Page(items=[view(item) for item in found[:limit]], next=cursor)
