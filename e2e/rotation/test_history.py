"""The judge of a recorded history, given histories that are wrong: it has to say so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.rotation import history
from e2e.rotation.recorder import State
from meshca.pki import issuance, keys
from meshca.pki.certificates import to_pem
from meshca.pki.identity import SPIFFEID, TrustDomain
from meshca.pki.profile import RootProfile, SignerProfile

JSON = dict[str, Any]
KEY = keys.KeySpec.of(keys.KeyAlgorithm.ECDSA, 256)
DOMAIN = TrustDomain.parse("judge.example")
DAY = timedelta(days=1)


class Root:
    """A root that issues leaves."""

    def __init__(self) -> None:
        self.now, self.key = datetime.now(UTC), keys.generate(KEY)
        self.certificate = issuance.self_signed_root(
            self.key, trust_domain=DOMAIN, configuration="ca", profile=RootProfile(90 * DAY), now=self.now
        )
        self.pem = to_pem(self.certificate)

    def chain(self) -> str:
        """Return a leaf and its signer, PEM."""
        key = keys.generate(KEY)
        signer = issuance.signer_certificate(
            key.public_key(),
            issuer_cert=self.certificate,
            issuer_key=self.key,
            trust_domain=DOMAIN,
            configuration="ca",
            cluster_name="default",
            profile=SignerProfile(30 * DAY),
            now=self.now,
        )
        leaf = issuance.leaf_certificate(
            keys.generate(KEY).public_key(),
            issuer_cert=signer,
            issuer_key=key,
            spiffe_id=SPIFFEID.parse(f"{DOMAIN.uri}/ns/a/sa/b"),
            ttl=DAY,
            now=self.now,
        )
        return to_pem(leaf, signer)


@pytest.fixture(scope="module")
def roots() -> tuple[Root, Root]:
    """Return two roots."""
    return Root(), Root()


def leaf(version: int, chain: str) -> State:
    return State(
        version, history.LEAF, "a", "web", {"status": {"certificateChain": chain}} if chain else None
    )


def bundle(version: int, *roots: Root) -> State:
    return State(version, history.BUNDLE, "a", "roots", {"data": {"ca.crt": "".join(r.pem for r in roots)}})


def test_a_leaf_that_comes_before_its_root_is_an_unmet_need(roots: tuple[Root, Root]) -> None:
    old, new = roots
    states = [bundle(1, old), leaf(2, old.chain()), leaf(3, new.chain()), bundle(4, old, new)]
    assert len(history.unmet_needs(states, replaced=False)) == 1
    early = [bundle(1, old), leaf(2, old.chain()), bundle(3, old, new), leaf(4, new.chain())]
    assert history.unmet_needs(early, replaced=True) == []


def test_a_root_that_leaves_too_early_is_an_unmet_need_of_who_was_replaced(roots: tuple[Root, Root]) -> None:
    old, new = roots
    states = [bundle(1, old, new), leaf(2, old.chain()), leaf(3, new.chain()), bundle(4, new)]
    assert history.unmet_needs(states, replaced=False) == []
    assert len(history.unmet_needs(states, replaced=True)) == 1


def test_only_what_was_there_together_has_met_and_openssl_names_what_does_not_verify(
    roots: tuple[Root, Root],
) -> None:
    old, new = roots
    first, second = old.chain(), new.chain()
    states = [bundle(1, old), leaf(2, first), bundle(3, new), leaf(4, second), leaf(5, "")]
    met = history.meetings(states, replaced=False)
    assert met == {(first, old.pem), (first, new.pem), (second, new.pem)}
    assert history.refused_by_openssl({(first, old.pem), (second, new.pem)}) == []
    assert history.refused_by_openssl(met) != []


def test_an_instant_without_an_active_root_is_told() -> None:
    def ca(version: int, status: JSON) -> State:
        return State(version, history.CONFIGURATION, "", "ca", {"status": status})

    states = [ca(1, {"activeRoot": "a"}), ca(2, {}), ca(3, {"activeRoot": "b"}), ca(4, {"activeRoot": "b"})]
    assert history.activations(states) == ["a", "", "b"]
