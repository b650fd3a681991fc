"""The API server a person means: their kubeconfig, or the Pod's own account.

The ``kubernetes`` library reads the kubeconfig, ``exec`` plugins included: it is the caller's own file, and
that is how people log in. Requests then go through ``meshca.kube`` (Session, Gateway) and not through the
library's client: pages, typed errors and watches are there already, and tests put their own Transport
below. Refused: connections that are not verified, and proxies, which ``Session`` does not speak to.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshca.clock import SystemClock
from meshca.errors import MisconfiguredError
from meshca.kube.credentials import Credentials, FixedToken, in_cluster, tls_context
from meshca.kube.gateway import Gateway
from meshca.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

AGENT = "meshca-cli"
POD_CREDENTIALS = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Target:
    """Which cluster: a kubeconfig file and a context; empty means what kubectl would take."""

    kubeconfig: str = ""
    context: str = ""


class RenewedToken(FixedToken):
    """A bearer token that its kubeconfig renews when it has expired (``exec`` plugins)."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(_bearer(configuration))
        self._configuration = configuration

    def reload(self) -> bool:
        """Ask the kubeconfig again and tell whether the token is another one."""
        before = self._token
        if self._configuration.refresh_api_key_hook is not None:
            self._configuration.refresh_api_key_hook(self._configuration)
        self._token = _bearer(self._configuration)
        return self._token != before


def load(target: Target, environ: Mapping[str, str] | None = None) -> Credentials:
    """Find credentials: the kubeconfig, else those of a Pod; ``MisconfiguredError`` in one sentence."""
    environ = os.environ if environ is None else environ
    chosen = target.kubeconfig or environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
    files = [Path(part).expanduser() for part in chosen.split(os.pathsep) if part]
    if any(file.is_file() for file in files):
        return _from_kubeconfig(chosen, target.context)
    if not (target.kubeconfig or target.context) and environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(POD_CREDENTIALS, SystemClock(), environ)
    raise MisconfiguredError(f"no kubeconfig at {chosen}: name one with --kubeconfig")


def _from_kubeconfig(files: str, context: str) -> Credentials:
    from kubernetes import config as library  # noqa: PLC0415  heavy
    from kubernetes.client import Configuration  # noqa: PLC0415  heavy

    loader: Any = library
    configuration: Any = Configuration()
    configuration.proxy = None
    try:
        loader.load_kube_config(files, context or None, configuration, persist_config=False)
    # The library lets whatever its parts raise through: YAML errors, KeyErrors, those of programs it ran.
    except Exception as error:
        kind = "" if isinstance(error, loader.ConfigException) else f"{type(error).__name__}: "
        raise MisconfiguredError(f"kubeconfig {files}: {kind}{error}") from error
    if configuration.proxy:
        raise MisconfiguredError(f"kubeconfig {files}: proxy-url is not supported")
    if not configuration.verify_ssl:
        raise MisconfiguredError(
            f"kubeconfig {files}: insecure-skip-tls-verify is not supported, since an answer that anybody may"
            " have written proves nothing"
        )
    return Credentials(
        configuration.host,
        tls_context(configuration),
        RenewedToken(configuration),
        configuration.tls_server_name or "",
    )


def _bearer(configuration: Any) -> str:
    return str(configuration.api_key.get("BearerToken", "")).removeprefix("Bearer ").strip()


def server(target: Target) -> str:
    """Return the address of a cluster's API server."""
    return load(target).server


@asynccontextmanager
async def connect(target: Target) -> AsyncIterator[Gateway]:
    """Open a gateway to a cluster; nothing is sent yet."""
    session = Session(load(target), agent=AGENT)
    try:
        yield Gateway(session)
    finally:
        await session.aclose()
