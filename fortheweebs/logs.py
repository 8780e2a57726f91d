"""Structured logs: one JSON object a line, with the request id of the context."""

from typing import Any

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# Of what a record carries beside its words, what we put there: Django adds requests.
_OURS = {
    "error",
    "how",
    "path",
    "pid",
    "reason",
    "subject",
    "to",
    "unit",
    "who",
    "work",
}


def logging_config(*, debug: bool, stream: str) -> dict[str, Any]:
    """Return Django's LOGGING and set structlog up to go the same way.

    ``stream`` is stdout or stderr: a command's own output is on stdout, so its log is
    not; a server's log is what its stdout is for.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*_SHARED, structlog.stdlib.ExtraAdder(_OURS)],
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": f"ext://sys.{stream}",
            }
        },
        "root": {"handlers": ["out"], "level": "DEBUG" if debug else "INFO"},
        "loggers": {
            "django": {"level": "INFO"},
            # Every 503 of a probe or of an outage would be a line; the transition is
            # one artifact and one line already.
            "django.request": {"level": "ERROR"},
            "axes": {"level": "ERROR"},
            # They write each address they ask, with what is asked for in it.
            "httpx": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            "stripe": {"level": "WARNING"},
        },
    }
