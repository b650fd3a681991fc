"""Which cluster a person means, what of a kubeconfig is honoured, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from meshca import cli
from meshca.api.names import NAMESPACE
from meshca.cli import connection
from meshca.cli.connection import Target, connect, load
from meshca.errors import MisconfiguredError
from tests.fakes.apiserver.http import serve
from tests.fakes.apiserver.server import ApiServer

if TYPE_CHECKING:
    from pathlib import Path

JSON = dict[str, Any]
NOBODY = {"username": "nobody"}


def write(path: Path, server: str, user: JSON | None = None, **cluster: Any) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "d", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": server} | cluster},
            {"name": "d", "cluster": {"server": "http://127.0.0.1:2"}},
        ],
        "users": [{"name": "u", "user": user or {"token": "t0k"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_a_context_is_chosen_from_the_file_that_was_named(tmp_path: Path) -> None:
    file = write(tmp_path / "config", "http://127.0.0.1:1")
    found = load(Target(file))
    assert (found.server, found.token.current(), found.tls) == ("http://127.0.0.1:1", "t0k", None)
    assert load(Target("", "two"), {"KUBECONFIG": file}).server == "http://127.0.0.1:2"
    assert connection.server(Target(file, "two")) == "http://127.0.0.1:2"


def test_a_program_that_logs_people_in_is_run_and_asked_again(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = (
        "import json,pathlib;p=pathlib.Path(r'" + str(count) + "');"
        "n=int(p.read_text())+1 if p.exists() else 1;p.write_text(str(n));"
        "print(json.dumps({'apiVersion':'client.authentication.k8s.io/v1','kind':'ExecCredential',"
        "'status':{'token':'t%d'%n,'expirationTimestamp':'2020-01-01T00:00:00Z'}}))"
    )
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-c", script],
        }
    }
    found = load(Target(write(tmp_path / "config", "http://127.0.0.1:1", user)))
    assert found.token.current() == "t1"
    assert found.token.reload() is True
    assert found.token.current() == "t2"


def test_a_fixed_token_is_never_another_one(tmp_path: Path) -> None:
    found = load(Target(write(tmp_path / "config", "http://127.0.0.1:1")))
    assert found.token.reload() is False


def test_a_certificate_instead_of_a_token_has_nothing_to_renew(tmp_path: Path) -> None:
    found = load(Target(write(tmp_path / "config", "http://127.0.0.1:1", NOBODY)))
    assert (found.token.current(), found.token.reload()) == ("", False)


@pytest.mark.parametrize(
    ("cluster", "says"),
    [
        ({"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify is not supported"),
        ({"proxy-url": "http://127.0.0.1:3"}, "proxy-url is not supported"),
    ],
)
def test_what_proves_nothing_or_is_not_spoken_is_refused(tmp_path: Path, cluster: JSON, says: str) -> None:
    with pytest.raises(MisconfiguredError, match=says):
        load(Target(write(tmp_path / "config", "https://127.0.0.1:1", **cluster)))


def test_a_broken_or_missing_kubeconfig_is_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("a: [")
    with pytest.raises(MisconfiguredError, match="broken: ParserError"):
        load(Target(str(broken)))
    file = write(tmp_path / "config", "http://127.0.0.1:1")
    with pytest.raises(MisconfiguredError, match="nowhere"):
        load(Target(file, "nowhere"))
    with pytest.raises(MisconfiguredError, match="no kubeconfig at"):
        load(Target(), {"KUBECONFIG": str(tmp_path / "none")})


def test_in_a_pod_without_kubeconfig_its_own_account_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "POD_CREDENTIALS", tmp_path)
    monkeypatch.setattr(connection, "DEFAULT_KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(MisconfiguredError, match="in-cluster credentials"):
        load(Target(), {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"})


async def test_a_connection_speaks_http(tmp_path: Path) -> None:
    server = ApiServer()
    async with serve(server) as url, connect(Target(write(tmp_path / "config", url, NOBODY))) as gateway:
        assert await gateway.get(NAMESPACE, "default")
        await gateway.patch(NAMESPACE, "default", "", {"metadata": {"labels": {"a": "b"}}})
    assert server.audit[-1].info.verb == "patch"


def test_without_the_extra_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("meshca.cli.", "typer"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert cli.main() == 2
    assert capsys.readouterr().err == (
        "meshca: the command line is not installed: run pip install 'meshca[cli]'\n"
    )


def test_another_missing_module_is_not_blamed_on_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("meshca.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "meshca.kube.gateway", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main()


@pytest.mark.parametrize(
    ("program", "says"), [("meshca", "Usage: meshca"), ("kubectl-meshca", "Usage: kubectl meshca")]
)
def test_help_calls_the_program_as_it_was_called(
    program: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{program}", "--help"])
    assert cli.main() == 0
    assert says in capsys.readouterr().out


def test_the_version_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from meshca.cli import main; sys.exit(main())", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("meshca ")
