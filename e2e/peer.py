"""A mesh workload in one file: asks for its leaf, serves or calls over TLS 1.3, checks the peer's name.

Runs as a process of this machine and, from a ConfigMap, in a Pod of the operator's image; so it imports
only the standard library and ``cryptography``, and nothing of this package. The client makes its own
key, which never leaves it, and sends a CSR with the token of its ServiceAccount; the server reads key
and certificate from the files of its managed Secret.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

JSON = dict[str, Any]
GROUP = "/apis/meshca.dev/v1alpha1"
DEADLINE = 60.0
TOKEN_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def main() -> None:
    """Run as server or as client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("serve", "call"))
    parser.add_argument("--address", required=True, help="host:port")
    parser.add_argument("--bundle", type=Path, required=True, help="file with the roots, PEM")
    parser.add_argument("--peer", required=True, help="SPIFFE ID that the other side must have")
    parser.add_argument("--pair", type=Path, help="serve: directory with tls.crt and tls.key")
    parser.add_argument("--request", help="call: name of the LeafCertificateRequest to make")
    parser.add_argument("--account", help="call: ServiceAccount to be known as")
    parser.add_argument(
        "--token-dir", type=Path, default=Path("/var/run/secrets/kubernetes.io/serviceaccount")
    )
    arguments = parser.parse_args()
    host, port = arguments.address.rsplit(":", 1)
    if arguments.role == "serve":
        _serve(host, int(port), arguments)
    else:
        _call(host, int(port), arguments)


def _serve(host: str, port: int, arguments: argparse.Namespace) -> None:
    context = _context(ssl.PROTOCOL_TLS_SERVER, arguments.bundle, arguments.pair)
    with socket.create_server((host, port)) as listener:
        print("listening", flush=True)
        while True:
            plain, _ = listener.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as stream:
                    caller = _identity(stream, arguments.peer)
                    stream.sendall(f"hello {caller}\n".encode())
                    print(f"accepted {caller} over {stream.version()}", flush=True)
            except (OSError, ValueError) as error:
                print(f"refused: {error}", flush=True)


def _call(host: str, port: int, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        pair = Path(scratch)
        _obtain(pair, arguments)
        context = _context(ssl.PROTOCOL_TLS_CLIENT, arguments.bundle, pair)
        with _connected(host, port) as plain, context.wrap_socket(plain) as stream:
            server = _identity(stream, arguments.peer)
            answer = stream.recv(1024).decode().strip()
            print(f"{stream.version()} with {server}: it says {answer!r}", flush=True)


def _connected(host: str, port: int) -> socket.socket:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return socket.create_connection((host, port), timeout=10)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _obtain(pair: Path, arguments: argparse.Namespace) -> None:
    """Make a key, ask for a leaf as a ServiceAccount, wait, and write tls.key and tls.crt."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    (pair / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    namespace = (arguments.token_dir / "namespace").read_text()
    path = f"{GROUP}/namespaces/{namespace}/leafcertificaterequests"
    body = {
        "apiVersion": "meshca.dev/v1alpha1",
        "kind": "LeafCertificateRequest",
        "metadata": {"name": arguments.request},
        "spec": {
            "serviceAccountName": arguments.account,
            "request": request.public_bytes(Encoding.PEM).decode(),
        },
    }
    _api(arguments.token_dir, "POST", path, body)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        status = _api(arguments.token_dir, "GET", f"{path}/{arguments.request}").get("status", {})
        if status.get("state") == "Issued":
            (pair / "tls.crt").write_text(status["certificateChain"])
            return
        time.sleep(0.2)
    raise TimeoutError(f"no certificate: {json.dumps(status.get('conditions'))}")


def _api(token_dir: Path, method: str, path: str, body: JSON | None = None) -> JSON:
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    token = (token_dir / "token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    call = urllib.request.Request(server + path, data, headers, method=method)  # noqa: S310  always https
    trust = ssl.create_default_context(cafile=str(token_dir / "ca.crt"))
    with urllib.request.urlopen(call, context=trust, timeout=10) as answer:  # noqa: S310  always https
        found: JSON = json.load(answer)
    return found


def _context(protocol: int, bundle: Path, pair: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # SPIFFE: the URI is the name, and it is checked below
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=str(bundle))
    context.load_cert_chain(str(pair / "tls.crt"), str(pair / "tls.key"))
    return context


def _identity(stream: ssl.SSLSocket, expected: str) -> str:
    certificate: dict[str, Any] = dict(stream.getpeercert() or {})
    uris = [name[1] for name in certificate.get("subjectAltName", ()) if name[0] == "URI"]
    if uris != [expected]:
        raise ValueError(f"the peer is {uris}, not {expected}")
    return expected


if __name__ == "__main__":
    main()
