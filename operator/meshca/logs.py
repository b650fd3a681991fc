"""Structured logging on the standard library: one line for each record, JSON or text.

Decides form and destination; what is said, and at which level, is decided at the call sites
(``log.info("leaf issued", extra={"namespace": ...})``: the fields of ``extra`` become fields of the line).
Everything goes to stderr through one handler: our records, Kopf's, asyncio's, aiohttp's, and warnings.

A safety net looks at each finished text, tracebacks included, and replaces what looks like a private key
or a bearer token. It is a net: no code may rely on it.

Hand-written: the formatting is forty lines, and the net must sit behind all of it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from typing import TextIO

REDACTED: Final = "[redacted]"
_TEXT_MAX: Final = 2000
"""Characters of a field that is neither text nor number."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_KOPF_INTERNAL: Final = frozenset({"settings", "k8s_skip"})
_QUIET: Final = {"kopf": logging.WARNING, "asyncio": logging.WARNING, "aiohttp": logging.WARNING}
_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY-----|.*)"
    r"|LS0tLS1CRUdJTi[A-Za-z0-9+/=_-]*"  # the same as Secrets hold it: base64 of "-----BEGIN"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*",  # a ServiceAccount token
    re.DOTALL,
)


def redact(text: str) -> str:
    """Replace PEM private keys (also cut off or escaped), base64 of PEM, and tokens."""
    return _SECRETS.sub(REDACTED, text)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Collect what a call site gave as ``extra``, as values that JSON knows."""
    return {
        name: _plain(value)
        for name, value in vars(record).items()
        if name not in _STANDARD and name not in _KOPF_INTERNAL
    }


def _plain(value: object) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case datetime():
            return value.isoformat()
        case dict():
            return {redact(str(key)): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return redact(str(value))[:_TEXT_MAX]


class _Formatter(logging.Formatter):
    def moment(self, record: logging.LogRecord) -> str:
        """Render the time of a record as RFC 3339 in UTC, with milliseconds."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

    def trace(self, record: logging.LogRecord) -> str:
        """Render the traceback of a record, empty without one."""
        parts = []
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return redact("\n".join(parts))


class JSONFormatter(_Formatter):
    """One JSON object for each line: time, level, logger, message, the fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; a field never hides one of the fixed names."""
        line: dict[str, Any] = {
            "time": self.moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if trace := self.trace(record):
            line["exception"] = trace
        for name, value in fields(record).items():
            line[name + "_" if name in line else name] = value
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str)


class ConsoleFormatter(_Formatter):
    """Text for people: time, level, logger, message, then ``name=value`` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; line breaks of a message stay escaped, so that one record is one line."""
        message = redact(record.getMessage()).replace("\n", "\\n")
        parts = [self.moment(record), f"{record.levelname:<7}", f"{record.name}:", message]
        parts += [f"{name}={_pair(value)}" for name, value in fields(record).items()]
        trace = self.trace(record)
        return " ".join(parts) + ("\n" + trace if trace else "")


def _pair(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)


def configure(form: Literal["json", "console"], level: str, stream: TextIO | None = None) -> None:
    """Send everything that is logged in this process to one stream (stderr), replacing earlier handlers.

    ``level`` is a name such as ``info``; libraries are shown from warnings on unless it is ``debug``.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    for name, quiet in _QUIET.items():
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET if level.lower() == "debug" else max(quiet, root.level))
