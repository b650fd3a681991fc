"""The program behind ``helm test``, against real HTTP servers on loopback."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import trustme

from meshca.server import smoke

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIST = json.dumps({"items": [{"metadata": {"name": "default"}}]})
API_PATH = "/apis/meshca.dev/v1alpha1/caconfigurations"


@contextmanager
def serving(
    answers: dict[str, tuple[int, str]], context: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Yield a port and the (path, Authorization) pairs asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization', '')}".strip())
            status, body = answers.get(self.path, (404, "no such path"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def token_dir(authority: trustme.CA, tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("s3cret\n")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return tmp_path


@dataclass(frozen=True)
class Servers:
    """A healthy operator and a healthy API server, but for what a test says otherwise."""

    tls: ssl.SSLContext
    token_dir: Path

    def run(self, answers: dict[str, tuple[int, str]]) -> int:
        healthy = {"/readyz": (200, "ok"), API_PATH: (200, LIST)} | answers
        with serving(healthy) as (operator, _), serving(healthy, self.tls) as (api, _asked):
            return run(operator, api, self.token_dir)


@pytest.fixture
def servers(tls: ssl.SSLContext, token_dir: Path) -> Servers:
    return Servers(tls, token_dir)


def run(operator: int, api: int, token_dir: Path, **environ: str) -> int:
    environment = {
        "MESHCA_METRICS_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(api),
        **environ,
    }
    arguments = ["--service=meshca-metrics", f"--port={operator}", f"--token-dir={token_dir}"]
    return smoke.main(arguments, environment)


def test_passes_when_the_operator_is_ready_and_the_api_answers(
    tls: ssl.SSLContext, token_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        serving({"/readyz": (200, "ok")}) as (operator, operator_asked),
        serving({API_PATH: (200, LIST)}, tls) as (api, api_asked),
    ):
        assert run(operator, api, token_dir) == 0
    assert operator_asked == ["/readyz"], "the token is for the API server only"
    assert api_asked == [f"{API_PATH} Bearer s3cret"]
    assert capsys.readouterr().out.splitlines() == [
        f"ready: http://127.0.0.1:{operator}/readyz",
        "API server answers: 1 caconfigurations.meshca.dev",
    ]


@pytest.mark.parametrize(
    ("path", "answer", "text"),
    [
        ("/readyz", (503, "watch is old"), "503 Service Unavailable watch is old"),
        (API_PATH, (403, "forbidden"), "403 Forbidden forbidden"),
        (API_PATH, (404, ""), "404 Not Found"),
        (API_PATH, (200, "<html>"), "not a list of objects"),
        (API_PATH, (200, "[]"), "not a list of objects"),
        (API_PATH, (200, "{}"), "not a list of objects"),
    ],
)
def test_fails_and_says_what_was_answered(
    path: str, answer: tuple[int, str], text: str, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert servers.run({path: answer}) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("FAILED: ")
    assert text in last
    assert "s3cret" not in last


def test_fails_when_nobody_listens(token_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving({}) as (gone, _):
        pass
    assert run(gone, gone, token_dir) == 1
    assert "Connection refused" in capsys.readouterr().out


def test_refuses_an_api_server_of_another_authority(
    token_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    with (
        serving({"/readyz": (200, "ok")}) as (operator, _),
        serving({API_PATH: (200, LIST)}, stranger) as (api, asked),
    ):
        assert run(operator, api, token_dir) == 1
    assert asked == []
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_fails_without_credentials(missing: str, token_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (token_dir / missing).unlink()
    with serving({"/readyz": (200, "ok")}) as (operator, _):
        assert run(operator, 1, token_dir) == 1
    assert f"no credentials in {token_dir}" in capsys.readouterr().out


def test_fails_outside_a_pod(token_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving({"/readyz": (200, "ok")}) as (operator, _):
        environment = {"MESHCA_METRICS_SERVICE_HOST": "127.0.0.1"}
        arguments = ["--service=meshca-metrics", f"--port={operator}", f"--token-dir={token_dir}"]
        assert smoke.main(arguments, environment) == 1
    assert "KUBERNETES_SERVICE_HOST is not set" in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_no_proxy_stands_between(variable: str, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert servers.run({}) == 0


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"MESHCA_METRICS_SERVICE_HOST": "10.96.3.4"}, "http://10.96.3.4:8080"),
        ({"MESHCA_METRICS_SERVICE_HOST": "fd00::4"}, "http://[fd00::4]:8080"),
        ({}, "http://meshca-metrics:8080"),
    ],
)
def test_the_service_is_found_by_injected_address_or_by_name(environ: dict[str, str], url: str) -> None:
    assert smoke.service_url("meshca-metrics", 8080, environ) == url


def test_an_ipv6_api_server_is_bracketed() -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert smoke.api_url(environ) == "https://[fd00::1]:443"
