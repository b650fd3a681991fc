"""Durations, times, names and sizes as the API writes them, and as Python holds them.

Decides which strings are values at all; what a value is allowed to be for a given field is said by
that field. Hand-written because Go's duration syntax is nobody's standard: the standard library and
pydantic read ISO 8601 (``PT72H``), kubectl users write ``72h``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, StringConstraints, WithJsonSchema

# Every string of this form fits into Go's int64 of nanoseconds, so that CEL can always compute with it.
DURATION_PATTERN: Final = (
    r"^([0-9]{1,6}(\.[0-9]{1,9})?h)?([0-9]{1,7}(\.[0-9]{1,9})?m)?([0-9]{1,9}(\.[0-9]{1,9})?s)?$"
)
DURATION_MAX_LENGTH: Final = 64
_WHOLE: Final = re.compile(DURATION_PATTERN)
_PART: Final = re.compile(r"([0-9.]+)([hms])")
_UNITS: Final = {"h": Decimal(3600), "m": Decimal(60), "s": Decimal(1)}
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
TRUST_DOMAIN: Final = r"^[a-z0-9._-]+$"
FINGERPRINT: Final = r"^[0-9a-f]{64}$"
_DNS_WORD: Final = r"(\*|([a-z0-9-]|\{namespace\}|\{serviceAccount\}|\{clusterName\})+)"
DNS_PATTERN: Final = rf"^{_DNS_WORD}(\.{_DNS_WORD})*$"
# What a pattern means, to people: "<value> <sentence>". CRDs and InvalidError say the same.
PATTERNS: Final = {
    DURATION_PATTERN: "is no duration: write hours, minutes and seconds such as 72h, 1h30m or 90s",
    DNS_LABEL: "is no DNS label: lower-case letters and digits, with '-' between them",
    DNS_SUBDOMAIN: "is no DNS name: labels of lower-case letters, digits and '-', joined by '.'",
    DNS_PATTERN: "is no DNS pattern: labels of lower-case letters, digits, '-', {namespace}, "
    "{serviceAccount} and {clusterName}, or '*' for one label, joined by '.'",
    TRUST_DOMAIN: "is no trust domain: only lower-case letters, digits, '.', '-' and '_', no scheme or port",
    FINGERPRINT: "is no SHA-256 digest: 64 hex digits in lower case",
}


def parse_duration(text: str) -> timedelta:
    """Read a Go duration (``72h``, ``1h30m``, ``90s``) as a timedelta, fractions of a second cut off.

    ``text`` may come from an untrusted user. Refused, although Go takes them: signs, units below the
    second, units out of order. Raises ``ValueError``.
    """
    if not text or not _WHOLE.fullmatch(text):
        raise ValueError(PATTERNS[DURATION_PATTERN])
    total = sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(text)), Decimal(0))
    return timedelta(seconds=int(total))


def format_duration(value: timedelta) -> str:
    """Write a timedelta the way Go users do: ``72h``, ``1h30m``, ``90s`` stays ``1m30s``, zero is ``0s``."""
    total = int(value.total_seconds())
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time as an aware UTC datetime in whole seconds.

    ``text`` may come from an untrusted user. Raises ``ValueError``.
    """
    if not _TIME.fullmatch(text):
        raise ValueError("is no RFC 3339 time such as 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError) as error:
        raise ValueError("is no RFC 3339 time such as 2030-01-31T12:00:00Z") from error


def format_time(value: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC and whole seconds, the only form in this API."""
    return value.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _to_duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("is no duration: write a string such as 72h")  # noqa: TRY004  pydantic wants it
    return parse_duration(value)


def _to_time(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("has no time zone")
        return value.astimezone(UTC).replace(microsecond=0)
    if not isinstance(value, str):
        raise ValueError("is no RFC 3339 time")  # noqa: TRY004  pydantic wants it
    return parse_time(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(_to_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "maxLength": DURATION_MAX_LENGTH}),
]
Time = Annotated[
    datetime,
    BeforeValidator(_to_time),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
ConfigurationName = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, min_length=1, max_length=63)]
ClusterName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
NamespaceName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
ObjectName = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
Fingerprint = Annotated[str, StringConstraints(pattern=FINGERPRINT, max_length=64)]
CHAIN_MAX_LENGTH: Final = 262144
Pem = Annotated[str, StringConstraints(min_length=1, max_length=65536)]
Chain = Annotated[str, StringConstraints(max_length=CHAIN_MAX_LENGTH)]
