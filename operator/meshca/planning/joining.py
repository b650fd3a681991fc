"""Reading the join Secret: where the primary is, what proves it, and who this cluster is there.

Decides what of a kubeconfig is taken: server, CA certificates and token, and nothing else, so that no
program is run, no file is read and no unverified connection is made. The Secret's content may be anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509

from meshca.api.names import FEDERATION_ACCOUNT
from meshca.api.v1alpha1 import scalars
from meshca.errors import InvalidError
from meshca.planning.secrets import data_of, encode
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from collections.abc import Mapping

KUBECONFIG: Final = "kubeconfig"
NAMESPACE: Final = "namespace"
ACCOUNT: Final = "service-account"
EXPIRES: Final = "token-expires"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_LONGEST: Final = 253


@dataclass(frozen=True, slots=True)
class Join:
    """A primary's address (https), CA certificates (PEM), and this cluster's token, account and namespace.

    ``issued`` and ``expires`` (UTC) are the token's, where it or the Secret tells.
    """

    meta: Meta
    server: str
    authority: str = field(repr=False)
    token: str = field(repr=False)
    namespace: str
    account: str
    issued: datetime | None = None
    expires: datetime | None = None

    @property
    def username(self) -> str:
        """Return the name under which the primary knows this cluster."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"

    @property
    def source(self) -> str:
        """Name the primary: address and CA certificates."""
        return f"{self.server} {hashlib.sha256(self.authority.encode()).hexdigest()[:16]}"

    @property
    def token_digest(self) -> str:
        """Return a digest of the token, by which it can be recognised."""
        return token_digest(self.token)


def token_digest(token: str) -> str:
    """Return the SHA-256 (hex) of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_join(body: Mapping[str, Any]) -> Join:
    """Read a join Secret that anybody may have written; ``InvalidError`` says what is wrong with it."""
    meta = Meta.of(body)
    try:
        return _join(meta, body)
    except InvalidError as error:
        raise InvalidError(f"Secret {meta.name!r}: {error.message}") from None


def _join(meta: Meta, body: Mapping[str, Any]) -> Join:
    cluster, user, context = _chosen(_document(data_of(body, KUBECONFIG)))
    token = _token(user)
    claims = claims_of(token)
    place = _account(claims)
    namespace = place[0] or _name(context.get("namespace")) or _entry(body, NAMESPACE)
    if not namespace:
        raise InvalidError("neither its token nor its context names a namespace")
    return Join(
        meta=meta,
        server=_server(cluster),
        authority=_authority(cluster),
        token=token,
        namespace=namespace,
        account=place[1] or _entry(body, ACCOUNT) or FEDERATION_ACCOUNT,
        issued=_moment(claims.get("iat")),
        expires=_moment(claims.get("exp")) or _expiry(body),
    )


def with_token(body: Mapping[str, Any], token: str, expires: datetime | None) -> dict[str, str]:
    """Return the entries of a join Secret that change when its token is renewed, encoded."""
    document = _document(data_of(body, KUBECONFIG))
    _, user, _ = _chosen(document)
    user["token"] = token
    entries = {KUBECONFIG: encode(json.dumps(document))}
    if expires is not None:
        entries[EXPIRES] = encode(scalars.format_time(expires))
    return entries


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says of itself, unverified; nothing for a token that is no JWT."""
    try:
        _, payload, _ = token.split(".")
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def lifetime(token: str) -> tuple[datetime | None, datetime | None]:
    """Return when a token was issued and when it expires (UTC), where it tells."""
    claims = claims_of(token)
    return _moment(claims.get("iat")), _moment(claims.get("exp"))


@lru_cache(maxsize=16)
def _parsed(text: bytes) -> str:
    """Return a kubeconfig as JSON; the text may be anything."""
    import yaml  # noqa: PLC0415  heavy

    try:
        # Every scalar stays a text: a token of digits is no number.
        return json.dumps(yaml.load(text.decode(), Loader=yaml.BaseLoader))  # noqa: S506  makes texts only
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        # What the parser says may quote the token, so it stays out.
        raise InvalidError("its kubeconfig cannot be read as YAML or JSON") from None


def _document(text: bytes) -> dict[str, Any]:
    found = json.loads(_parsed(text))
    if not isinstance(found, dict):
        raise InvalidError("its kubeconfig is not a mapping")
    return found


def _chosen(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return cluster, user and context of a kubeconfig that has exactly one of each in use."""
    contexts = _section(document, "contexts", "context")
    current = document.get("current-context") or next(iter(contexts), "")
    context = contexts.get(current) if isinstance(current, str) else None
    if context is None:
        raise InvalidError("its kubeconfig has no current context")
    cluster = _section(document, "clusters", "cluster").get(str(context.get("cluster")))
    user = _section(document, "users", "user").get(str(context.get("user")))
    if cluster is None or user is None:
        raise InvalidError("its kubeconfig lacks the cluster or the user of its context")
    return cluster, user, context


def _section(document: dict[str, Any], section: str, inner: str) -> dict[str, dict[str, Any]]:
    found = document.get(section)
    entries = found if isinstance(found, list) else []
    return {
        str(entry.get("name")): entry[inner]
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get(inner), dict)
    }


def _server(cluster: dict[str, Any]) -> str:
    server = cluster.get("server")
    try:
        parts = urlsplit(server if isinstance(server, str) else "")
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidError("its kubeconfig's server is no address") from None
    plain = parts.scheme == "http" and host in _LOOPBACK
    if not host or not (parts.scheme == "https" or plain) or parts.username is not None:
        raise InvalidError("its kubeconfig's server must be https://HOST[:PORT]")
    if not str(server).isascii() or not str(server).isprintable() or parts.query or parts.fragment:
        raise InvalidError("its kubeconfig's server must be https://HOST[:PORT]")
    return str(server).rstrip("/")


def _authority(cluster: dict[str, Any]) -> str:
    text = cluster.get("certificate-authority-data")
    if not isinstance(text, str) or not text:
        raise InvalidError("its kubeconfig has no certificate-authority-data")
    try:
        pem = base64.b64decode(text, validate=True)
        x509.load_pem_x509_certificates(pem)
        return pem.decode("ascii")
    except (binascii.Error, ValueError):
        raise InvalidError("its kubeconfig's certificate-authority-data is no certificate") from None


def _token(user: dict[str, Any]) -> str:
    token = user.get("token")
    if not isinstance(token, str) or not token.strip():
        raise InvalidError("its kubeconfig has no token; nothing else is taken")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidError("its kubeconfig's token holds characters that no token has")
    return token


def _account(claims: dict[str, Any]) -> tuple[str, str]:
    found = claims.get("kubernetes.io")
    about = found if isinstance(found, dict) else {}
    account = about.get("serviceaccount")
    name = account.get("name") if isinstance(account, dict) else ""
    return _name(about.get("namespace")), _name(name)


def _name(value: object) -> str:
    """Return a value that may stand in the path of a request, or ""."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    return value if value and all(c.islower() or c.isdigit() or c in "-." for c in value) else ""


def _entry(body: Mapping[str, Any], name: str) -> str:
    try:
        return _name(data_of(body, name).decode("ascii"))
    except (InvalidError, UnicodeDecodeError):
        return ""


def _expiry(body: Mapping[str, Any]) -> datetime | None:
    try:
        return scalars.parse_time(data_of(body, EXPIRES).decode("ascii"))
    except (InvalidError, ValueError):
        return None


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC).replace(microsecond=0)
    except (OverflowError, ValueError, OSError):
        return None
