"""What ``helm test`` runs: is the installed operator ready, does the API server know its kinds.

Decides pass or fail by two GETs and says what it saw. Never writes, never runs in the operator's own
process. urllib and not aiohttp: a test that shares no code with what it tests, and starts in no time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT: Final = 10.0
TOKEN_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  a path, not a password
ANSWER_LIMIT: Final = 1 << 20


class _Failed(Exception):  # noqa: N818  an outcome of the test, told to a person
    """A check did not pass; the text says which and why."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run both checks and return the exit status: 0 passed, 1 failed."""
    parser = argparse.ArgumentParser(prog="meshca.server.smoke", description=__doc__)
    parser.add_argument("--service", required=True, help="Service in front of the operator's HTTP port")
    parser.add_argument("--port", type=int, default=8080, help="port of that Service")
    parser.add_argument("--token-dir", type=Path, default=Path(TOKEN_DIR), help="holds token and ca.crt")
    arguments = parser.parse_args(argv)
    try:
        _say(check_ready(service_url(arguments.service, arguments.port, environ)))
        _say(check_api(api_url(environ), arguments.token_dir))
    except _Failed as failure:
        _say(f"FAILED: {failure}")
        return 1
    return 0


def service_url(service: str, port: int, environ: Mapping[str, str]) -> str:
    """Return the Service's URL, by the address that the kubelet injects or else by its DNS name."""
    injected = f"{service.upper().replace('-', '_')}_SERVICE_HOST"
    return f"http://{_host(environ.get(injected, service))}:{port}"


def api_url(environ: Mapping[str, str]) -> str:
    """Return the API server's URL as a kubelet tells it to every container."""
    try:
        host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    except KeyError as missing:
        raise _Failed(f"{missing.args[0]} is not set: not running in a Pod") from None
    return f"https://{_host(host)}:{port}"


def check_ready(base: str) -> str:
    """Ask the operator's readiness endpoint behind ``base`` and return a line that says so."""
    _get(urllib.request.Request(f"{base}/readyz"))  # noqa: S310  http by construction
    return f"ready: {base}/readyz"


def check_api(base: str, token_dir: Path) -> str:
    """List CAConfigurations with the Pod's own token and return a line that says how many there are."""
    try:
        token = (token_dir / "token").read_text(encoding="ascii").strip()
        context = ssl.create_default_context(cafile=str(token_dir / "ca.crt"))
    except (OSError, ValueError) as error:
        raise _Failed(f"no credentials in {token_dir}: {error}") from error
    kind = names.CA_CONFIGURATION
    url = f"{base}/apis/{kind.api_version}/{kind.plural}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  https
    answer = _get(request, context)
    try:
        count = len(json.loads(answer)["items"])
    except (ValueError, KeyError, TypeError) as error:
        raise _Failed(f"{url}: not a list of objects") from error
    return f"API server answers: {count} {kind.plural}.{kind.group}"


def _get(request: urllib.request.Request, context: ssl.SSLContext | None = None) -> bytes:
    # No proxy: both addresses are inside the cluster, whatever the environment says.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            body: bytes = response.read(ANSWER_LIMIT)
            return body
    except urllib.error.HTTPError as error:
        with error:
            detail = error.read(500).decode("utf-8", "replace").strip()
        raise _Failed(f"{request.full_url}: {error.code} {error.reason} {detail}".rstrip()) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"{request.full_url}: {getattr(error, 'reason', error)}") from error


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
