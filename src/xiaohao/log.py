"""Logging of every process: one JSON object a line on standard error, and no telephone number in it."""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

#: eight digits or more in a row, with what may stand before them in a number; call ids have no such run
#: between their dashes, and identifiers are left alone by the letters around their digits
_NUMBER: Final = re.compile(r"(?<![0-9A-Za-z_-])\+?\d{8,}(?![0-9A-Za-z_-])")


def hide_numbers(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor, the last line of defence: what looks like a telephone number is masked."""
    return {key: _hidden(value) for key, value in event.items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return _NUMBER.sub(lambda found: f"{found[0][:3]}****{found[0][-2:]}", value)
    if isinstance(value, (list, tuple)):
        return [_hidden(item) for item in value]
    if isinstance(value, dict):
        return {key: _hidden(item) for key, item in value.items()}
    return value


def where(error: BaseException) -> str:
    """Where an error was raised, as `file.py:12`: for errors whose own words may quote what is secret."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


class _FromLibraries(logging.Handler):
    """Writes what libraries log in our form. An exception's own words stay out: they may quote a secret."""

    def emit(self, record: logging.LogRecord) -> None:
        """logging: one record."""
        facts: dict[str, Any] = {"library": record.name, "said": record.getMessage()}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            facts |= {"error": type(error).__name__, "where": where(error)}
        structlog.get_logger(record.name).log(record.levelno, "library", **facts)


class _StandardError(structlog.PrintLogger):
    """Writes lines; what cannot be written is left out. Whoever logs goes on where the disk is full, or
    nobody reads any more: the journal's thread, for one, without which no call would be written.
    """

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def configure(level: str) -> None:
    """Set structlog up for this process, and have the libraries' own warnings pass through it."""
    logging.basicConfig(handlers=[_FromLibraries()], level=max(logging.WARNING, _level(level)), force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_numbers,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_level(level)),
        logger_factory=lambda *_: _StandardError(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _level(name: str) -> int:
    level: int = getattr(logging, name.upper())
    return level
