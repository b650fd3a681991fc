"""What of a join Secret is taken, and what is refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from meshca.errors import InvalidError
from meshca.pki import certificates
from meshca.planning.joining import Join, claims_of, lifetime, read_join, token_digest, with_token
from tests.fakes import pki

JSON = dict[str, Any]
AUTHORITY = certificates.to_pem(pki.authority().root)
ISSUED = datetime(2030, 1, 1, tzinfo=UTC)
EXPIRES = ISSUED + timedelta(days=7)


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def token(**claims: Any) -> str:
    about = {"namespace": "meshca-fed-west", "serviceaccount": {"name": "speaker", "uid": "u"}}
    said = {"kubernetes.io": about, "iat": int(ISSUED.timestamp()), "exp": int(EXPIRES.timestamp())} | claims
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"e30.{body}.sig"


def kubeconfig(**changes: Any) -> JSON:
    """Return a kubeconfig; changes are ``cluster``, ``user`` and ``context``, or whole sections."""
    cluster = {"server": "https://primary.example.org:6443", "certificate-authority-data": encoded(AUTHORITY)}
    user, context = {"token": token()}, {"cluster": "c", "user": "u"}
    found = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": context | changes.pop("context", {})}],
        "clusters": [{"name": "c", "cluster": cluster | changes.pop("cluster", {})}],
        "users": [{"name": "u", "user": user | changes.pop("user", {})}],
    }
    return found | changes


def secret(config: Any = None, **entries: str) -> JSON:
    text = config if isinstance(config, str) else json.dumps(kubeconfig() if config is None else config)
    data = {"kubeconfig": encoded(text)} | {key.replace("_", "-"): encoded(v) for key, v in entries.items()}
    return {"metadata": {"name": "join", "uid": "1", "resourceVersion": "2"}, "data": data}


def test_server_authority_token_and_who_this_cluster_is() -> None:
    found = read_join(secret())
    assert found == Join(
        meta=found.meta,
        server="https://primary.example.org:6443",
        authority=AUTHORITY,
        token=token(),
        namespace="meshca-fed-west",
        account="speaker",
        issued=ISSUED,
        expires=EXPIRES,
    )
    assert found.username == "system:serviceaccount:meshca-fed-west:speaker"
    assert (found.meta.uid, found.meta.resource_version) == ("1", "2")


def test_yaml_is_read_too_and_every_scalar_is_a_text() -> None:
    config = kubeconfig(user={"token": 12345678}, context={"namespace": "meshca-fed-east"})
    found = read_join(
        secret(yaml.safe_dump(config), service_account="other", token_expires="2030-02-01T00:00:00Z")
    )
    assert (found.token, found.namespace, found.account) == ("12345678", "meshca-fed-east", "other")
    assert (found.issued, found.expires) == (None, datetime(2030, 2, 1, tzinfo=UTC))


def test_the_namespace_may_stand_beside_the_kubeconfig() -> None:
    found = read_join(secret(kubeconfig(user={"token": "opaque"}), namespace="meshca-fed-west"))
    assert (found.namespace, found.account, found.expires) == ("meshca-fed-west", "meshca", None)


def test_the_first_context_counts_when_none_is_current() -> None:
    config = kubeconfig()
    del config["current-context"]
    assert read_join(secret(config)).server == "https://primary.example.org:6443"


def test_nothing_that_runs_a_program_or_reads_a_file_is_taken() -> None:
    user = {"exec": {"command": "/bin/false"}, "tokenFile": "/etc/passwd", "client-key": "/etc/passwd"}
    cluster = {
        "proxy-url": "http://evil.example.org",
        "insecure-skip-tls-verify": True,
        "tls-server-name": "x",
    }
    found = read_join(secret(kubeconfig(user=user, cluster=cluster)))
    assert found == read_join(secret())


def test_a_trailing_slash_is_no_other_server() -> None:
    config = kubeconfig(cluster={"server": "https://primary.example.org:6443/"})
    assert read_join(secret(config)).source == read_join(secret()).source
    other = kubeconfig(cluster={"certificate-authority-data": encoded(AUTHORITY + "\n")})
    assert read_join(secret(other)).source != read_join(secret()).source


def test_plain_http_is_for_loopback_only() -> None:
    found = read_join(secret(kubeconfig(cluster={"server": "http://127.0.0.1:8001"})))
    assert found.server == "http://127.0.0.1:8001"


BAD: list[tuple[str, Any, str]] = [
    ("no YAML", "{", "cannot be read as YAML or JSON"),
    ("unhashable", "? [a]\n: b", "cannot be read as YAML or JSON"),
    ("too deep", "[" * 5000, "cannot be read as YAML or JSON"),
    ("a list", [], "not a mapping"),
    ("a text", "just words", "not a mapping"),
    ("nothing in it", {}, "no current context"),
    ("sections of nonsense", kubeconfig(contexts="x"), "no current context"),
    ("entries of nonsense", kubeconfig(contexts=[3, {"name": "x"}]), "no current context"),
    ("another context", kubeconfig(**{"current-context": "y"}), "no current context"),
    ("a context of nonsense", kubeconfig(**{"current-context": ["y"]}), "no current context"),
    ("no cluster", kubeconfig(clusters=[]), "lacks the cluster or the user"),
    ("no user", kubeconfig(users=[]), "lacks the cluster or the user"),
    *(
        (f"server {server!r}", kubeconfig(cluster={"server": server}), "server")
        for server in (
            None,
            "",
            "primary",
            "http://primary.example.org",
            "ftp://primary.example.org",
            "https://",
            "https://user:password@primary.example.org",
            "https://primary.example.org/?a=b",
            "https://primary.example.org/#x",
            "https://primary.example.org:port",
            "https://[::1",
            "https://prim\u00e4ry.example.org",
            "https://primary.example.org/\u0007",
        )
    ),
    ("no CA", kubeconfig(cluster={"certificate-authority-data": ""}), "no certificate-authority-data"),
    ("no base64", kubeconfig(cluster={"certificate-authority-data": "?"}), "is no certificate"),
    ("no PEM", kubeconfig(cluster={"certificate-authority-data": "aaaa"}), "is no certificate"),
    ("no token", kubeconfig(user={"token": " "}), "has no token; nothing else is taken"),
    ("token of nonsense", kubeconfig(user={"token": ["x"]}), "has no token"),
    ("token of two lines", kubeconfig(user={"token": "a\nb"}), "characters that no token has"),
    ("token with a blank", kubeconfig(user={"token": "a b"}), "characters that no token has"),
    ("no namespace", kubeconfig(user={"token": "opaque"}), "names a namespace"),
    (
        "a namespace of nonsense",
        kubeconfig(user={"token": "opaque"}, context={"namespace": "../x"}),
        "namespace",
    ),
    ("claims of nonsense", kubeconfig(user={"token": token(**{"kubernetes.io": 3})}), "namespace"),
]


@pytest.mark.parametrize(("config", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_no_join_secret_is_refused_with_a_reason(config: Any, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as caught:
        read_join(secret(config))
    assert caught.value.message.startswith("Secret 'join': ")
    assert "opaque" not in caught.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "'kubeconfig' is missing"),
        ({"data": {"kubeconfig": "?"}}, "is not base64"),
        ({"data": {"kubeconfig": "x" * 70000}}, "is larger than"),
    ],
)
def test_a_secret_without_a_kubeconfig(body: JSON, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        read_join(body)


@pytest.mark.parametrize(
    "entry", [{"namespace": "\u00e4"}, {"token_expires": "soon"}, {"namespace": "x" * 300}]
)
def test_entries_beside_it_that_make_no_sense_count_as_absent(entry: dict[str, str]) -> None:
    found = read_join(secret(kubeconfig(user={"token": token(exp="x", iat=True)}), **entry))
    assert (found.namespace, found.expires, found.issued) == ("meshca-fed-west", None, None)


@pytest.mark.parametrize("text", ["", "a.b", "a.?.c", "a.W10.c", f"a.{'x' * 3}.c"])
def test_a_token_that_is_no_jwt_says_nothing(text: str) -> None:
    assert claims_of(text) == {}


@pytest.mark.parametrize("when", [1e300, -1e300, float("inf")])
def test_a_moment_beyond_all_calendars_counts_as_absent(when: float) -> None:
    assert lifetime(token(exp=when, iat=0)) == (datetime(1970, 1, 1, tzinfo=UTC), None)


def test_a_renewed_token_takes_the_place_of_the_old_one_and_of_nothing_else() -> None:
    body = secret(kubeconfig(user={"exec": {"command": "x"}}))
    fresh = token(exp=int((EXPIRES + timedelta(days=1)).timestamp()))
    changed = with_token(body, fresh, lifetime(fresh)[1])
    assert sorted(changed) == ["kubeconfig", "token-expires"]
    after = read_join({**body, "data": body["data"] | changed})
    assert after.token == fresh
    assert after.token_digest == token_digest(fresh) != read_join(body).token_digest
    assert (after.server, after.authority) == (read_join(body).server, read_join(body).authority)
    assert list(with_token(body, fresh, None)) == ["kubeconfig"]


def test_neither_token_nor_certificates_are_shown() -> None:
    shown = repr(read_join(secret()))
    assert token() not in shown
    assert "BEGIN" not in shown
