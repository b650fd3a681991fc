"""Paths: what is trusted, and one reason for each way it is not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.errors import InvalidError
from meshca.pki import certificates, chain, issuance, keys
from meshca.pki.chain import chain_facts, check_issued, verify
from tests.fakes.pki import (
    ANY_CA_USAGE,
    DAY,
    HOUR,
    NOW,
    SPIFFE_ID,
    authority,
    craft,
    imported_root,
    key,
    make_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OURS = authority()
NEW = authority("ECDSA 256", "new")
FOREIGN = authority("ECDSA 256", "foreign")
LEAF = OURS.leaf()
SECOND = timedelta(seconds=1)


def _cross(new: x509.Certificate = NEW.root, old: x509.Certificate = OURS.root) -> x509.Certificate:
    return issuance.cross_certificate(new, issuer_cert=old, issuer_key=OURS.root_key, now=NOW)


def _refused(
    certificate: x509.Certificate,
    others: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    **changes: Any,
) -> str:
    with pytest.raises(InvalidError) as caught:
        verify(certificate, others, roots, **{"at": NOW, **changes})
    return caught.value.reason


def test_a_path_goes_from_the_leaf_to_the_root() -> None:
    assert verify(LEAF, [OURS.signer], [OURS.root], at=NOW) == [LEAF, OURS.signer, OURS.root]
    assert verify(OURS.signer, [], [OURS.root], at=NOW) == [OURS.signer, OURS.root]


def test_a_root_is_trusted_because_it_is_in_the_bundle() -> None:
    assert verify(OURS.root, [], [FOREIGN.root, OURS.root], at=NOW) == [OURS.root]


def test_order_repetition_and_strangers_do_not_matter() -> None:
    others = [FOREIGN.signer, OURS.root, OURS.signer, LEAF, FOREIGN.root, OURS.signer]
    assert verify(LEAF, others, [FOREIGN.root, OURS.root], at=NOW) == [LEAF, OURS.signer, OURS.root]


def test_074_a_new_leaf_is_trusted_under_the_old_root_through_the_cross_certificate_only() -> None:
    leaf, crossed = NEW.leaf(), _cross()
    assert verify(leaf, [NEW.signer, crossed], [OURS.root], at=NOW) == [leaf, NEW.signer, crossed, OURS.root]
    assert verify(leaf, [NEW.signer, crossed], [NEW.root], at=NOW) == [leaf, NEW.signer, NEW.root]
    assert _refused(leaf, [NEW.signer], [OURS.root]) == "UnknownRoot"


def test_a_dead_end_does_not_hide_another_way() -> None:
    leaf = NEW.leaf()
    expired_old = make_root(OURS.root_key, ttl=3 * HOUR, now=NOW - DAY)
    dead = issuance.cross_certificate(
        NEW.root, issuer_cert=expired_old, issuer_key=OURS.root_key, now=NOW - DAY
    )
    live = _cross()
    assert verify(leaf, [NEW.signer, dead, live], [OURS.root], at=NOW)[2] == live


def test_roots_that_cross_sign_each_other_end() -> None:
    there = _cross()
    back = issuance.cross_certificate(OURS.root, issuer_cert=NEW.root, issuer_key=NEW.root_key, now=NOW)
    assert _refused(LEAF, [OURS.signer, there, back], [FOREIGN.root]) == "UnknownRoot"


@pytest.mark.parametrize(
    ("certificate", "others", "roots", "reason"),
    [
        pytest.param(LEAF, [OURS.signer], [], "UnknownRoot", id="no roots"),
        pytest.param(LEAF, [], [OURS.root], "UnknownRoot", id="no signer"),
        pytest.param(LEAF, [OURS.signer], [FOREIGN.root], "UnknownRoot", id="159 unknown root"),
        pytest.param(LEAF, [FOREIGN.signer], [FOREIGN.root], "UnknownRoot", id="159 not a chain"),
        pytest.param(OURS.root, [OURS.root], [FOREIGN.root], "UnknownRoot", id="a foreign root"),
    ],
)
def test_159_what_nobody_trusted_issued_is_refused(
    certificate: x509.Certificate,
    others: list[x509.Certificate],
    roots: list[x509.Certificate],
    reason: str,
) -> None:
    assert _refused(certificate, others, roots) == reason


# --- chains made by hand: a root, CAs below it, a leaf; each may be bent ------------------------

CA_BASIC: dict[Any, Any] = {
    x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=None), True),
    x509.KeyUsage: (ANY_CA_USAGE, True),
}


def _below(
    issuer: x509.Certificate,
    signer: keys.PrivateKey,
    public: keys.PublicKey,
    extensions: dict[Any, Any] | None = None,
    **changes: Any,
) -> x509.Certificate:
    return craft(
        public, signer, extensions or {}, **{"issuer": issuer.subject, "not_after": NOW + 9 * DAY, **changes}
    )


def _ca(number: int) -> keys.PrivateKey:
    return key("ECDSA 256", f"ca {number}")


def _tower(*bends: dict[str, Any], root: dict[str, Any] | None = None) -> list[x509.Certificate]:
    """Make a root, one CA for each bend, and a leaf at the end; returned from the leaf to the root."""
    made = [imported_root(_ca(0), **(root or {}))]
    for number, bend in enumerate(bends, start=1):
        extensions = {**CA_BASIC, **bend.get("extensions", {})}
        changes = {key: value for key, value in bend.items() if key != "extensions"}
        subject = changes.pop("subject", f"ca {number}")
        made.append(
            _below(
                made[-1], _ca(number - 1), _ca(number).public_key(), extensions, subject=subject, **changes
            )
        )
    made.append(_below(made[-1], _ca(len(bends)), key("ECDSA 256", "leaf").public_key()))
    return made[::-1]


def _path_length(length: int | None, *, ca: bool = True) -> dict[str, Any]:
    return {"extensions": {x509.BasicConstraints: (x509.BasicConstraints(ca=ca, path_length=length), True)}}


def _with(
    kind: type[x509.ExtensionType], value: x509.ExtensionType, *, critical: bool = True
) -> dict[str, Any]:
    return {"extensions": {kind: (value, critical)}}


def _verified(tower: list[x509.Certificate], **changes: Any) -> str:
    """Return "ok", or the reason of the refusal."""
    leaf, *others, root = tower
    try:
        path = verify(leaf, others, [root], **{"at": NOW, **changes})
    except InvalidError as error:
        return error.reason
    assert path == tower
    return "ok"


AGO, LATER = NOW - HOUR, NOW + HOUR


@pytest.mark.parametrize(
    ("tower", "at", "result"),
    [
        pytest.param(lambda: _tower({}), NOW, "ok", id="all valid"),
        pytest.param(lambda: _tower({"not_after": NOW}), NOW, "ok", id="last second"),
        pytest.param(lambda: _tower({"not_before": NOW}), NOW, "ok", id="first second"),
        pytest.param(lambda: _tower({}), NOW + 20 * DAY, "Expired", id="leaf expired"),
        pytest.param(lambda: _tower({}), NOW - DAY, "NotYetValid", id="leaf not yet valid"),
        pytest.param(lambda: _tower({"not_after": NOW - SECOND}), NOW, "Expired", id="CA expired"),
        pytest.param(lambda: _tower({"not_before": NOW + SECOND}), NOW, "NotYetValid", id="CA not yet valid"),
        pytest.param(lambda: _tower({}, root={"not_after": NOW - SECOND}), NOW, "Expired", id="root expired"),
        pytest.param(
            lambda: _tower({}, root={"not_before": LATER}), NOW, "NotYetValid", id="root not yet valid"
        ),
        pytest.param(
            lambda: _tower({"not_after": LATER}, root={"not_before": LATER + SECOND}),
            LATER,
            "NotYetValid",
            id="no common span, root",
        ),
        pytest.param(
            lambda: _tower({"not_after": LATER}, root={"not_before": LATER + SECOND}),
            LATER + SECOND,
            "Expired",
            id="no common span, CA",
        ),
    ],
)
def test_159_every_certificate_of_the_path_must_be_valid(
    tower: Callable[[], list[x509.Certificate]], at: Any, result: str
) -> None:
    assert _verified(tower(), at=at) == result


@pytest.mark.parametrize(
    ("tower", "result"),
    [
        pytest.param(lambda: _tower(_path_length(0)), "ok", id="signer 0"),
        pytest.param(lambda: _tower({}, _path_length(0)), "ok", id="last one 0"),
        pytest.param(lambda: _tower(_path_length(0), {}), "PathTooLong", id="0 above a CA"),
        pytest.param(lambda: _tower(_path_length(1), {}), "ok", id="1 above a CA"),
        pytest.param(lambda: _tower(_path_length(1), {}, {}), "PathTooLong", id="1 above two"),
        pytest.param(lambda: _tower({}, {}, root={"path_length": 1}), "PathTooLong", id="root 1"),
        pytest.param(lambda: _tower({}, {}, root={"path_length": 2}), "ok", id="root 2"),
        pytest.param(lambda: _tower({}, root={"path_length": 0}), "PathTooLong", id="root 0"),
    ],
)
def test_path_lengths_are_kept(tower: Callable[[], list[x509.Certificate]], result: str) -> None:
    assert _verified(tower()) == result


def test_a_self_issued_certificate_does_not_count_for_the_path_length() -> None:
    # A user's new root under the same name, cross-signed by the old one.
    tower = _tower({"subject": "somebody's root"}, {}, root={"path_length": 1})
    assert _verified(tower) == "ok"


@pytest.mark.parametrize(
    ("bend", "result"),
    [
        pytest.param(_path_length(None, ca=False), "NotACA", id="CA:FALSE"),
        pytest.param({"extensions": {x509.BasicConstraints: None}}, "NotACA", id="no basicConstraints"),
        pytest.param({"extensions": {x509.KeyUsage: None}}, "ok", id="no keyUsage"),
        pytest.param(
            _with(
                x509.KeyUsage,
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=False,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
            ),
            "NotACA",
            id="no keyCertSign",
        ),
        pytest.param(_with(x509.OCSPNoCheck, x509.OCSPNoCheck()), "BadExtension", id="unknown critical"),
        pytest.param(_with(x509.OCSPNoCheck, x509.OCSPNoCheck(), critical=False), "ok", id="unknown"),
        pytest.param(
            _with(x509.NameConstraints, x509.NameConstraints([x509.DNSName("a")], None)),
            "BadExtension",
            id="name constraints",
        ),
        pytest.param(
            _with(x509.ExtendedKeyUsage, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
            "BadExtension",
            id="server only",
        ),
        pytest.param(
            _with(
                x509.ExtendedKeyUsage,
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
            ),
            "ok",
            id="server and client",
        ),
        pytest.param({"algorithm": hashes.SHA224()}, "BadSignature", id="SHA-224"),
    ],
)
def test_a_ca_in_between_must_be_one(bend: dict[str, Any], result: str) -> None:
    assert _verified(_tower(bend)) == result


def test_a_leaf_is_no_issuer() -> None:
    below = _below(LEAF, key("ECDSA 256", "leaf"), key("ECDSA 256", "victim").public_key())
    assert _refused(below, [LEAF, OURS.signer], [OURS.root]) == "NotACA"


def test_a_forged_signature_is_refused() -> None:
    forged = _below(OURS.signer, FOREIGN.signer_key, key("ECDSA 256", "leaf").public_key())
    assert _refused(forged, [OURS.signer], [OURS.root]) == "BadSignature"


def test_a_weak_key_in_between_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    root = imported_root(_ca(0))
    middle = _below(root, _ca(0), weak.public_key(), CA_BASIC, subject="weak")
    leaf = _below(middle, weak, key("ECDSA 256", "leaf").public_key())
    assert _refused(leaf, [middle], [root]) == "BadKey"


def test_key_ids_choose_between_issuers_of_one_name() -> None:
    twin = imported_root(key("ECDSA 256", "twin"), subject="twin")
    other = imported_root(key("ECDSA 256", "other twin"), subject="twin")
    aki = x509.AuthorityKeyIdentifier(certificates.subject_key_id_of(twin), None, None)
    leaf = _below(
        twin,
        key("ECDSA 256", "twin"),
        key("ECDSA 256", "leaf").public_key(),
        {x509.AuthorityKeyIdentifier: (aki, False)},
    )
    assert verify(leaf, [], [other, twin], at=NOW) == [leaf, twin]
    assert _refused(leaf, [], [other]) == "UnknownRoot"


def test_the_reason_is_that_of_the_attempt_that_came_furthest() -> None:
    leaf, signer, _ = _tower({})
    far = imported_root(_ca(0), not_after=NOW - SECOND)
    assert _refused(leaf, [FOREIGN.signer, signer], [FOREIGN.root, far]) == "Expired"


def test_work_is_bounded_however_the_input_was_chosen() -> None:
    private = key("ECDSA 256", "maze")
    maze = [imported_root(private, subject="maze", not_after=NOW + number * DAY) for number in range(1, 31)]
    leaf = _below(maze[0], private, key("ECDSA 256", "leaf").public_key())
    assert _refused(leaf, maze, [OURS.root]) == "TooComplex"


def test_a_path_of_more_than_ten_certificates_is_refused() -> None:
    assert _verified(_tower(*[{}] * 8)) == "ok"
    assert _verified(_tower(*[{}] * 9)) == "TooComplex"


# --- what a status says ------------------------------------------------------------------------


def test_an_issued_chain_is_read_with_its_facts() -> None:
    crossed = _cross()
    leaf = NEW.leaf()
    found = chain_facts("a comment\n" + certificates.to_pem(leaf, NEW.signer, crossed))
    assert found.certificates == (leaf, NEW.signer, crossed)
    assert found.leaf == chain.facts(leaf)
    assert found.signer == chain.facts(NEW.signer)
    assert found.leaf.uris == (SPIFFE_ID.uri,)
    assert found.leaf.authority_key_id == found.signer.subject_key_id


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        pytest.param(lambda: "", "Invalid", "no CERTIFICATE block", id="159 empty"),
        pytest.param(lambda: "garbage", "Invalid", "no CERTIFICATE block", id="159 garbage"),
        pytest.param(
            lambda: "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----",
            "Invalid",
            "cannot be decoded",
            id="159 garbage inside",
        ),
        pytest.param(lambda: certificates.to_pem(LEAF), "NotAChain", "without its signer", id="leaf alone"),
        pytest.param(
            lambda: certificates.to_pem(OURS.signer, OURS.root),
            "NotAChain",
            "not a leaf followed by",
            id="no leaf",
        ),
        pytest.param(
            lambda: certificates.to_pem(LEAF, LEAF), "NotAChain", "not a leaf followed by", id="no signer"
        ),
        pytest.param(
            lambda: certificates.to_pem(LEAF, OURS.root),
            "NotAChain",
            "was not issued by",
            id="signer left out",
        ),
        pytest.param(
            lambda: certificates.to_pem(LEAF, FOREIGN.signer),
            "NotAChain",
            "was not issued by",
            id="159 not a chain",
        ),
        pytest.param(
            lambda: certificates.to_pem(
                _below(OURS.signer, FOREIGN.signer_key, key("ECDSA 256", "leaf").public_key()), OURS.signer
            ),
            "BadSignature",
            "does not verify",
            id="forged",
        ),
        pytest.param(
            lambda: certificates.to_pem(*[LEAF, OURS.signer] * 6),
            "Invalid",
            "12 certificates, more than 10",
            id="many",
        ),
        pytest.param(lambda: "x" * 70_000, "Invalid", "longer than 65536 bytes", id="huge"),
    ],
)
def test_159_a_status_that_somebody_wrote_is_refused(
    text: Callable[[], str], reason: str, message: str
) -> None:
    with pytest.raises(InvalidError, match=message) as caught:
        chain_facts(text())
    assert caught.value.reason == reason


def test_the_limit_in_bytes_is_the_callers() -> None:
    text = certificates.to_pem(LEAF, OURS.signer)
    assert chain_facts(text, limit=len(text)).leaf.fingerprint == certificates.fingerprint(LEAF)
    with pytest.raises(InvalidError, match="longer than"):
        chain_facts(text, limit=len(text) - 1)


def test_a_signature_of_an_algorithm_outside_the_list_is_not_tried() -> None:
    weak = _below(OURS.root, OURS.root_key, key("ECDSA 256", "leaf").public_key(), algorithm=hashes.SHA224())
    with pytest.raises(InvalidError, match="ECDSA_WITH_SHA224 is not allowed"):
        check_issued(weak, OURS.root)
