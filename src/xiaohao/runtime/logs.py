"""How our own processes log: one JSON object a line, on standard error."""

import logging
import sys

import structlog


def configure(level: str, process: str) -> None:
    """Make structlog write JSON lines to standard error, each with its time (UTC), level and `process`.

    Parameters:
        level: debug, info, warning or error: the least that is written.
        process: the name of the process, in every line.
    """
    threshold = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=max(threshold, logging.WARNING), format="%(levelname)s %(name)s %(message)s")
