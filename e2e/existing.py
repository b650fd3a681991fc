"""The kubeconfig flavour: a cluster that is there already, used only when asked for by name.

Decides nothing about that cluster and removes nothing from it but what a scenario made. Its servers are
somebody else's, so they cannot be stopped and their audit log cannot be read.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import meshca
from e2e import binaries, credentials, processes
from e2e.cluster import Cluster
from e2e.errors import CannotRunError, HarnessError
from e2e.pods import ApiPods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    Runner = Callable[[Sequence[str]], str]

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def run(command: Sequence[str]) -> str:
    """Run a program in our own environment and return what it printed; ``HarnessError`` when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotRunError(f"{command[0]} is not on the PATH") from None
    if done.returncode:
        raise HarnessError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Existing(Cluster):
    """The cluster of the current kubectl context."""

    flavour = "kubeconfig"
    has_nodes = True
    has_audit = False
    controls_servers = False

    def __init__(self, name: str, runner: Runner = run) -> None:
        self.name = name
        self.run = runner
        self.binaries = binaries.assets()
        self._identities: dict[str, Path] = {}

    def start(self) -> None:
        """Copy the current context into a kubeconfig of our own and look at what it leads to."""
        self.directory = processes.run_directory(self.name)
        view = ["config", "view", "--minify", "--flatten", "--raw"]
        self.adopt(self.run([str(self.binaries / "kubectl"), *view]))

    def adopt(self, kubeconfig: str) -> None:
        """Take a kubeconfig's text as the administrator's."""
        admin = self.directory / "admin.conf"
        admin.touch(mode=0o600)
        admin.write_text(kubeconfig)
        self._identities["admin"] = admin
        self.server, certificate = credentials.read_cluster(admin)
        self.ca_file = self.directory / "ca.crt"
        self.ca_file.write_bytes(certificate)
        self.version = str(self.request("GET", "/version")["gitVersion"]).removeprefix("v")

    def stop(self) -> None:
        """Forget the cluster; nothing in it is touched."""
        self.close_clients()
        self._identities.clear()
        if "directory" in self.__dict__:
            processes.remove_directory(self.directory)

    def stop_apiserver(self) -> None:
        """Refuse: the API server is not ours."""
        self._not_ours()

    def start_apiserver(self) -> None:
        """Refuse: the API server is not ours."""
        self._not_ours()

    def kill_etcd(self) -> None:
        """Refuse: etcd is not ours."""
        self._not_ours()

    def start_etcd(self) -> None:
        """Refuse: etcd is not ours."""
        self._not_ours()

    @property
    def audit_log(self) -> Path:
        """Refuse: the audit log is not ours."""
        self._not_ours()

    @property
    def chart_values(self) -> dict[str, str]:
        """Return the image that ``IMAGE`` names; the cluster must be able to pull it."""
        reference = os.environ.get("IMAGE", "")
        return image_values(reference) if reference else {}

    def operator(self, namespace: str = "meshca-system", deployment: str = "meshca") -> ApiPods:
        """Return the operator as Pods, reached through the API server."""
        return ApiPods(self, namespace, deployment)

    def kubeconfig(self, identity: str = "admin") -> Path:
        """Return the kubeconfig of ``admin`` or of a user made by ``identity``."""
        if identity not in self._identities:
            raise HarnessError(f"{self.name}: no identity {identity!r} yet; make it with identity()")
        return self._identities[identity]

    def identity(self, name: str, groups: Iterable[str] = ()) -> Path:
        """Have a user's client certificate signed by the cluster (CertificateSigningRequest), once."""
        if name not in self._identities:
            self._identities[name] = self._signed(name, groups)
        return self._identities[name]

    def _signed(self, name: str, groups: Iterable[str]) -> Path:
        file = self.directory / f"user-{len(self._identities)}-{re.sub('[^a-z0-9]+', '-', name.lower())}.conf"
        key, request = _request(name, groups)
        body = {
            "metadata": {"generateName": "meshca-e2e-"},
            "spec": {
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
                "request": credentials.base64_text(request),
            },
        }
        made = self.request("POST", REQUESTS, body)
        path = f"{REQUESTS}/{made['metadata']['name']}"
        approved = {"type": "Approved", "status": "True", "reason": "MeshcaScenario"}
        made["status"] = {"conditions": [approved]}
        self.request("PUT", f"{path}/approval", made)
        certificate = self.wait_for(_certificate, path)
        self.request("DELETE", path)
        user = {
            "client-certificate-data": certificate,
            "client-key-data": credentials.base64_text(key),
        }
        credentials.write_kubeconfig(file, self.server, self.ca_file, user)
        return file

    def _not_ours(self) -> NoReturn:
        raise HarnessError(f"{self.flavour}: the servers of this cluster are not ours to touch")


def image_values(reference: str) -> dict[str, str]:
    """Return the chart values of an image reference ``repository:tag``."""
    repository, _, tag = reference.rpartition(":")
    if not repository or "/" in tag:
        repository, tag = reference, meshca.__version__
    return {"image.repository": repository, "image.tag": tag}


def _request(name: str, groups: Iterable[str]) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    return (
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
    )


def _certificate(requests: list[dict[str, dict[str, str]]]) -> str:
    return next((item["status"]["certificate"] for item in requests if "certificate" in item["status"]), "")
