"""LeafCertificateRequest and the federation kinds: what may be asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.api.v1alpha1 import (
    FederatedCluster,
    IntermediateCertificateRequest,
    LeafCertificateRequest,
    Renewal,
)
from meshca.api.v1alpha1.keys import KeyAlgorithm
from meshca.errors import InvalidError
from tests.fakes.api_rows import CSR, LEAF_ACCEPTED, LEAF_REFUSED


def read(spec: dict[str, Any]) -> LeafCertificateRequest:
    return LeafCertificateRequest.from_object({"spec": {"serviceAccountName": "cart"} | spec})


def test_a_csr_leaf_is_manual_unless_it_says_otherwise() -> None:
    leaf = read({"request": CSR}).spec
    assert (leaf.managed, leaf.automatic, leaf.ca_configuration_name) == (False, False, "default")
    assert read({"request": CSR, "renewal": "Automatic"}).spec.automatic


def test_a_managed_leaf_is_automatic_with_an_ecdsa_key() -> None:
    leaf = read({"secretName": "cart-tls"}).spec
    assert (leaf.managed, leaf.automatic, leaf.renewal) == (True, True, None)
    assert leaf.effective_private_key.algorithm is KeyAlgorithm.ECDSA
    assert leaf.effective_private_key.effective_size == 256
    assert read({"secretName": "x", "renewal": "Automatic"}).spec.renewal is Renewal.AUTOMATIC
    rsa = read({"secretName": "x", "privateKey": {"algorithm": "RSA", "size": 2048}}).spec
    assert rsa.effective_private_key.effective_size == 2048


@pytest.mark.parametrize(
    ("spec", "named"), [row[1:] for row in LEAF_REFUSED], ids=[row[0] for row in LEAF_REFUSED]
)
def test_bad_requests_are_refused_naming_field_value_and_bound(
    spec: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(InvalidError) as refused:
        LeafCertificateRequest.from_object({"spec": spec})
    assert [part for part in named if part not in refused.value.message] == []


@pytest.mark.parametrize("spec", [row[1] for row in LEAF_ACCEPTED], ids=[row[0] for row in LEAF_ACCEPTED])
def test_good_requests_are_read(spec: dict[str, Any]) -> None:
    assert LeafCertificateRequest.from_object({"spec": spec}).spec.as_written() == spec


def test_226_a_private_key_sent_by_mistake_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidError) as refused:
        read({"request": "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n" + CSR})
    assert "holds a private key" in refused.value.message
    assert "c2VjcmV0" not in refused.value.message


def test_a_too_long_request_is_not_repeated() -> None:
    with pytest.raises(InvalidError) as refused:
        read({"request": "A" * 20000})
    assert len(refused.value.message) < 300


def test_the_federation_kinds_are_read() -> None:
    icr = IntermediateCertificateRequest.from_object({"spec": {"clusterName": "west", "request": CSR}})
    assert (icr.spec.cluster_name, icr.spec.ca_configuration_name) == ("west", "default")
    spec = {
        "clusterName": "west",
        "namespace": "meshca-fed-west",
        "requester": {"username": "system:serviceaccount:meshca-fed-west:meshca"},
        "maxIntermediateTTL": "720h",
    }
    cluster = FederatedCluster.from_object({"spec": spec})
    assert cluster.spec.max_intermediate_ttl == timedelta(hours=720)
    assert cluster.spec.as_written() == spec
    with pytest.raises(InvalidError, match=r"spec\.requester is required"):
        FederatedCluster.from_object({"spec": {"clusterName": "west", "namespace": "x"}})
