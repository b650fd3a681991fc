"""Desired identities: what changes a root's name, and that today's names stay."""

from __future__ import annotations

import itertools

from meshca.pki import certificates
from meshca.pki.desired import base_identity, desired_identity, imported_identity
from tests.fakes.pki import authority, spec


def test_anything_that_makes_another_root_makes_another_name() -> None:
    wishes = itertools.product(
        ("Builtin", "Vault"),
        ("", "a"),
        (spec("ECDSA 256"), spec("ECDSA 384"), spec("RSA 3072")),
        ("", "now"),
        (0, 1),
    )
    names = [desired_identity(*wish) for wish in wishes]
    assert len(set(names)) == len(names) == 48


def test_neighbouring_fields_cannot_run_into_each_other() -> None:
    key_spec = spec("ECDSA 256")
    names = {
        desired_identity("Builtin", 'a"', key_spec, "b", 0),
        desired_identity("Builtin", "a", key_spec, '"b', 0),
        desired_identity("Builtina", "", key_spec, "b", 0),
        desired_identity("Builtin", "a", key_spec, "b", 10),
        desired_identity("Builtin", "a", key_spec, "b1", 0),
        desired_identity("Builtin", "a", key_spec, "b,1", 0),
    }
    assert len(names) == 6


def test_the_base_identity_is_blind_to_renewals_only() -> None:
    one = base_identity("Builtin", "", spec("ECDSA 256"), "")
    assert one == base_identity("Builtin", "", spec("ECDSA 256"), "")
    assert one != base_identity("Builtin", "", spec("ECDSA 256"), "now")
    assert one not in {desired_identity("Builtin", "", spec("ECDSA 256"), "", number) for number in range(20)}


def test_an_imported_root_is_its_certificate() -> None:
    root = authority().root
    assert imported_identity(root) == certificates.fingerprint(root)[:10]
    assert len(imported_identity(root)) == 10


def test_names_of_objects_in_clusters_never_change() -> None:
    assert desired_identity("Builtin", "", spec("ECDSA 256"), "", 0) == "10c5662560"
    assert desired_identity("Builtin", "", spec("RSA 4096"), "2030-01", 3) == "b96eaebf11"
    assert base_identity("Builtin", "", spec("Ed25519"), "é") == "51c410dbe5"
