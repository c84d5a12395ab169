"""Every error as a problem document (RFC 9457), with a `code` that programs can rely on.

A problem never repeats what the caller sent: a wrong value may be somebody's number.
"""

import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from xiaohao.api.words import words_of
from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.errors import Refusal

MEDIA_TYPE: Final = "application/problem+json"
#: seconds after which a client may try again when the database is away
RETRY_AFTER_S: Final = 1
#: the errors that `problem_of` has words for; anything else is a defect of the platform
EXPECTED: Final = (Refusal, DatabaseUnavailable, RequestValidationError, HTTPException)

_CODES: Final = {
    400: "bad_request",
    401: "unauthenticated",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "media_type_not_supported",
    416: "range_not_satisfiable",
}
#: a field's name that may be repeated: no number stands in it
HARMLESS_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_-]{0,39}")
#: a field's name has no more than three digits in a row (`sha256`, `q850_cause`)
_FIELD: Final = re.compile(r"[A-Za-z_-]+(?:[0-9]{1,3}(?:[A-Za-z_-]+|$))*")


class FieldFault(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Path of the field, empty for the whole body", examples=["a"])
    detail: str = Field(examples=["not a telephone number"])


class Problem(BaseModel):
    """RFC 9457. Some problems have further members; `code` says which."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:xiaohao:problem:number_pool_exhausted"])
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str = Field(description="Stable, for programs", examples=["number_pool_exhausted"])
    instance: str = Field(description="Names this occurrence in the platform's log")
    errors: list[FieldFault] | None = None


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    instance: str | None = None,
) -> Response:
    """The response that says no."""
    document = _document(status, code, title, detail, extra, instance)
    return Response(msgspec.json.encode(document), status, headers, MEDIA_TYPE)


def _document(
    status: int,
    code: str,
    title: str,
    detail: str,
    extra: Mapping[str, Any] | None = None,
    instance: str | None = None,
) -> dict[str, Any]:
    return {
        **(extra or {}),
        "type": f"urn:xiaohao:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "instance": instance or new_instance(),
    }


def document_of(error: Refusal | RequestValidationError) -> dict[str, Any]:
    """The problem document of one row of many, whose answer as a whole is no problem."""
    if isinstance(error, Refusal):
        return _document(error.status, error.code, error.title, error.detail, error.extra)
    return _document(*_invalid(error))


def new_instance() -> str:
    """A name for one occurrence of a problem."""
    return uuid.uuid4().urn


def problem_of(error: Exception) -> Response:
    """The response for one of the EXPECTED errors. Raises the error itself for any other."""
    match error:
        case Refusal():
            return _refused(error)
        case RequestValidationError():
            return problem(*_invalid(error))
        case DatabaseUnavailable():
            return problem(
                503,
                "database_unavailable",
                "The database is busy or away",
                "Send the same request again, with the same Idempotency-Key where it had one.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        case HTTPException():
            return _by_framework(error)
    raise error


def defect(instance: str) -> Response:
    """The response for an error that nobody expected; the log has more under `instance`."""
    return problem(
        500,
        "internal_error",
        "The platform made a mistake",
        "The operator finds this occurrence in the log under its instance.",
        instance=instance,
    )


def _refused(error: Refusal) -> Response:
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after_s" in error.extra:
        headers["Retry-After"] = str(error.extra["retry_after_s"])
    return problem(error.status, error.code, error.title, error.detail, error.extra, headers)


def _by_framework(error: HTTPException) -> Response:
    title = HTTPStatus(error.status_code).phrase
    code = _CODES.get(error.status_code, "http_error")
    return problem(error.status_code, code, title, f"{title}.", headers=error.headers)


def _invalid(error: RequestValidationError) -> tuple[int, str, str, str, dict[str, Any]]:
    """Status, code, title, detail and further members."""
    faults = [_fault(item) for item in error.errors()]
    return (
        422,
        "validation_failed",
        "The request is not valid",
        "; ".join(
            f"{fault['field']}: {fault['detail']}" if fault["field"] else fault["detail"]
            for fault in faults[:5]
        ),
        {"errors": faults[:100]},
    )


def _fault(item: Mapping[str, Any]) -> dict[str, str]:
    # Only the place and the rule are told, never `input`, `ctx` or a name that the caller made up.
    place = [_part(part) for part in item["loc"][1:] if part != "[key]"]
    if item["type"] == "extra_forbidden" and place and not HARMLESS_NAME.fullmatch(place[-1]):
        place[-1] = "?"
    return {"field": ".".join(place), "detail": words_of(item)}


def _part(part: str | int) -> str:
    """A step of the way to a field; the name of a map's entry is what the caller made up."""
    return str(part) if isinstance(part, int) or _FIELD.fullmatch(part) else "?"
