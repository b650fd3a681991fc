"""SPIFFE trust domains, SPIFFE IDs, and the path template that gives a workload its ID.

Decides what a well-formed name is (SPIFFE-ID standard, sections 2.1 to 2.3); which requester may have it
is decided at admission. Hand-written because the one SPIFFE library for Python brings a gRPC client
along, and because percent-encoding, user information and ports must be refused, not decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from meshca.errors import InvalidError

SCHEME: Final = "spiffe"
ID_LIMIT_BYTES: Final = 2048
TRUST_DOMAIN_LIMIT_BYTES: Final = 255
_PREFIX: Final = f"{SCHEME}://"
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+")
_SEGMENT: Final = re.compile(r"[a-zA-Z0-9._-]+")
_WORD: Final = re.compile(r"\{([^{}]*)\}")
REQUIRED_WORDS: Final = ("namespace", "serviceAccount")
CLUSTER_WORD: Final = "clusterName"


def _quote(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")  # noqa: PLR2004  fits a status line


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The name of a trust domain, lower case, 1 to 255 of the characters ``a-z 0-9 . - _``."""

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidError("trust domain: must not be empty")
        if len(self.name) > TRUST_DOMAIN_LIMIT_BYTES:
            raise InvalidError(f"trust domain: longer than {TRUST_DOMAIN_LIMIT_BYTES} bytes")
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise InvalidError(
                f"trust domain: {_quote(self.name)} may only contain lower-case letters, digits,"
                " '.', '-' and '_' (no scheme, user, port, path or percent-encoding)"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a trust domain name without scheme from an untrusted user; ``InvalidError`` otherwise."""
        return cls(text)

    @property
    def uri(self) -> str:
        """Return the SPIFFE ID of the trust domain itself, which its CA certificates carry."""
        return _PREFIX + self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SPIFFEID:
    """A trust domain and a path; the path is empty or starts with ``/``."""

    trust_domain: TrustDomain
    path: str

    def __post_init__(self) -> None:
        if len(self.uri) > ID_LIMIT_BYTES:
            raise InvalidError(f"SPIFFE ID: longer than {ID_LIMIT_BYTES} bytes")
        if self.path:
            _check_path(self.path)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a SPIFFE ID from an untrusted user, scheme in any case, at most 2048 bytes.

        ``InvalidError`` names the rule that is broken (ID-01 to ID-13).
        """
        if text[: len(_PREFIX)].lower() != _PREFIX:
            raise InvalidError(f"SPIFFE ID: {_quote(text)} does not start with {_PREFIX}")
        host, slash, path = text[len(_PREFIX) :].partition("/")
        return cls(TrustDomain.parse(host), slash + path)

    @property
    def uri(self) -> str:
        """Return the ID as it goes into certificates, scheme and trust domain in lower case."""
        return self.trust_domain.uri + self.path

    def matches(self, uri: str) -> bool:
        """Tell whether an untrusted URI names this ID: scheme and trust domain in any case, path exact."""
        head = len(self.trust_domain.uri)
        # ASCII only: lower() also folds other letters (the Kelvin sign to k) into the alphabet.
        return uri.isascii() and uri[:head].lower() == self.trust_domain.uri and uri[head:] == self.path

    def __str__(self) -> str:
        return self.uri


def _check_path(path: str) -> None:
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidError("SPIFFE ID: the path must start with '/' and not end with it")
    for segment in path[1:].split("/"):
        check_segment(segment)


def check_segment(segment: str) -> None:
    """Refuse a path segment that SPIFFE does not allow with ``InvalidError`` (ID-07 to ID-09)."""
    if not segment:
        raise InvalidError("SPIFFE ID: the path has an empty segment")
    if segment in {".", ".."}:
        raise InvalidError("SPIFFE ID: the path has a relative segment ('.' or '..')")
    if not _SEGMENT.fullmatch(segment):
        raise InvalidError(
            f"SPIFFE ID: path segment {_quote(segment)} may only contain letters, digits, '.', '-' and '_'"
            " (no percent-encoding, query or fragment)"
        )


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A path with the words {namespace} and {serviceAccount}, each a whole segment, and {clusterName}.

    Whole segments make the path of two different accounts different: neither value can hold a ``/``.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text.startswith("/"):
            raise InvalidError(f"pathTemplate: {_quote(self.text)} must start with '/'")
        if len(self.text) > ID_LIMIT_BYTES:
            raise InvalidError(f"pathTemplate: longer than {ID_LIMIT_BYTES} bytes")
        segments = self.text[1:].split("/")
        for word in REQUIRED_WORDS:
            if segments.count(f"{{{word}}}") != 1 or self.text.count(f"{{{word}}}") != 1:
                raise InvalidError(f"pathTemplate: {{{word}}} must stand once, as a whole segment")
        for segment in segments:
            _check_template_segment(segment)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template from ``identity.pathTemplate``; ``InvalidError`` names what is wrong."""
        return cls(text)

    def render(
        self, trust_domain: TrustDomain, *, namespace: str, service_account: str, cluster_name: str
    ) -> SPIFFEID:
        """Return the ID of one account; ``InvalidError`` when a value or the length breaks SPIFFE's rules."""
        values = {"namespace": namespace, "serviceAccount": service_account, CLUSTER_WORD: cluster_name}
        for name, value in values.items():
            if "/" in value:
                raise InvalidError(f"SPIFFE ID: {name} {_quote(value)} must not contain '/'")
        path = _WORD.sub(lambda match: values[match[1]], self.text)
        return SPIFFEID.parse(trust_domain.uri + path)


def _check_template_segment(segment: str) -> None:
    for word in _WORD.findall(segment):
        if word not in {*REQUIRED_WORDS, CLUSTER_WORD}:
            known = ", ".join(f"{{{name}}}" for name in (*REQUIRED_WORDS, CLUSTER_WORD))
            raise InvalidError(f"pathTemplate: {_quote(word)} in braces is unknown; known are {known}")
    try:
        check_segment(_WORD.sub("x", segment))
    except InvalidError as error:
        raise InvalidError(f"pathTemplate: {error.message.removeprefix('SPIFFE ID: ')}") from None
