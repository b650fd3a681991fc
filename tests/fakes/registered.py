"""Builders of what planners of a federation see: registered clusters, their reports, their requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.scalars import format_time
from meshca.pki import certificates
from meshca.planning.ca import Root
from meshca.planning.requestview import RequestSnapshot, RequestView, read_request
from meshca.planning.secondaries import Secondary, read_secondary
from meshca.planning.signingroot import SigningRoot
from tests.fakes import pki
from tests.fakes.pki import HOUR, NOW
from tests.fakes.planning import IN_FORCE, meta

if TYPE_CHECKING:
    from datetime import datetime

JSON = dict[str, Any]
USER = "system:serviceaccount:meshca-fed-west:meshca"


def federated(
    name: str = "west", *, created: datetime | None = NOW, uid: str = "", deleting: bool = False, **spec: Any
) -> JSON:
    """Return a FederatedCluster that never reported."""
    metadata: JSON = {"name": name, "uid": uid or f"uid-{name}", "generation": 1}
    if created is not None:
        metadata["creationTimestamp"] = format_time(created)
    if deleting:
        metadata["deletionTimestamp"] = format_time(NOW)
    given: JSON = {
        "clusterName": name,
        "caConfigurationName": "default",
        "namespace": f"meshca-fed-{name}",
        "requester": {"username": f"system:serviceaccount:meshca-fed-{name}:meshca"},
    }
    return {"metadata": metadata, "spec": given | spec}


def secondary(name: str = "west", report: JSON | None = None, **more: Any) -> Secondary:
    """Return a registered cluster with what it reported."""
    found = read_secondary(federated(name, **more) | {"status": report or {}})
    assert found is not None
    return found


def signing_root(**changes: Any) -> SigningRoot:
    """Return the active root of the shared test authority as signers of secondaries see it."""
    pair = pki.authority()
    facts = certificates.facts(pair.root)
    given: JSON = {
        "configuration": "default",
        "trust_domain": pki.TRUST_DOMAIN,
        "name": "default-root",
        "certificate": pair.root,
        "fingerprint": facts.fingerprint,
        "not_after": facts.not_after,
        "secret": "meshca-root-default-x",
        "provider": "Builtin",
        "crosses": "",
        "intermediate_ttl": 720 * HOUR,
        "bundle": (facts.fingerprint,),
    }
    return SigningRoot(**(given | changes))


def root_view(**changes: Any) -> Root:
    """Return the CARoot of ``signing_root``."""
    pair = pki.authority()
    given: JSON = {
        "meta": meta("default-root", "", uid="r"),
        "certificate": pair.root,
        "facts": certificates.facts(pair.root),
        "pem": certificates.to_pem(pair.root),
        "source": "Generated",
        "key_secret": "meshca-root-default-x",
        "base": "",
        "renewal": 0,
        "activated_at": NOW,
        "rotated_out_at": None,
        "prunable_after": None,
        "largest_leaf_ttl": None,
    }
    return Root(**(given | changes))


def request(
    status: JSON | None = None, *, deleting: bool = False, namespace: str = "", **spec: Any
) -> RequestView:
    """Return a request of the cluster west that is as registered."""
    metadata: JSON = {
        "name": "west-0123456789",
        "namespace": namespace or "meshca-fed-west",
        "uid": "u",
        "creationTimestamp": format_time(NOW),
    }
    if deleting:
        metadata["deletionTimestamp"] = format_time(NOW)
    csr = pki.request(pki.key("ECDSA 256", "west"), pki.uri("spiffe://example.org"))
    asked: JSON = {
        "clusterName": "west",
        "caConfigurationName": "default",
        "request": csr,
        "requester": USER,
    }
    return read_request({"metadata": metadata, "spec": asked | spec, "status": status or {}})


def request_snapshot(**changes: Any) -> RequestSnapshot:
    """Return everything as it has to be for a signer to be granted."""
    given: JSON = {
        "now": NOW,
        "request": request(),
        "registration": secondary(),
        "rival": "",
        "is_secondary": False,
        "active_root": "default-root",
        "authority": signing_root(),
        "root": root_view(),
        "admission": IN_FORCE,
        "clocks_differ": False,
    }
    return RequestSnapshot(**(given | changes))
