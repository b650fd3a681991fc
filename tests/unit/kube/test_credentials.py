"""Which credentials are taken, from where, and what is refused."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml

from meshca.errors import MisconfiguredError
from meshca.kube.credentials import (
    TOKEN_REREAD_SECONDS,
    Credentials,
    FixedToken,
    TokenFile,
    from_kubeconfig,
    from_kubeconfig_dict,
    in_cluster,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

JSON = dict[str, Any]
ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


class ManualClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        raise AssertionError("credentials need no wall clock")

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def token_dir(tmp_path: Path, authority: trustme.CA) -> Path:
    (tmp_path / "token").write_text("abc\n")
    (tmp_path / "ca.crt").write_bytes(authority.cert_pem.bytes())
    return tmp_path


def test_a_pods_credentials_are_loaded(token_dir: Path) -> None:
    found = in_cluster(token_dir, ManualClock(), ENVIRONMENT)
    assert found.server == "https://10.96.0.1:443"
    assert found.token.current() == "abc"
    assert found.tls is not None
    assert len(found.tls.get_ca_certs()) == 1
    assert found.tls.check_hostname


def test_an_ipv6_service_address_is_bracketed(token_dir: Path) -> None:
    environment = ENVIRONMENT | {"KUBERNETES_SERVICE_HOST": "fd00::1"}
    assert in_cluster(token_dir, ManualClock(), environment).server == "https://[fd00::1]:443"


@pytest.mark.parametrize("missing", ["token", "ca.crt", "KUBERNETES_SERVICE_HOST"])
def test_what_is_missing_in_a_pod_is_said(token_dir: Path, missing: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != missing}
    (token_dir / missing).unlink(missing_ok=True)
    with pytest.raises(MisconfiguredError, match="in-cluster credentials"):
        in_cluster(token_dir, ManualClock(), environment)


def test_a_ca_file_that_is_none_is_refused(token_dir: Path) -> None:
    (token_dir / "ca.crt").write_text("no certificate")
    with pytest.raises(MisconfiguredError, match="TLS files"):
        in_cluster(token_dir, ManualClock(), ENVIRONMENT)


def test_a_token_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    token = TokenFile(path, ManualClock())
    assert token.current() == "one"
    (tmp_path / "next").write_text("other")
    (tmp_path / "next").replace(path)
    assert token.current() == "other"


def test_a_token_is_read_again_every_minute_whatever_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "token", ManualClock()
    path.write_text("one")
    token = TokenFile(path, clock)
    monkeypatch.setattr(token, "_stat", lambda: (1, 1, 1))
    assert token.current() == "one"
    path.write_text("two")
    assert token.current() == "one"
    clock.seconds += TOKEN_REREAD_SECONDS
    assert token.current() == "two"


def test_a_token_file_that_is_gone_for_a_moment_keeps_the_old_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    token = TokenFile(path, ManualClock())
    token.current()
    path.unlink()
    assert token.current() == "one"
    path.write_text("")
    assert token.current() == "one"
    path.write_bytes(b"\xff\xfe")
    assert token.current() == "one"
    path.write_text("two")
    assert token.reload() is True
    assert token.reload() is False
    assert token.current() == "two"


def test_no_token_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="no token"):
        TokenFile(tmp_path / "token", ManualClock()).current()


def _kubeconfig(user: JSON | None = None, cluster: JSON | None = None) -> JSON:
    return {
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
            {"name": "there", "context": {"cluster": "d"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://one.example:6443/"} | (cluster or {})},
            {"name": "d", "cluster": {"server": "https://two.example"}},
        ],
        "users": [{"name": "u", "user": user if user is not None else {"token": "t"}}],
    }


async def test_a_context_of_a_kubeconfig_is_loaded(tmp_path: Path, authority: trustme.CA) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    path = tmp_path / "config"
    document = _kubeconfig(cluster={"certificate-authority": "ca.pem", "tls-server-name": "api.example"})
    path.write_text(yaml.safe_dump(document))
    here = await from_kubeconfig(path)
    assert (here.server, here.token.current(), here.tls_server_name) == (
        "https://one.example:6443",
        "t",
        "api.example",
    )
    assert here.tls is not None
    assert len(here.tls.get_ca_certs()) == 1
    there = await from_kubeconfig(path, "there")
    assert (there.server, there.token.current()) == ("https://two.example", "")


async def test_data_in_a_kubeconfig_is_loaded(tmp_path: Path, authority: trustme.CA) -> None:
    client = authority.issue_cert("client.example")

    def encoded(content: bytes) -> str:
        return base64.b64encode(content).decode()

    document = _kubeconfig(
        {
            "client-certificate-data": encoded(client.cert_chain_pems[0].bytes()),
            "client-key-data": encoded(client.private_key_pem.bytes()),
        },
        {"certificate-authority-data": encoded(authority.cert_pem.bytes())},
    )
    found = await from_kubeconfig_dict(document, base=tmp_path)
    assert found.token.current() == ""
    assert found.token.reload() is False


@pytest.mark.parametrize(
    "user",
    [
        {"exec": {"command": "touch", "args": ["owned"], "apiVersion": "client.authentication.k8s.io/v1"}},
        {"auth-provider": {"name": "gcp", "config": {"cmd-path": "touch owned"}}},
        {"username": "u", "password": "p"},
    ],
    ids=["exec", "auth-provider", "password"],
)
async def test_programs_and_passwords_of_a_kubeconfig_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: JSON
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MisconfiguredError, match="only a token or a client certificate"):
        await from_kubeconfig_dict(_kubeconfig(user), base=tmp_path)
    assert os.listdir(tmp_path) == []  # noqa: PTH208  nobody waits for this event loop


async def test_a_program_beside_a_token_is_not_run(tmp_path: Path) -> None:
    program = {"command": "touch", "args": [str(tmp_path / "owned")]}
    user = {"token": "t", "exec": program | {"apiVersion": "client.authentication.k8s.io/v1"}}
    found = await from_kubeconfig_dict(_kubeconfig(user), base=tmp_path)
    assert found.token.current() == "t"
    assert os.listdir(tmp_path) == []  # noqa: PTH208  nobody waits for this event loop


async def test_verification_cannot_be_switched_off(tmp_path: Path) -> None:
    document = _kubeconfig(cluster={"insecure-skip-tls-verify": True, "proxy-url": "http://127.0.0.1:9"})
    found = await from_kubeconfig_dict(document, base=tmp_path)
    assert found.tls is not None
    assert found.tls.check_hostname


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"current-context": "nowhere"},
        {"current-context": "here", "contexts": [{"name": "here", "context": {}}]},
        _kubeconfig(cluster={"server": "http://one.example"}),
        _kubeconfig(cluster={"certificate-authority": "missing.pem"}),
        _kubeconfig(cluster={"certificate-authority-data": "!!!"}),
    ],
    ids=["empty", "no context", "no cluster", "plain http", "no CA file", "bad CA data"],
)
async def test_a_kubeconfig_that_cannot_be_used_is_said(tmp_path: Path, document: JSON) -> None:
    with pytest.raises(MisconfiguredError):
        await from_kubeconfig_dict(document, base=tmp_path)


@pytest.mark.parametrize("text", ["[", "- a", "\x00"])
async def test_a_file_that_is_no_kubeconfig_is_said_without_its_content(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(MisconfiguredError, match="kubeconfig"):
        await from_kubeconfig(path)
    with pytest.raises(MisconfiguredError, match="cannot be read"):
        await from_kubeconfig(tmp_path / "missing")


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "http://localhost", "http://[::1]:2"])
def test_plain_http_is_for_loopback_only(server: str) -> None:
    Credentials(server, None, FixedToken())
    with pytest.raises(MisconfiguredError, match="https is required"):
        Credentials("http://10.0.0.1", None, FixedToken())


def test_the_kubernetes_library_is_imported_only_when_needed() -> None:
    program = (
        "import sys, meshca.kube.session, meshca.kube.gateway, meshca.kube.watch, meshca.kube.lease, "
        "meshca.kube.events, meshca.kube.credentials; "
        "print([name for name in sys.modules if name.split('.')[0] in ('kubernetes', 'kopf', 'yaml')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
