"""A mesh as the command line sees it: roots, bundles and leaves with real certificates, no operator."""

from __future__ import annotations

import io
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from meshca.cli.app import app
from meshca.cli.command import Surroundings
from meshca.cli.screen import Screen
from meshca.kube.gateway import Gateway
from meshca.pki import issuance
from meshca.pki.bundle import Bundle
from meshca.pki.certificates import fingerprint, to_pem
from tests.fakes import pki
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.engine import crd_kinds
from tests.fakes.pki import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from cryptography import x509

    from meshca.cli.connection import Target
    from tests.fakes.pki import Authority

JSON = dict[str, Any]


class Still:
    """A clock that stands at the moment of the tests' certificates."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def condition(kind: str, status: str, reason: str, message: str = "so it is", generation: int = 1) -> JSON:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": "2030-01-01T00:00:00Z",
    }


FINE = (condition("Ready", "True", "Initialised"), condition("RotationInProgress", "False", "None"))


def cross(new: Authority, by: Authority) -> x509.Certificate:
    return issuance.cross_certificate(new.root, issuer_cert=by.root, issuer_key=by.root_key, now=NOW)


@dataclass
class Mesh:
    """An API server with CAConfiguration ``default`` under root ``a``, published in namespace ``shop``."""

    server: ApiServer = field(default_factory=ApiServer)
    a: Authority = field(default_factory=lambda: pki.authority(name="a"))
    b: Authority = field(default_factory=lambda: pki.authority(name="b"))
    targets: list[Target] = field(default_factory=list)
    address: str = "https://primary.example:6443"

    def __post_init__(self) -> None:
        self.server.register(*crd_kinds())
        self.server.create(names.NAMESPACE, {"metadata": {"name": "shop", "labels": {"mesh": "yes"}}})

    def configure(self, *conditions: JSON, **status: Any) -> None:
        spec: JSON = {
            "trustDomain": "example.org",
            "trustBundle": {"namespaceSelector": {"matchLabels": {"mesh": "yes"}}},
        }
        self.server.create(names.CA_CONFIGURATION, {"metadata": {"name": "default"}, "spec": spec})
        body = {
            "observedGeneration": 1,
            "trustDomain": "example.org",
            "activeRoot": "default-a",
            "signer": {
                "subjectKeyID": "aa",
                "notAfter": format_time(NOW + timedelta(days=365)),
                "renewAt": format_time(NOW + timedelta(days=180)),
            },
            "bundle": {"roots": ["aa"], "digest": "dd", "sequence": 1, "targets": {"total": 2, "current": 2}},
            "conditions": list(conditions or FINE),
        } | status
        self.status(body)

    def status(self, body: JSON) -> None:
        self.server.merge(names.CA_CONFIGURATION, "default", "", {"status": body}, subresource="status")

    def root(
        self, name: str, authority: Authority, state: str = "Active", *crosses: x509.Certificate
    ) -> None:
        pem = to_pem(authority.root)
        spec = {
            "caConfigurationName": "default",
            "certificate": pem,
            "source": "Generated",
            "keySecretName": f"meshca-root-{name}",
        }
        self.server.create(names.CA_ROOT, {"metadata": {"name": name}, "spec": spec})
        status: JSON = {
            "state": state,
            "fingerprint": fingerprint(authority.root),
            "notAfter": format_time(authority.root.not_valid_after_utc),
            "activatedAt": format_time(NOW),
            "leaves": 1,
            "crossCertificates": [to_pem(each) for each in crosses],
            "signer": {"certificateChain": to_pem(authority.signer)},
        }
        self.server.merge(names.CA_ROOT, name, "", {"status": status}, subresource="status")

    def publish(self, *authorities: Authority, namespace: str = "shop") -> None:
        pem = Bundle.of([each.root for each in authorities]).pem
        labels = {names.LABEL_TRUST_BUNDLE: "default"}
        body = {
            "metadata": {"name": "meshca-trust-bundle", "namespace": namespace, "labels": labels},
            "data": {names.BUNDLE_KEY: pem},
        }
        self.server.create(names.CONFIG_MAP, body)

    def publish_cluster(self, *authorities: Authority) -> None:
        pem = Bundle.of([each.root for each in authorities]).pem
        body = {
            "metadata": {"name": names.cluster_trust_bundle("default")},
            "spec": {"signerName": names.signer_name("default"), "trustBundle": pem},
        }
        self.server.create(names.CLUSTER_TRUST_BUNDLE, body)

    def leaf(
        self, name: str, chain: str = "", state: str = "Issued", ready: JSON | None = None, **spec: Any
    ) -> None:
        asks: JSON = {"caConfigurationName": "default", "serviceAccountName": "web"} | spec
        if "secretName" not in asks:
            asks["request"] = pki.request()
        self.server.create(names.LEAF, {"metadata": {"name": name, "namespace": "shop"}, "spec": asks})
        status: JSON = {
            "state": state,
            "certificateChain": chain,
            "conditions": [ready or condition("Ready", "True", "Issued")],
        }
        self.server.merge(names.LEAF, name, "shop", {"status": status}, subresource="status")

    def healthy(self) -> Mesh:
        """Make everything as it should be, with one leaf."""
        self.configure()
        self.root("default-a", self.a)
        self.publish(self.a)
        self.publish_cluster(self.a)
        self.leaf("web", to_pem(self.a.leaf(), self.a.signer))
        return self

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Gateway]:
        self.targets.append(target)
        yield self.gateway()

    def gateway(self) -> Gateway:
        return Gateway(FakeTransport(self.server))

    def run(self, *args: str, terminal: bool = False) -> tuple[int, str, str]:
        """Run a command; return exit code, standard output and standard error."""
        out, errors = (_Terminal() if terminal else io.StringIO()), io.StringIO()
        around = Surroundings(self.connect, Still(), Screen(out, errors), lambda _: self.address)
        result = CliRunner().invoke(app, list(args), obj=around)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, out.getvalue() + result.stdout, errors.getvalue() + result.stderr

    def json(self, *args: str) -> tuple[int, JSON]:
        code, out, _ = self.run(*args, "--output", "json")
        return code, json.loads(out)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
