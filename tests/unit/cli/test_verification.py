"""Judging a CA from outside: each promise, kept and broken, by certificates made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshca.cli import verification
from meshca.cli.verification import RootRecord, Verification
from meshca.pki.bundle import Bundle
from meshca.pki.certificates import fingerprint, to_pem
from tests.fakes import pki
from tests.fakes.cli import cross
from tests.fakes.pki import DAY, HOUR, NOW, craft

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from cryptography import x509

    from tests.fakes.pki import Authority

A, B, C = (pki.authority(name=name) for name in "abc")


def record(
    name: str, authority: Authority, state: str = "Active", **more: tuple[x509.Certificate, ...]
) -> RootRecord:
    return RootRecord(name, state, authority.root, **more)


def pem(*authorities: Authority) -> str:
    return Bundle.of([each.root for each in authorities]).pem


def chain(authority: Authority, *more: x509.Certificate, ttl: timedelta = 72 * HOUR) -> str:
    return to_pem(authority.leaf(ttl=ttl), authority.signer, *more)


def outliving(authority: Authority, **until: timedelta) -> x509.Certificate:
    """Sign a certificate that lives as long as told, past every check."""
    signer = "signer" in until
    issuer = authority.root if signer else authority.signer
    key = authority.root_key if signer else authority.signer_key
    model = authority.signer if signer else authority.leaf()
    return craft(
        model.public_key(),
        key,
        {type(found.value): (found.value, found.critical) for found in model.extensions},
        issuer=issuer.subject,
        not_after=NOW + next(iter(until.values())),
        serial=4711,
    )


ONE = [record("a", A)]
TWO = [record("a", A, "Retiring"), record("b", B, cross=(cross(B, A),))]
LATE = outliving(A, leaf=4000 * DAY)

ROWS: dict[str, tuple[Sequence[RootRecord], str, Sequence[str], Sequence[str], list[str]]] = {
    "healthy": (ONE, "a", [pem(A)], [chain(A)], []),
    "not initialised": ([], "", [], [], []),
    "rotated, both published": (TWO, "b", [pem(A, B)], [chain(A), chain(B, cross(B, A))], []),
    "I1: none active": (ONE, "", [pem(A)], [], ["I1"]),
    "I1: two active": ([record("a", A), record("b", B)], "b", [pem(A, B)], [], ["I1"]),
    "I1: the active one is gone": (ONE, "b", [pem(A)], [], ["I1", "I1"]),
    "I2: a withheld bundle is carried by the cross-certificate, yet lacks the root": (
        TWO, "b", [pem(A)], [chain(B, cross(B, A))], ["I2", "I3"],
    ),
    "I2: a withheld bundle without a cross-certificate": (TWO, "b", [pem(A)], [chain(B)], ["I2", "I2", "I3"]),
    "I2: an unreadable bundle": (ONE, "a", ["rubbish"], [chain(A)], ["I2"]),
    "I2: an unreadable chain": (ONE, "a", [pem(A)], ["rubbish"], ["I2"]),
    "I2: a leaf of nobody": (ONE, "a", [pem(A)], [chain(C)], ["I2", "I2"]),
    "I3: a root left while a leaf needs it": (TWO, "b", [pem(A, B), pem(B)], [chain(A)], ["I2", "I3"]),
    "I4: a leaf outlives its signer": (ONE, "a", [pem(A)], [to_pem(LATE, A.signer)], ["I4"]),
    "I4: a signer outlives its root": (
        [record("a", A, signer=(outliving(A, signer=9000 * DAY),))], "a", [pem(A)], [], ["I4"],
    ),
    "I9: a bundle trusts a stranger": (ONE, "a", [pem(A, C)], [chain(A)], ["I9"]),
    "an expired leaf is nobody's": (ONE, "a", [pem(A)], [to_pem(outliving(C, leaf=-HOUR / 2), C.signer)], []),
    "a leaf without a certificate": (ONE, "a", [pem(A)], [""], []),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_each_promise_is_judged(
    row: tuple[Sequence[RootRecord], str, Sequence[str], Sequence[str], list[str]],
) -> None:
    roots, active, bundles, leaves, expected = row
    look = Verification(roots, active, NOW)
    for number, text in enumerate(bundles):
        look.add_bundle(f"ns-{number}", text)
    for number, text in enumerate(leaves):
        look.add_leaf(f"shop/leaf-{number}", text)
    assert [finding.invariant for finding in look.findings()] == expected, look.findings()


def test_the_finding_says_who_needs_what_and_where() -> None:
    look = Verification(TWO, "b", NOW)
    look.add_bundle("old", pem(B))
    look.add_bundle("older", pem(B))
    for number in range(3):
        look.add_leaf(f"shop/{number}", chain(A))
    assert look.findings()[-1].text == "bundle of old and 1 more lacks root a, which 3 live leaves need"
    assert look.counts == verification.Counts(roots=2, places=2, bundles=1, leaves=3, live=3)


def test_a_cross_certificate_that_outlives_its_issuer_is_found_in_status_and_in_chains() -> None:
    short = pki.make_root(A.root_key, ttl=10 * DAY)
    long = craft(
        B.root.public_key(),
        A.root_key,
        {type(found.value): (found.value, found.critical) for found in cross(B, A).extensions},
        issuer=short.subject,
        not_after=NOW + 20 * DAY,
    )
    roots = [RootRecord("a", "Retiring", short), record("b", B, cross=(long,))]
    assert [found.text for found in Verification(roots, "b", NOW).findings()] == [
        "a cross-certificate by a outlives that root"
    ]


def test_an_expired_active_root_is_found() -> None:
    look = Verification(ONE, "a", NOW + 4000 * DAY)
    assert "expired" in look.findings()[0].text


def test_findings_and_bundles_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MOST_FINDINGS", 3)
    monkeypatch.setattr(verification, "MOST_BUNDLES", 1)
    monkeypatch.setattr(verification, "_SIGNERS", 0)
    look = Verification(ONE, "a", NOW)
    look.add_bundle("ns", pem(A))
    look.add_bundle("other", pem(A, B))
    assert "not compared" in look.findings()[0].text
    for number in range(5):
        look.add_leaf(str(number), "rubbish")
    look.add_leaf("good", chain(A))
    assert len(look.findings()) == 3
    assert look.total == 6


def test_a_caroot_is_read_with_all_it_publishes() -> None:
    item = {
        "metadata": {"name": "b"},
        "spec": {"certificate": to_pem(B.root)},
        "status": {
            "state": "Active",
            "crossCertificates": [to_pem(cross(B, A)), "rubbish"],
            "signer": {"certificateChain": to_pem(B.signer)},
        },
    }
    found = verification.root_record(item)
    assert fingerprint(found.certificate) == fingerprint(B.root)
    assert (len(found.cross), len(found.signer)) == (1, 1)
