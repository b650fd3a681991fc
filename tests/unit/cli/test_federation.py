"""``meshca federation``: what is registered, what the join manifest holds, what is refused, what is shown."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import CAConfiguration
from meshca.cli.invitation import Invitation, Pin
from meshca.cli.registration import NAME_LIMIT, Registration
from meshca.errors import InvalidError
from meshca.pki.bundle import Bundle
from meshca.pki.certificates import to_pem
from tests.fakes.cli import FINE, Mesh, condition
from tests.fakes.pki import NOW

if TYPE_CHECKING:
    from meshca.api.names import Resource

JSON = dict[str, Any]
EXAMPLES = Path(__file__).parents[3] / "examples" / "federation"
CA = "-----BEGIN CERTIFICATE-----\nof the API server\n-----END CERTIFICATE-----\n"


def primary(*conditions: JSON) -> Mesh:
    """Return a primary whose status says truly which roots it publishes."""
    mesh = Mesh()
    bundle = Bundle.of([mesh.a.root])
    written = {"roots": [*bundle.fingerprints], "digest": bundle.digest, "sequence": 3}
    mesh.configure(*(conditions or FINE), bundle=written)
    mesh.root("default-a", mesh.a)
    where = {"name": "kube-root-ca.crt", "namespace": "kube-system"}
    mesh.server.create(names.CONFIG_MAP, {"metadata": where, "data": {"ca.crt": CA}})
    mesh.server.audit.clear()
    return mesh


def everything(mesh: Mesh, cluster: str = "west") -> dict[tuple[str, str], JSON]:
    found = {}
    for resource, body in Registration(cluster).objects():
        metadata = body["metadata"]
        item = mesh.server.find(resource, metadata["name"], metadata.get("namespace", ""))
        if item is not None:
            found[resource.kind, metadata["name"]] = item
    return found


def documents(out: str) -> list[JSON]:
    return [item for item in yaml.safe_load_all(out) if item]


def claims(token: str) -> JSON:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


# --- invite -----------------------------------------------------------------------------------------


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


# --- revoke -----------------------------------------------------------------------------------------


def report(mesh: Mesh, **status: Any) -> None:
    mesh.server.merge(names.FEDERATED_CLUSTER, "west", "", {"status": status}, subresource="status")


def test_revoking_takes_all_away_and_says_how_long_its_leaves_last() -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    mesh.run("federation", "invite", "east")
    report(mesh, signerNotAfter="2030-06-01T00:00:00Z")
    mesh.server.audit.clear()
    code, out, _ = mesh.run("federation", "revoke", "west", "--yes")
    assert (code, "valid until 2030-06-01T00:00:00Z" in out) == (0, True)
    assert next(entry.info.resource for entry in mesh.server.writes()) == names.FEDERATED_CLUSTER
    left = everything(mesh)
    assert all("deletionTimestamp" in item["metadata"] for item in left.values()), left.keys()
    assert len(everything(mesh, "east")) == 8


def test_revoking_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    monkeypatch.setattr("typer.confirm", lambda _: False)
    code, out, _ = mesh.run("federation", "revoke", "west")
    assert (code, "nothing was changed" in out, len(everything(mesh))) == (1, True, 8)
    monkeypatch.setattr("typer.confirm", lambda _: True)
    assert mesh.run("federation", "revoke", "west")[0] == 0


def test_revoking_who_was_never_here_is_an_error() -> None:
    mesh = primary()
    code, _, errors = mesh.run("federation", "revoke", "west", "--yes")
    assert (code, "no cluster 'west' is registered" in errors) == (2, True)
    assert mesh.server.writes() == []


def test_revoking_again_ends_what_was_left_half_done_and_no_more() -> None:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    mesh.server.delete(names.FEDERATED_CLUSTER, "west")
    binding: tuple[Resource, str] = (names.CLUSTER_ROLE_BINDING, "meshca-fed-west")
    mesh.server.merge(*binding, "", {"metadata": {"labels": {names.LABEL_FEDERATED_CLUSTER: None}}})
    code, out, _ = mesh.run("federation", "revoke", "west", "--yes")
    assert (code, "left alone" in out) == (0, True)
    assert mesh.server.find(*binding) is not None
    assert mesh.server.find(names.CLUSTER_ROLE, "meshca-fed-west") is None


# --- status -----------------------------------------------------------------------------------------


def joined(*conditions: JSON, **more: Any) -> Mesh:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    fingerprint = Bundle.of([mesh.a.root]).fingerprints[0]
    good = [condition(kind, "True", "AsExpected") for kind in ("Ready", "Reachable", "Converged")]
    report(
        mesh,
        **{
            "activeRoot": fingerprint,
            "roots": [fingerprint],
            "signerNotAfter": "2030-06-01T00:00:00Z",
            "lastSeen": "2030-01-01T11:58:00Z",
            "leaves": [{"root": fingerprint, "leaves": 7}, {"root": "ff" * 32, "leaves": 0}],
            "conditions": [*(conditions or good)],
        }
        | more,
    )
    return mesh


def test_status_shows_who_follows() -> None:
    code, out, _ = joined().run("federation", "status")
    heading, row = out.splitlines()
    assert (code, heading.split()[0]) == (0, "SECONDARY")
    for part in ("west", "default", "yes", "(2 min ago)", "2030-06-01T00:00:00Z", "default-a: 7"):
        assert part in row, (part, row)


def test_status_names_who_holds_a_rotation_up() -> None:
    mesh = joined(condition("Ready", "True", "AsExpected"), condition("Converged", "False", "Behind", "old"))
    mesh.status({"conditions": [*FINE, condition("Degraded", "True", "SecondaryBehind", "west holds it up")]})
    code, out, _ = mesh.run("federation", "status")
    assert (code, "WRONG  default: Degraded, SecondaryBehind: west holds it up" in out) == (1, True)
    assert "note  west: not Converged, Behind: old" in out
    assert "un-register it" in out


def test_status_of_who_is_silent_or_was_never_seen() -> None:
    code, out, _ = joined(condition("Reachable", "False", "Silent", "for 2 d")).run("federation", "status")
    assert (code, "WRONG  west: not Reachable, Silent: for 2 d" in out) == (1, True)
    mesh = primary()
    mesh.run("federation", "invite", "west")
    code, out, _ = mesh.run("federation", "status")
    assert (code, "has its join manifest been applied?" in out, "has not looked" in out) == (0, True, True)


def follower(*conditions: JSON, **federation: Any) -> Mesh:
    mesh = Mesh()
    mesh.configure(*conditions)
    mesh.root("default-a", mesh.a)
    primary_ = {"kubeconfigSecretName": "meshca-primary-default", "bundleDigest": "0" * 64}
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": {"federation": {"primary": primary_}}})
    if federation:
        mesh.status({"federation": federation})
    return mesh


def test_status_of_a_secondary_shows_whom_it_follows() -> None:
    mesh = follower(*FINE, condition("Reachable", "True", "Connected"))
    code, found = mesh.json("federation", "status")
    (one,) = found["primaries"]
    assert (code, one["reachable"], one["activeRoot"]) == (0, "yes", "default-a")
    code, out, _ = mesh.run("federation", "status")
    assert (code, "default, by Secret meshca-primary-default" in out) == (0, True)


def test_status_of_a_secondary_says_what_is_wrong() -> None:
    mesh = follower(
        *FINE,
        condition("Reachable", "False", "PrimaryUnreachable", "for 3 min"),
        condition("Degraded", "True", "ClockSkew", "5 min"),
    )
    code, out, _ = mesh.run("federation", "status")
    assert code == 1
    assert "WRONG  default: not Reachable, PrimaryUnreachable: for 3 min" in out
    assert "WRONG  default: Degraded, ClockSkew" in out
    code, out, _ = follower(FINE[0]).run("federation", "status")
    assert (code, "has not said yet whether it is Reachable" in out) == (0, True)


def test_a_primary_that_is_degraded_otherwise_is_for_the_other_status() -> None:
    mesh = primary(*FINE, condition("Degraded", "True", "ClockSkew"))
    code, out, _ = mesh.run("federation", "status")
    assert (code, out.strip()) == (
        0,
        "this cluster shares no roots: nobody is registered, and it follows nobody",
    )


def test_status_is_json_for_programs() -> None:
    code, found = joined().json("federation", "status")
    (one,) = found["secondaries"]
    assert (code, found["fine"], one["name"], one["leaves"]) == (0, True, "west", {"default-a": 7})


# --- plain manifests --------------------------------------------------------------------------------


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
