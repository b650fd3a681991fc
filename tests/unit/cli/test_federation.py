"""meshca federation invite: what it registers, prints, keeps and refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import CAConfiguration
from meshca.cli.invitation import Invitation, Pin
from meshca.cli.registration import NAME_LIMIT, Registration
from meshca.errors import InvalidError
from meshca.pki.bundle import Bundle
from meshca.pki.certificates import to_pem
from tests.fakes.cli import FINE, condition
from tests.fakes.meshcli import everything, primary, report
from tests.fakes.pki import NOW

JSON = dict[str, Any]
EXAMPLES = Path(__file__).parents[3] / "examples" / "federation"
CA = "-----BEGIN CERTIFICATE-----\nof the API server\n-----END CERTIFICATE-----\n"


def documents(out: str) -> list[JSON]:
    return [item for item in yaml.safe_load_all(out) if item]


def claims(token: str) -> JSON:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def test_an_invitation_registers_and_prints_what_to_apply() -> None:
    mesh = primary()
    code, out, errors = mesh.run("federation", "invite", "west")
    assert code == 0
    assert len(everything(mesh)) == 8
    secret, configuration = documents(out)
    assert secret["metadata"] == {"name": "meshca-primary-default", "namespace": "meshca-system"}
    told = secret["stringData"]
    assert (told["cluster-name"], told["namespace"], told["service-account"]) == (
        "west",
        "meshca-fed-west",
        "meshca",
    )
    config = yaml.safe_load(told["kubeconfig"])
    (cluster,), (user,), (context,) = config["clusters"], config["users"], config["contexts"]
    assert cluster["cluster"]["server"] == "https://primary.example:6443"
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode() == CA
    assert context["context"] == {"cluster": "primary", "user": "secondary", "namespace": "meshca-fed-west"}
    said = claims(user["user"]["token"])
    assert said["sub"] == "system:serviceaccount:meshca-fed-west:meshca"
    assert said["exp"] - said["iat"] == 7 * 24 * 3600
    assert f"lasts until {told['token-expires']}" in errors
    assert configuration["spec"]["federation"]["primary"] == {
        "kubeconfigSecretName": "meshca-primary-default",
        "caConfigurationName": "default",
        "bundleDigest": Bundle.of([mesh.a.root]).digest,
    }
    assert configuration["spec"]["clusterName"] == "west"
    assert CAConfiguration.from_object(configuration).spec.is_secondary
    assert "apply it once" in out
    assert "kubeconfig: |" in out


def test_it_writes_nothing_but_what_the_registration_lists() -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    wanted = {(resource, body["metadata"]["name"]) for resource, body in Registration("west").objects()}
    written = {
        (entry.info.resource, entry.info.name or "") for entry in mesh.server.writes() if entry.code < 300
    }
    assert {resource for resource, _ in written} == {resource for resource, _ in wanted}


def test_options_reach_the_manifest() -> None:
    mesh = primary()
    args = ["--server", "https://10.0.0.7:443/", "--token-duration", "24h", "--max-intermediate-ttl", "720h"]
    code, out, _ = mesh.run("federation", "invite", "west", *args, "--secondary-namespace", "ca")
    (secret, _), spec = documents(out), everything(mesh)["FederatedCluster", "west"]["spec"]
    assert (code, secret["metadata"]["namespace"]) == (0, "ca")
    config = yaml.safe_load(secret["stringData"]["kubeconfig"])
    assert config["clusters"][0]["cluster"]["server"] == "https://10.0.0.7:443"
    said = claims(config["users"][0]["user"]["token"])
    assert said["exp"] - said["iat"] == 24 * 3600
    assert spec["maxIntermediateTTL"] == "720h"
    assert spec["requester"] == {"username": "system:serviceaccount:meshca-fed-west:meshca"}


def test_a_certificate_authority_of_ones_own_replaces_the_one_of_the_cluster(tmp_path: Path) -> None:
    mesh = primary()
    file = tmp_path / "ca.pem"
    file.write_text(to_pem(mesh.b.root))
    code, out, _ = mesh.run("federation", "invite", "west", "--certificate-authority", str(file))
    config = yaml.safe_load(documents(out)[0]["stringData"]["kubeconfig"])
    data = config["clusters"][0]["cluster"]["certificate-authority-data"]
    assert (code, base64.b64decode(data).decode()) == (0, to_pem(mesh.b.root))


def test_inviting_again_changes_nothing_but_the_token() -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    before = everything(mesh)
    mesh.server.audit.clear()
    code, out, _ = mesh.run("federation", "invite", "west")
    assert (code, everything(mesh)) == (0, before)
    assert {entry.info.subresource for entry in mesh.server.writes() if entry.code == 201} == {"token"}
    assert [item["kind"] for item in documents(out)] == ["Secret", "CAConfiguration"]


def test_inviting_again_repairs_what_was_changed_and_can_shorten_signers() -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    mesh.server.merge(names.ROLE, "meshca", "meshca-fed-west", {"rules": []})
    code, _, errors = mesh.run("federation", "invite", "west", "--max-intermediate-ttl", "24h")
    found = everything(mesh)
    assert (code, "Role meshca: repaired" in errors) == (0, True)
    assert len(found["Role", "meshca"]["rules"]) == 2
    assert found["FederatedCluster", "west"]["spec"]["maxIntermediateTTL"] == "24h"
    mesh.run("federation", "invite", "west")
    assert everything(mesh)["FederatedCluster", "west"]["spec"]["maxIntermediateTTL"] == "24h"


def test_a_cluster_that_has_joined_keeps_its_configuration() -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    report(mesh, lastSeen="2030-01-01T00:00:00Z")
    code, out, _ = mesh.run("federation", "invite", "west")
    assert (code, [item["kind"] for item in documents(out)]) == (0, ["Secret"])
    assert "#   kind: CAConfiguration" in out


def test_a_rotation_under_way_is_told() -> None:
    mesh = primary(FINE[0], condition("RotationInProgress", "True", "Publish"))
    code, _, errors = mesh.run("federation", "invite", "west")
    assert (code, "a rotation is under way" in errors) == (0, True)


def test_an_address_of_this_machine_is_told_unless_it_was_asked_for() -> None:
    mesh = primary()
    mesh.address = "https://127.0.0.1:6443"
    code, _, errors = mesh.run("federation", "invite", "west")
    assert (code, "--server" in errors) == (0, True)
    code, _, errors = mesh.run("federation", "invite", "west", "--server", "https://127.0.0.1:6443")
    assert (code, "--server" in errors) == (0, False)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["West"], "cannot be the name of a cluster"),
        (["w" * (NAME_LIMIT + 1)], "at most 52 characters"),
        (["west", "--token-duration", "9m"], "less than 10m"),
        (["west", "--token-duration", "soon"], "--token-duration"),
        (["west", "--max-intermediate-ttl", "2h"], "less than 3h"),
        (["west", "--server", "http://primary.example"], "expected https://HOST:PORT"),
        (["west", "--server", "primary.example:6443"], "expected https://HOST:PORT"),
        (["west", "--certificate-authority", "/nowhere.pem"], "--certificate-authority"),
        (["west", "--configuration", "other"], "other"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(args: list[str], says: str) -> None:
    mesh = primary()
    code, out, errors = mesh.run("federation", "invite", *args)
    assert (code, says in errors + out) == (2, True), errors
    assert mesh.server.writes() == []
    assert "token" not in errors.replace("--token-duration", "")


def test_a_ca_without_certificates_is_refused_by_name(tmp_path: Path) -> None:
    mesh = primary()
    file = tmp_path / "ca.pem"
    file.write_text("\n")
    code, _, errors = mesh.run("federation", "invite", "west", "--certificate-authority", str(file))
    assert (code, "ca.pem" in errors) == (2, True)


def test_a_file_without_a_certificate_is_no_certificate_authority(tmp_path: Path) -> None:
    mesh = primary()
    file = tmp_path / "ca.pem"
    for text in ("", "nothing"):
        file.write_text(text)
        code, _, errors = mesh.run("federation", "invite", "west", "--certificate-authority", str(file))
        assert (code, errors != "") == (2, True)
    assert mesh.server.writes() == []


def test_a_secondary_invites_nobody() -> None:
    mesh = primary()
    spec = {"federation": {"primary": {"kubeconfigSecretName": "p", "bundleDigest": "0" * 64}}}
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": spec})
    code, _, errors = mesh.run("federation", "invite", "west")
    assert (code, "invite in its primary" in errors) == (2, True)


def test_roots_that_are_changing_are_not_pinned() -> None:
    mesh = primary()
    mesh.status({"bundle": {"roots": ["ff" * 32], "digest": "00" * 32}})
    code, _, errors = mesh.run("federation", "invite", "west")
    assert (code, "ask again" in errors) == (2, True)
    mesh.status({"activeRoot": ""})
    code, _, errors = mesh.run("federation", "invite", "west")
    assert (code, "has no root yet" in errors) == (2, True)


def test_without_the_ca_of_the_api_server_there_is_no_invitation() -> None:
    mesh = primary()
    mesh.server.delete(names.CONFIG_MAP, "kube-root-ca.crt", "kube-system")
    code, _, errors = mesh.run("federation", "invite", "west")
    assert (code, "--certificate-authority" in errors) == (2, True)


def test_a_cluster_of_another_configuration_keeps_its_name() -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    wish = {"caConfigurationName": "other"}
    mesh.server.merge(names.FEDERATED_CLUSTER, "west", "", {"spec": wish})
    code, _, errors = mesh.run("federation", "invite", "west")
    assert (code, "is registered for CAConfiguration 'other'" in errors) == (2, True)


@pytest.mark.parametrize(("label", "says"), [({}, "was not made for cluster"), (None, "is being deleted")])
def test_what_stands_in_the_way_is_left_alone(label: dict[str, str] | None, says: str) -> None:
    mesh = primary()
    metadata: JSON = {"name": "meshca-fed-west", "labels": label or {}}
    if label is None:
        metadata |= {"labels": {names.LABEL_FEDERATED_CLUSTER: "west"}, "finalizers": ["example.org/x"]}
    mesh.server.create(names.NAMESPACE, {"metadata": metadata})
    if label is None:
        mesh.server.delete(names.NAMESPACE, "meshca-fed-west")
    code, out, errors = mesh.run("federation", "invite", "west")
    assert (code, says in errors, out) == (2, True, "")
    assert len(everything(mesh)) == 1


def test_an_invitation_does_not_show_its_token_by_accident() -> None:
    made = Invitation(
        Registration("west"), Pin("td", "0", rotating=False), "s", "ca", "t0k", NOW, known=False
    )
    assert "t0k" not in repr(made)


def test_the_example_registers_what_the_command_would() -> None:
    written = documents((EXAMPLES / "primary.yaml").read_text())
    wanted = [body for _, body in Registration("west", max_intermediate_ttl="720h").objects()]
    assert written == wanted


def test_the_example_of_a_secondary_is_one() -> None:
    text = (EXAMPLES / "secondary.yaml").read_text().replace("DIGEST", "0" * 64)
    secret, configuration = documents(text)
    read = CAConfiguration.from_object(configuration)
    assert read.spec.is_secondary
    named = configuration["spec"]["federation"]["primary"]["kubeconfigSecretName"]
    assert secret["metadata"]["name"] == named
    config = yaml.safe_load(secret["stringData"]["kubeconfig"])
    assert config["contexts"][0]["context"]["namespace"] == Registration("west").namespace


def test_a_name_with_a_line_break_is_none() -> None:
    with pytest.raises(InvalidError):
        Registration("west\n")
