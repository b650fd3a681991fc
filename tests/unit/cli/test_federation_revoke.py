"""meshca federation revoke: what it takes away, and what it asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names

if TYPE_CHECKING:
    import pytest

    from meshca.api.names import Resource
from tests.fakes.meshcli import everything, primary, report

JSON = dict[str, Any]
CA = "-----BEGIN CERTIFICATE-----\nof the API server\n-----END CERTIFICATE-----\n"


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
