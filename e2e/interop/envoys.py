"""One Envoy before which every case is a client: a filter chain for each bundle, chosen by server name.

Decides how Envoy is configured and what a refusal looks like from outside. Both of its validators are asked:
the usual one, with a file of trusted roots, and the one of SPIFFE, with a trust domain's bundle.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e import envoy
from e2e.errors import HarnessError
from e2e.interop import handshakes
from e2e.interop.material import TRUST_DOMAIN, leaf_case
from e2e.interop.situations import USUAL
from meshca.pki import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from e2e.interop.material import Case

JSON = dict[str, Any]
GREETING = b"hello"
SECONDS = 30.0
_TYPE = "type.googleapis.com/envoy.extensions."


@functools.cache
def version() -> str:
    """Return the version of Envoy."""
    said = subprocess.run([envoy.install(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+\.\d+\.\d+)/", said)
    return found[1] if found else said.strip()


def ask_trusted_ca(cases: Sequence[Case]) -> dict[str, str]:
    """Ask Envoy with ``trusted_ca``: by name why each was refused, ``""`` when it was accepted."""
    return _ask(cases, trusted_ca)


def ask_spiffe(cases: Sequence[Case]) -> dict[str, str]:
    """Ask Envoy with its SPIFFE validator: as above."""
    return _ask(cases, spiffe)


def trusted_ca(bundle: str) -> JSON:
    """Return the validation context that trusts the roots of a PEM bundle and wants a SPIFFE ID of ours."""
    name = {"san_type": "URI", "matcher": {"prefix": f"{TRUST_DOMAIN.uri}/"}}
    return {"trusted_ca": {"inline_string": bundle}, "match_typed_subject_alt_names": [name]}


def spiffe(bundle: str) -> JSON:
    """Return the validation context that trusts a PEM bundle for our trust domain."""
    domains = [{"name": str(TRUST_DOMAIN), "trust_bundle": {"inline_string": bundle}}]
    kind = f"{_TYPE}transport_sockets.tls.v3.SPIFFECertValidatorConfig"
    return {
        "custom_validator_config": {
            "name": "envoy.tls.cert_validator.spiffe",
            "typed_config": {"@type": kind, "trust_domains": domains},
        }
    }


def server_name(bundle: str) -> str:
    """Return the server name under which a bundle is trusted."""
    return f"b{hashlib.sha256(bundle.encode()).hexdigest()[:16]}.test"


def configuration(bundles: Sequence[str], validation: Callable[[str], JSON], own: Case) -> JSON:
    """Return Envoy's whole configuration; it listens on a free port of the loopback."""
    certificate = {
        "certificate_chain": {"inline_string": own.chain_pem},
        "private_key": {"inline_string": keys.to_pem(own.key).decode()},
    }
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": f"{_TYPE}filters.listener.tls_inspector.v3.TlsInspector"},
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "judge",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "listener_filters": [inspector],
                    "filter_chains": [_chain(bundle, validation(bundle), certificate) for bundle in bundles],
                }
            ]
        },
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
    }


def _chain(bundle: str, validation: JSON, certificate: JSON) -> JSON:
    tls = {
        "@type": f"{_TYPE}transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [certificate],
            "validation_context": validation,
        },
    }
    echo = {"@type": f"{_TYPE}filters.network.echo.v3.Echo"}
    return {
        "filter_chain_match": {"server_names": [server_name(bundle)]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [{"name": "envoy.filters.network.echo", "typed_config": echo}],
    }


def _ask(cases: Sequence[Case], validation: Callable[[str], JSON]) -> dict[str, str]:
    bundles = sorted({case.bundle_pem for case in cases})
    with running(configuration(bundles, validation, leaf_case(USUAL))) as port:
        return {case.name: _call(port, case) for case in cases}


def _call(port: int, case: Case) -> str:
    """Connect as the case's client; return the alert with which it was refused, ``""`` when it was heard."""
    settings = handshakes.context(case, ssl.PROTOCOL_TLS_CLIENT)
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with settings.wrap_socket(plain, server_hostname=server_name(case.bundle_pem)) as stream:
                stream.sendall(GREETING)
                heard = stream.recv(len(GREETING))
        except (ConnectionError, ssl.SSLEOFError):
            # The refusal came while the greeting was on its way, which may drop the alert.
            return "closed"
        except ssl.SSLError as error:
            if "ALERT" not in (error.reason or ""):
                raise HarnessError(f"{case.name}: Envoy ended the handshake oddly: {error}") from error
            return str(error.reason)
    if heard != GREETING:
        raise HarnessError(f"{case.name}: Envoy said {heard!r}")
    return ""


@contextmanager
def running(config: JSON) -> Iterator[int]:
    """Run Envoy and return the port of its listener; ``HarnessError`` with its log if it never listens."""
    with tempfile.TemporaryDirectory() as scratch:
        file, admin, log = (Path(scratch, name) for name in ("envoy.json", "admin", "log"))
        file.write_text(json.dumps(config))
        command = [str(envoy.install()), "-c", str(file), "--use-dynamic-base-id"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--admin-address-path", str(admin), "--concurrency", "1"],
                stdout=output,
                stderr=output,
            )
        try:
            yield _port(process, admin, log)
        finally:
            process.terminate()
            process.wait()


def _port(process: subprocess.Popen[bytes], admin: Path, log: Path) -> int:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        if admin.exists() and (text := admin.read_text().strip()):
            found = re.search(r"127\.0\.0\.1:(\d+)", _get(text, "/listeners"))
            if found:
                return int(found[1])
        time.sleep(0.05)
    raise HarnessError(f"Envoy does not listen:\n{log.read_text(errors='replace')[-2000:]}")


def _get(address: str, path: str) -> str:
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()
