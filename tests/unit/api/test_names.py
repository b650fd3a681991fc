"""Names of objects are what the API server and the chart's RBAC expect."""

from __future__ import annotations

import pytest

from meshca.api import names

LONG = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (names.root_secret("default", "0123456789"), "meshca-root-default-0123456789"),
        (names.signer_secret("default", LONG), "meshca-signer-default-0123456789"),
        (names.ca_root("default", LONG), "default-0123456789"),
        (names.accepted_config_map("default"), "meshca-accepted-default"),
        (names.signer_name("default"), "meshca.dev/default"),
        (names.cluster_trust_bundle("default"), "meshca.dev:default:bundle"),
    ],
)
def test_object_names(name: str, expected: str) -> None:
    assert name == expected


def test_the_core_group_has_no_slash() -> None:
    assert (names.SECRET.api_version, names.LEAF.api_version) == ("v1", "meshca.dev/v1alpha1")


def test_ca_secrets_have_names_that_no_workload_may_ask_for() -> None:
    for name in (names.root_secret("x", "y"), names.signer_secret("x", LONG)):
        assert name.startswith(names.RESERVED_SECRET_PREFIX)
