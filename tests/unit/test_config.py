"""Settings: where they come from, what they may be, and how a mistake is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshca.config import Settings, env_name, flag, parser
from meshca.errors import MisconfiguredError

REQUIRED = {
    "MESHCA_NAMESPACE": "meshca-system",
    "MESHCA_POD_NAME": "meshca-0",
    "MESHCA_SERVICE_ACCOUNT": "meshca",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
}


def test_defaults_need_only_what_the_pod_says_about_itself() -> None:
    settings = Settings.from_args(
        [], REQUIRED | {"HOME": "/nowhere", "KUBERNETES_PORT": "tcp://10.96.0.1:443"}
    )
    assert settings.username == "system:serviceaccount:meshca-system:meshca"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert (settings.lease_name, settings.workers) == ("meshca", 16)
    assert settings.break_glass_group == "meshca:break-glass"
    assert settings.managed_key_namespaces == ()
    assert settings.trust_bundle_names == ("meshca-trust-bundle",)
    assert (settings.log_format, settings.log_level) == ("json", "info")
    assert settings.token_dir == Path("/var/run/secrets/kubernetes.io/serviceaccount")
    assert settings.kubernetes_service_port == 443


def test_a_flag_beats_a_variable_and_an_empty_variable_is_none() -> None:
    environ = REQUIRED | {"MESHCA_WORKERS": "3", "MESHCA_HTTP_PORT": "", "MESHCA_HTTP_HOST": "::1"}
    assert Settings.from_args([], environ).workers == 3
    settings = Settings.from_args(["--workers", "5"], environ)
    assert (settings.workers, settings.http_port, settings.http_host) == (5, 8080, "::1")


@pytest.mark.parametrize(
    ("text", "names", "inside", "outside"),
    [
        ("", (), None, "shop"),
        ("*", ("*",), "shop", None),
        ("shop, bank,", ("shop", "bank"), "bank", "other"),
    ],
)
def test_managed_key_namespaces(
    text: str, names: tuple[str, ...], inside: str | None, outside: str | None
) -> None:
    settings = Settings.from_args([f"--managed-key-namespaces={text}"], REQUIRED)
    assert settings.managed_key_namespaces == names
    assert inside is None or settings.keeps_keys_in(inside)
    assert outside is None or not settings.keeps_keys_in(outside)


@pytest.mark.parametrize(
    ("argv", "environ", "text"),
    [
        ([], {"MESHCA_NAMESPACE": ""}, "required: --namespace (MESHCA_NAMESPACE)"),
        (
            ["--workers=0"],
            {},
            "--workers (MESHCA_WORKERS): Input should be greater than or equal to 1, got '0'",
        ),
        (["--workers=many"], {}, "--workers (MESHCA_WORKERS): Input should be a valid integer"),
        (
            ["--http-port=99999"],
            {},
            "--http-port (MESHCA_HTTP_PORT): Input should be less than or equal to 65535",
        ),
        (
            ["--http-host=localhost"],
            {},
            "--http-host (MESHCA_HTTP_HOST): 'localhost' does not appear to be an IP",
        ),
        (["--namespace=Bad_Name"], {}, "--namespace (MESHCA_NAMESPACE): must be a DNS label"),
        (["--namespace=" + "a" * 64], {}, "must be a DNS label"),
        (["--lease-name=a..b"], {}, "--lease-name (MESHCA_LEASE_NAME): must be DNS labels joined by dots"),
        (["--managed-key-namespaces=a,*"], {}, "* means every namespace and stands alone, got 'a,*'"),
        (["--managed-key-namespaces=A"], {}, "must be a DNS label"),
        (
            ["--trust-bundle-names=,"],
            {},
            "--trust-bundle-names (MESHCA_TRUST_BUNDLE_NAMES): Value should have at least 1",
        ),
        (["--log-format=xml"], {}, "Input should be 'json' or 'console', got 'xml'"),
        (["--log-format=xml", "--log-level=loud"], {}, "(and 1 more)"),
        (["--work=3"], {}, "unrecognized arguments: --work=3 (see --help)"),
        (["stray"], {}, "unrecognized arguments: stray"),
        (
            [],
            {"MESHCA_WORKER": "3"},
            "MESHCA_WORKER is no setting of this version; did you mean MESHCA_WORKERS?",
        ),
        ([], {"MESHCA_ZZZ": "1"}, "MESHCA_ZZZ is no setting of this version (see --help)"),
        ([], {"MESHCA_PORT": "8080"}, "did you mean MESHCA_HTTP_PORT?"),
        ([], {"MESHCA_HTTP_PORT": "tcp://10.0.0.1:80"}, "got 'tcp://10.0.0.1:80'"),
    ],
)
def test_a_mistake_is_one_line_that_names_flag_and_variable(
    argv: list[str], environ: dict[str, str], text: str
) -> None:
    with pytest.raises(MisconfiguredError, match=re.escape(text)) as error:
        Settings.from_args(argv, REQUIRED | environ)
    assert "\n" not in str(error.value)


def test_variables_that_kubernetes_injects_for_a_service_are_let_pass() -> None:
    injected = {
        "MESHCA_SERVICE_HOST": "10.0.0.1",
        "MESHCA_SERVICE_PORT": "8080",
        "MESHCA_SERVICE_PORT_HTTP": "8080",
        "MESHCA_PORT": "tcp://10.0.0.1:8080",
        "MESHCA_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "MESHCA_PORT_8080_TCP_PROTO": "tcp",
        "MESHCA_PORT_8080_TCP_PORT": "8080",
        "MESHCA_PORT_8080_TCP_ADDR": "10.0.0.1",
        "MESHCA_METRICS_SERVICE_PORT": "8080",
        "MESHCA_METRICS_PORT": "tcp://10.0.0.1:8080",
    }
    assert Settings.from_args([], REQUIRED | injected).http_port == 8080


def test_every_setting_has_a_flag_and_a_variable_and_help_says_both() -> None:
    text = " ".join(parser().format_help().split())
    for name, field in Settings.model_fields.items():
        assert flag(name) in text
        assert env_name(name) in text
        assert field.description
    assert "[count; MESHCA_WORKERS; default: 16]" in text
    assert "[MESHCA_POD_NAME; required]" in text
    assert "default: none]" in text


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_need_no_settings(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        Settings.from_args([option], {})
    assert stop.value.code == 0
    assert "meshca-operator" in capsys.readouterr().out


def test_settings_do_not_change() -> None:
    settings = Settings(
        namespace="meshca-system",
        pod_name="meshca-0",
        service_account="meshca",
        kubernetes_service_host="127.0.0.1",
        managed_key_namespaces=("shop",),
    )
    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 3  # type: ignore[misc]
