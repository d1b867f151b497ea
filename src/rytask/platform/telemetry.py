"""Logs and metrics. Logs are one JSON object a line, with the request's id and no secrets."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest
from structlog.typing import Processor

HIDDEN = "[hidden]"
_MAX_TEXT = 8_000


class Shown(str):
    """A text that is logged as it is, though a part of it looks like a secret."""

    __slots__ = ()


_SECRET_NAME = re.compile(
    r"(?:password|passwd|secret|token|authorization|cookie|credentials?"
    r"|(?:api|enc|private|signing)[_-]?key)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"rytask_[a-z]+_[0-9A-Za-z_-]{8,}"
    r"|xox[a-z]-[0-9A-Za-z-]+|xapp-[0-9A-Za-z-]+"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"
    r"|(?<=://)[^\s/@]*:[^\s/]+(?=@)"
    r"|(?i:(?<=token=)|(?<=[?&]code=)|(?<=secret=)|(?<=password=)|(?<=api_key=))[^&\s\"']+"
)

REQUESTS = Counter("rytask_http_requests_total", "Requests answered", ["route", "method", "status"])
SECONDS = Histogram(
    "rytask_http_request_seconds",
    "Seconds from a request to its answer",
    ["route", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_requests: dict[tuple[str, str, int], Counter] = {}
_seconds: dict[tuple[str, str], Histogram] = {}


def configure(
    level: str = "INFO",
    *,
    format: Literal["AUTO", "JSON", "TEXT"] = "AUTO",
    to: TextIO = sys.stderr,
) -> None:
    """Write logs to a stream, those of libraries too: as JSON, or as coloured text for people.

    AUTO is text on a terminal, else JSON.
    """
    text = to.isatty() if format == "AUTO" else format == "TEXT"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=True, key="at"),
    ]
    last: list[Processor] = [structlog.processors.format_exc_info, hide_secrets]
    if text:
        last.append(structlog.dev.ConsoleRenderer(timestamp_key="at", pad_event_to=20))
    else:
        last.append(structlog.processors.JSONRenderer(serializer=_json))
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(to),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(to)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)


def bind(**names: str) -> None:
    """Put a request's or a job's id on every line that is logged on its behalf."""
    structlog.contextvars.bind_contextvars(**names)


def unbind(*names: str) -> None:
    """Take them off again."""
    structlog.contextvars.unbind_contextvars(*names)


def hide_secrets(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide what is a secret by its name or by its looks. The last step before a line is written."""
    for name, value in event.items():
        event[name] = str(value) if isinstance(value, Shown) else _shortened(_hidden(name, value))
    return event


def count_answer(route: str, method: str, status: int, seconds: float) -> None:
    """Count one answer. `route` is the template, never the path: few series, and no ids in them."""
    count = _requests.get((route, method, status))
    if count is None:
        count = _requests[route, method, status] = REQUESTS.labels(route, method, str(status))
    duration = _seconds.get((route, method))
    if duration is None:
        duration = _seconds[route, method] = SECONDS.labels(route, method)
    count.inc()
    duration.observe(seconds)


def render() -> tuple[bytes, str]:
    """All metrics of this process in the Prometheus text format, and its media type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


def _hidden(name: object, value: Any) -> Any:
    if isinstance(name, str) and _SECRET_NAME.search(name) and value:
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(HIDDEN, value)
    if isinstance(value, dict):
        return {inner: _hidden(inner, item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(None, item) for item in value]
    if isinstance(value, int | float | None):
        return value
    return _SECRET_TEXT.sub(HIDDEN, str(value))


def _shortened(value: Any) -> Any:
    """A value as it is, or the beginning and the end of its text: a line has to stay readable."""
    if isinstance(value, dict | list):
        text = _json(value)
    elif isinstance(value, str):
        text = value
    else:
        return value
    if len(text) <= _MAX_TEXT:
        return value
    half = _MAX_TEXT // 2
    return f"{text[:half]} … {len(text) - _MAX_TEXT} characters left out … {text[-half:]}"


def _json(event: object, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
