"""Who we are towards one API server: address, trust, token or client certificate.

Decides which parts of a kubeconfig are honoured: never ``exec`` or ``auth-provider`` (they run
programs), never an unverified connection. The ``kubernetes`` library reads the files; it is imported
only when something is loaded, since it costs some 20 MiB.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meshca.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meshca.clock import Clock

TOKEN_REREAD_SECONDS = 60.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_CLUSTER_KEYS = ("server", "certificate-authority", "certificate-authority-data", "tls-server-name")
_USER_KEYS = (
    "token",
    "tokenFile",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
)


class TokenFile:
    """A bearer token that its issuer replaces in place (a projected ServiceAccount token)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._stamp: tuple[int, int, int] | None = None
        self._due = 0.0

    def current(self) -> str:
        """Return the token, read again when the file changed, at the latest after a minute."""
        if not self._token or self._clock.monotonic() >= self._due or self._stat() != self._stamp:
            self.reload()
        return self._token

    def reload(self) -> bool:
        """Read the file now and tell whether the token is another one; keep the old one if it is gone."""
        before = self._token
        self._stamp = self._stat()
        self._due = self._clock.monotonic() + TOKEN_REREAD_SECONDS
        try:
            self._token = self._path.read_text(encoding="ascii").strip() or before
        except (OSError, UnicodeDecodeError):
            # Projected volumes are swapped by symlink: a miss lasts for a moment only.
            self._token = before
        if not self._token:
            raise MisconfiguredError(f"no token in {self._path}", reason="TokenMissing")
        return self._token != before

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


class FixedToken:
    """A bearer token that never changes, or none at all (``""``)."""

    def __init__(self, token: str = "") -> None:
        self._token = token

    def current(self) -> str:
        """Return the token."""
        return self._token

    def reload(self) -> bool:
        """Tell that there is no other token."""
        return False


@dataclass(frozen=True, slots=True)
class Credentials:
    """Address of an API server and what proves both sides; ``tls`` is None only for loopback HTTP."""

    server: str
    tls: ssl.SSLContext | None
    token: TokenFile | FixedToken = field(repr=False)
    tls_server_name: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.server)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise MisconfiguredError(f"API server address {self.server!r}: https is required")


def in_cluster(token_dir: Path, clock: Clock, environ: Mapping[str, str] | None = None) -> Credentials:
    """Load a Pod's credentials: ``token`` and ``ca.crt`` in ``token_dir``, address from the environment."""
    from kubernetes.aio.config import ConfigException  # noqa: PLC0415  heavy
    from kubernetes.aio.config.incluster_config import InClusterConfigLoader  # noqa: PLC0415  heavy

    configuration = _configuration()
    loader: Any = InClusterConfigLoader(  # type: ignore[no-untyped-call]  # untyped upstream
        token_filename=str(token_dir / "token"),
        cert_filename=str(token_dir / "ca.crt"),
        try_refresh_token=False,  # the library's clock is local wall time; TokenFile does it
        environ=os.environ if environ is None else environ,
    )
    try:
        loader.load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise MisconfiguredError(f"in-cluster credentials in {token_dir}: {error}") from error
    return Credentials(configuration.host, tls_context(configuration), TokenFile(token_dir / "token", clock))


async def from_kubeconfig(path: Path, context: str = "") -> Credentials:
    """Load one context of a kubeconfig file (the current one by default); it is the operator's own file."""
    import yaml  # noqa: PLC0415  heavy

    try:
        document = yaml.safe_load(await asyncio.to_thread(path.read_text, encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MisconfiguredError(f"kubeconfig {path}: cannot be read ({type(error).__name__})") from error
    if not isinstance(document, dict):
        raise MisconfiguredError(f"kubeconfig {path}: not a mapping")
    return await from_kubeconfig_dict(document, context, base=path.parent)


async def from_kubeconfig_dict(document: dict[str, Any], context: str = "", *, base: Path) -> Credentials:
    """Load one context of a parsed kubeconfig; relative file names are taken from ``base``."""
    from kubernetes.aio.config import ConfigException  # noqa: PLC0415  heavy
    from kubernetes.aio.config.kube_config import KubeConfigLoader  # noqa: PLC0415  heavy

    configuration = _configuration()
    try:
        reduced = _reduce(document, context or document["current-context"])
        loader: Any = KubeConfigLoader(  # type: ignore[no-untyped-call]  # untyped upstream
            reduced, config_base_path=str(base)
        )
        await loader.load_and_set(configuration)
    except (ConfigException, KeyError, TypeError, ValueError, OSError) as error:
        raise MisconfiguredError(f"kubeconfig: {type(error).__name__}: {error}") from error
    token = str(configuration.api_key.get("BearerToken", "")).removeprefix("Bearer ").strip()
    return Credentials(
        configuration.host, tls_context(configuration), FixedToken(token), configuration.tls_server_name or ""
    )


def _reduce(document: dict[str, Any], context: str) -> dict[str, Any]:
    """Keep of a kubeconfig only what may be honoured, so that the library cannot run a program."""
    chosen = _by_name(document, "contexts", context)["context"]
    cluster = _by_name(document, "clusters", chosen["cluster"])["cluster"]
    user = _by_name(document, "users", chosen["user"])["user"] if chosen.get("user") else {}
    if not any(key in user for key in _USER_KEYS) and user:
        raise MisconfiguredError(
            f"kubeconfig context {context!r}: only a token or a client certificate is supported, "
            f"not {', '.join(sorted(user))}"
        )
    return {
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {k: cluster[k] for k in _CLUSTER_KEYS if k in cluster}}],
        "users": [{"name": "u", "user": {k: user[k] for k in _USER_KEYS if k in user}}],
    }


def _by_name(document: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            return dict(entry)
    raise MisconfiguredError(f"kubeconfig: no {name!r} in {section}")


def _configuration() -> Any:
    from kubernetes.aio.client import Configuration  # noqa: PLC0415  heavy

    return Configuration()


def tls_context(configuration: Any) -> ssl.SSLContext | None:
    """Make the TLS context of a configuration that the ``kubernetes`` library loaded; None for plain HTTP."""
    if not str(configuration.host).startswith("https"):
        return None
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (ssl.SSLError, OSError) as error:
        raise MisconfiguredError(f"TLS files for {configuration.host}: {error}") from error
    return context
