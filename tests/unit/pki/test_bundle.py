"""Bundles: one form for one set of roots."""

from __future__ import annotations

import hashlib

import pytest

from meshca.errors import InvalidError
from meshca.pki import certificates
from meshca.pki.bundle import Bundle
from tests.fakes.pki import authority

ROOTS = tuple(authority("ECDSA 256", str(number)).root for number in range(3))


def test_order_and_repetition_of_roots_do_not_matter() -> None:
    one, two, three = ROOTS
    first = Bundle((one, two, three))
    second = Bundle.of([three, one, three, two, one])
    assert first == second
    assert (first.pem, first.digest, first.fingerprints) == (second.pem, second.digest, second.fingerprints)
    assert len(second.roots) == 3


def test_roots_are_ordered_by_fingerprint() -> None:
    bundle = Bundle(ROOTS)
    assert bundle.fingerprints == tuple(sorted(map(certificates.fingerprint, ROOTS)))
    assert tuple(map(certificates.fingerprint, bundle.roots)) == bundle.fingerprints


def test_the_digest_is_sha256_over_the_der_in_that_order() -> None:
    bundle = Bundle(ROOTS)
    together = b"".join(certificates.to_der(root) for root in sorted(ROOTS, key=certificates.fingerprint))
    assert bundle.digest == hashlib.sha256(together).hexdigest()


def test_a_bundle_survives_being_written_and_read() -> None:
    bundle = Bundle(ROOTS)
    assert Bundle.parse(bundle.pem) == bundle
    assert Bundle.parse(f"# roots\n\n{bundle.pem}{bundle.pem}") == bundle
    assert bundle.pem.endswith("-----END CERTIFICATE-----\n")


def test_the_empty_bundle() -> None:
    empty = Bundle()
    assert empty == Bundle.parse(" \n") == Bundle.of([])
    assert (empty.pem, empty.fingerprints) == ("", ())
    assert empty.digest == hashlib.sha256(b"").hexdigest()


def test_merging_and_leaving_out() -> None:
    one, two, three = ROOTS
    merged = Bundle((one, two)).merge(Bundle((two, three)))
    assert merged == Bundle(ROOTS)
    assert merged.without(certificates.fingerprint(two)) == Bundle((one, three))
    assert merged.without("0" * 64) == merged


def test_a_bundle_covers_what_it_holds() -> None:
    one, two, three = ROOTS
    assert Bundle(ROOTS).covers(Bundle((one, three)))
    assert Bundle(ROOTS).covers(Bundle())
    assert Bundle(ROOTS).covers(Bundle(ROOTS))
    assert not Bundle((one, three)).covers(Bundle((one, two)))


@pytest.mark.parametrize(
    "text", ["garbage", "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----"]
)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        Bundle.parse(text)
