"""How the platform says no: one exception for every refusal a customer can do something about.

`api/errors.py` turns it into a problem document (RFC 9457); a worker or a command prints its detail.
"""

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A request that was understood and is not carried out.

    `code` is stable snake_case for programs, `title` the same for every case of the code, `detail` tells
    this case to a person, `status` is the HTTP status, `extra` holds further facts as JSON values. None of
    them ever holds a real number.
    """

    def __init__(
        self, code: str, title: str, detail: str, status: int, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.title = title
        self.detail = detail
        self.status = status
        self.extra: dict[str, Any] = dict(extra or {})


def not_found(what: str) -> Refusal:
    """The thing does not exist, or belongs to somebody else: the answer is the same for both."""
    return Refusal("not_found", "Not found", f"There is no such {what}.", 404)


def validation_failed(field: str, detail: str) -> Refusal:
    """A field of the request cannot be used; `extra` names it as API problems do."""
    return Refusal(
        "validation_failed",
        "The request is not valid",
        detail,
        422,
        {"errors": [{"field": field, "detail": detail}]},
    )


def conflict(code: str, title: str, detail: str, **extra: Any) -> Refusal:
    """The request is fine in itself but something that exists stands in its way (409)."""
    return Refusal(code, title, detail, 409, extra)
