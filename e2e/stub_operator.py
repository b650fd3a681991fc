"""A stand-in for the operator that shows what a replica was given; used to prove the process runner.

Imports the standard library only. ``/env`` answers its environment, ``/whoami`` asks the API server with
the token in MESHCA_TOKEN_DIR, ``/exit`` ends it with code 3, ``/readyz`` is ready.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn


def whoami() -> Any:
    """Return what the API server says about our credentials."""
    tokens = Path(os.environ["MESHCA_TOKEN_DIR"])
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    request = urllib.request.Request(  # noqa: S310  an https address put together right here
        f"{server}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        data=json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode(),
        headers={
            "Authorization": f"Bearer {(tokens / 'token').read_text()}",
            "Content-Type": "application/json",
        },
    )
    context = ssl.create_default_context(cafile=tokens / "ca.crt")
    with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310  as above
        return json.load(answer)["status"]["userInfo"]


class Handler(BaseHTTPRequestHandler):
    """Answers the paths above."""

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/exit":
            os._exit(3)
        answer = {"/env": lambda: dict(os.environ), "/whoami": whoami}.get(self.path, dict)()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Stay silent: the log is looked at by tests."""


def finish(*_: object) -> NoReturn:
    """End as SIGTERM asks."""
    print(json.dumps({"event": "stopped"}), flush=True)
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, finish)
    print(json.dumps({"event": "started", "arguments": sys.argv[1:]}), flush=True)
    address = (os.environ["MESHCA_HTTP_HOST"], int(os.environ["MESHCA_HTTP_PORT"]))
    HTTPServer(address, Handler).serve_forever()
