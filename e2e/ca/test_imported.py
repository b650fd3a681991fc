"""A root of the user's own: used as it is, refused with a reason, its Secret changed under us."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from e2e import roots, scenario, workload
from e2e.client import path_of
from e2e.installation import exists
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
GOOD = roots.root()
BAD: dict[str, tuple[tuple[bytes, bytes], str]] = {
    "garbage": ((b"no certificate", GOOD[1]), "root certificate: PEM: no CERTIFICATE block found"),
    "blank": ((b" \n", GOOD[1]), "root certificate: it is blank"),
    "not yet valid": (roots.root(starts=roots.DAY), "root certificate: it is not yet valid, before "),
    "expired": (roots.root(starts=-2 * roots.DAY, ends=-roots.DAY), "root certificate: it has expired at "),
    "no CA": (roots.root(ca=False), "root certificate: it is not a CA certificate"),
    "RSA-1024": (
        roots.root(rsa.generate_private_key(65537, 1024)),
        "root certificate: CA key RSA 1024 is not allowed",
    ),
    "pathLen": (roots.root(path_length=1), "its pathLen is 1; it must be absent or at least 2"),
    "trust domain": (roots.root(trust_domain="other.example"), "its trust domain is other.example, not ca-"),
    "wrong key": ((GOOD[0], roots.root()[1]), "root key: it does not belong to the root certificate"),
    "garbage key": ((GOOD[0], b"no key"), "root key: the private key is not one unencrypted PEM key"),
}


class UserRoot:
    """A user's Secret and the CAConfiguration that names it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.body = scenario.configuration(
            namespace,
            provider={"builtin": {"rootSecretName": f"{namespace}-root"}},
            root={"ttl": "87600h", "renewBefore": "100h"},
        )
        self.name = str(self.body["metadata"]["name"])
        self.secret = f"{namespace}-root"

    def hold(self, certificate: bytes, key: bytes) -> None:
        """Let the Secret hold a pair, whatever it held before."""
        where = scenario.secret_path(self.secret)
        body = {"metadata": {"name": self.secret}, "data": roots.data(certificate, key)}
        if exists(self.cluster, where):
            self.cluster.request("PATCH", where, body)
        else:
            self.cluster.request("POST", path_of(names.SECRET, scenario.SYSTEM), body)

    def refused(self, says: str) -> JSON:
        """Wait until the CA says why it does not take the root."""
        return scenario.wait_ca(self.cluster, self.name, "InvalidConfiguration", says=says)


@pytest.fixture
def user_root(installed: Installation, namespace: str) -> Iterator[UserRoot]:
    made = UserRoot(installed.cluster, namespace)
    installed.cluster.apply(made.body)
    yield made
    installed.cluster.request("DELETE", scenario.path(made.name))


def test_027_each_fault_of_a_root_has_a_text_of_its_own_and_nothing_is_made(user_root: UserRoot) -> None:
    cluster = user_root.cluster
    user_root.refused(f"Secret '{user_root.secret}' is not in the operator's namespace; create it")
    mark = cluster.audit_mark()
    texts = []
    for pair, says in BAD.values():
        user_root.hold(*pair)
        texts.append(scenario.ready(user_root.refused(says))["message"])
    assert all(text.startswith(f"Secret '{user_root.secret}': ") for text in texts)
    assert len(set(texts)) == len(BAD)
    assert set(scenario.writes_for(cluster, mark, user_root.name)) == {("update", "caconfigurations/status")}
    assert scenario.authority(cluster, user_root.name) == scenario.Authority({}, {})

    shown = cluster.kubectl("get", "cac", user_root.name, "-o", "wide").stdout.splitlines()[1].split()
    assert {"False", "InvalidConfiguration"} <= set(shown)
    assert texts[-1] in cluster.kubectl("describe", "cac", user_root.name).stdout

    user_root.hold(*GOOD)
    scenario.wait_ca(cluster, user_root.name, "Initialised")


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(GOOD, id="033"),
        pytest.param(roots.root(ec.generate_private_key(ec.SECP224R1())), id="027-p224"),
        pytest.param(roots.root(path_length=2), id="pathLen-2"),
    ],
)
def test_a_sound_root_is_used_as_it_is(
    user_root: UserRoot, namespace: str, pair: tuple[bytes, bytes]
) -> None:
    cluster = user_root.cluster
    user_root.hold(*pair)
    made = scenario.wait_ca(cluster, user_root.name, "Initialised")
    root = cluster.request("GET", path_of(names.CA_ROOT, name=made["status"]["activeRoot"]))
    assert root["spec"]["source"] == "Imported"
    assert root["spec"]["certificate"].encode() == pair[0], "root.ttl is not applied, nothing is re-made"
    assert made["status"]["bundle"]["roots"] == [root["status"]["fingerprint"]]
    issued = scenario.issue(cluster, namespace, "web", user_root.name)
    signer = workload.certificates(issued["status"]["certificateChain"])[1]
    assert signer.not_valid_after_utc <= workload.certificates(pair[0].decode())[0].not_valid_after_utc


def test_what_becomes_of_the_users_secret_later_is_said_and_breaks_nothing(
    user_root: UserRoot, namespace: str
) -> None:
    cluster = user_root.cluster
    user_root.hold(*GOOD)
    scenario.wait_ca(cluster, user_root.name, "Initialised")
    before = scenario.authority(cluster, user_root.name)

    user_root.hold(GOOD[0], b"overwritten by mistake")
    user_root.refused("root key: ")
    scenario.issue(cluster, namespace, "while-broken", user_root.name)

    cluster.request("DELETE", scenario.secret_path(user_root.secret))
    user_root.refused("create it")
    scenario.issue(cluster, namespace, "while-gone", user_root.name)

    user_root.hold(*GOOD)
    scenario.wait_ca(cluster, user_root.name, "Initialised")
    assert scenario.authority(cluster, user_root.name) == before


def test_a_lost_key_is_copied_again_from_the_users_secret_and_from_no_other(
    user_root: UserRoot, namespace: str
) -> None:
    cluster = user_root.cluster
    user_root.hold(*GOOD)
    scenario.wait_ca(cluster, user_root.name, "Initialised")
    lost = scenario.key_secret(cluster, user_root.name, "root")
    where = scenario.secret_path(lost["metadata"]["name"])
    medic = scenario.medic(cluster)
    cluster.request("DELETE", where, identity=medic)
    copied = scenario.wait_other(
        cluster, where, lambda item: item["metadata"]["uid"] != lost["metadata"]["uid"]
    )
    assert copied["data"] == lost["data"]
    assert copied["type"] == lost["type"]
    assert copied["metadata"]["labels"] == lost["metadata"]["labels"]
    assert copied["metadata"]["annotations"] == lost["metadata"]["annotations"]
    scenario.wait_ca(cluster, user_root.name, "Initialised")
    scenario.issue(cluster, namespace, "after", user_root.name)

    cluster.request("DELETE", scenario.secret_path(user_root.secret))
    user_root.refused("create it")
    cluster.request("DELETE", where, identity=medic)
    scenario.issue(cluster, namespace, "signed-by-what-is-left", user_root.name)
    assert cluster.exchange("GET", where).status == 404
    user_root.hold(*GOOD)
    scenario.wait_ca(cluster, user_root.name, "Initialised")
    assert cluster.request("GET", where)["data"] == lost["data"]


@pytest.mark.parametrize(
    ("left", "reason"),
    [pytest.param(20, "Issued", id="219-cut-short"), pytest.param(5, "SignerNotReady", id="219-refused")],
)
def test_near_the_end_of_a_root_leaves_end_with_it_and_no_signer_is_made_in_vain(
    user_root: UserRoot, namespace: str, left: int, reason: str
) -> None:
    """Leaves want 72 hours; a tenth of that is the least that one is issued for."""
    cluster = user_root.cluster
    certificate, key = roots.root(ends=timedelta(hours=left))
    user_root.hold(certificate, key)
    scenario.wait_ca(cluster, user_root.name, "Initialised")
    scenario.wait_ca(cluster, user_root.name, "RootExpiringSoon", kind="RootExpiringSoon", status="True")
    before = scenario.authority(cluster, user_root.name)
    asked = {"caConfigurationName": user_root.name, "request": workload.csr().pem}
    for name in ("a", "b", "c"):
        workload.create(cluster, workload.leaf(namespace, name, **asked))
    for name in ("a", "b", "c"):
        answer = workload.wait_reason(cluster, namespace, name, reason)
        if reason == "Issued":
            leaf, signer = workload.certificates(answer["status"]["certificateChain"])
            root = workload.certificates(certificate.decode())[0]
            assert leaf.not_valid_after_utc == signer.not_valid_after_utc == root.not_valid_after_utc
        else:
            assert "too soon for a certificate of 72h" in workload.ready_message(answer)
    assert scenario.authority(cluster, user_root.name) == before
    assert len(before.secrets) == 2, "the root's and one signer"
