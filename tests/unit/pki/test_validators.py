"""Other people's validators agree with ours about every kind of certificate.

OpenSSL in its strict mode, and the library's own verifier where it takes the keys. Go's is asked by an
end-to-end test, because it needs a toolchain.
"""

from __future__ import annotations

import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from cryptography.x509 import verification

from e2e import tools
from meshca.errors import InvalidError
from meshca.pki import certificates, chain
from tests.fakes.pki import CA_SPECS, NOW, SPIFFE_ID
from tests.fakes.validation import MAKERS, case, is_ca

if TYPE_CHECKING:
    from pathlib import Path

# The library's verifier is made for the web, which knows neither as a CA's key.
UNKNOWN_TO_THE_LIBRARY = ("ECDSA 224", "Ed25519")


@pytest.mark.parametrize("name", MAKERS)
def test_ours(name: str) -> None:
    found = case(name)
    try:
        chain.verify(found.certificate, found.others, found.roots, at=NOW)
    except InvalidError:
        assert not found.accepted
    else:
        assert found.accepted


def test_every_kind_of_ca_key_is_among_the_cases_in_every_role() -> None:
    for text in CA_SPECS:
        assert {f"leaf under {text}", f"signer under {text}", f"root of {text}"} <= set(MAKERS)
        assert {f"leaf under {text}, cross-signed by {old}" for old in CA_SPECS} <= set(MAKERS)


# --- OpenSSL ------------------------------------------------------------------------------------


def _verdicts(program: str, names: list[str], purpose: str, directory: Path) -> dict[str, bool]:
    """Ask one process about all cases that share their roots and what is sent along."""
    directory.mkdir()
    first = case(names[0])
    command = [program, "verify", "-x509_strict", "-attime", str(int(NOW.timestamp())), "-purpose", purpose]
    for option, found in (("-CAfile", first.roots), ("-untrusted", first.others)):
        path = directory / option.strip("-")
        path.write_text(certificates.to_pem(*found))
        command += [option, str(path)] if found else []
    files = {name: directory / f"{number}.pem" for number, name in enumerate(names)}
    for name, path in files.items():
        path.write_text(certificates.to_pem(case(name).certificate))
    command += map(str, files.values())
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    accepted = {line.removesuffix(": OK") for line in done.stdout.splitlines() if line.endswith(": OK")}
    return {name: str(path) in accepted for name, path in files.items()}


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient", "any"])
def test_openssl_in_strict_mode(purpose: str, tmp_path: Path) -> None:
    program = str(tools.openssl())
    asked = [name for name in MAKERS if purpose == "any" or not is_ca(name)]
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in asked:
        groups.setdefault((case(name).roots, case(name).others), []).append(name)
    verdicts: dict[str, bool] = {}
    for number, names in enumerate(groups.values()):
        verdicts |= _verdicts(program, names, purpose, tmp_path / str(number))
    assert verdicts == {name: case(name).accepted for name in asked}


# --- the library ---------------------------------------------------------------------------------


def _subjects(name: str) -> list[str]:
    """Return the names the library's verifier sees; ``VerificationError`` when it refuses."""
    found = case(name)
    store = verification.Store(list(found.roots))
    verifier = verification.PolicyBuilder().store(store).time(NOW).build_client_verifier()
    verified = verifier.verify(found.certificate, list(found.others))
    return [str(subject.value) for subject in verified.subjects or ()]


def _known(name: str) -> bool:
    return name.startswith("leaf of") or not any(text in name for text in UNKNOWN_TO_THE_LIBRARY)


LEAVES = [name for name in MAKERS if not is_ca(name)]


@pytest.mark.parametrize("name", [name for name in LEAVES if _known(name)])
def test_the_librarys_verifier(name: str) -> None:
    if case(name).accepted:
        assert SPIFFE_ID.trust_domain.uri in _subjects(name)[0]
        return
    with pytest.raises(verification.VerificationError):
        _subjects(name)


@pytest.mark.parametrize("name", [name for name in LEAVES if not _known(name)])
def test_the_librarys_verifier_does_not_take_these_keys_so_each_link_is_verified(name: str) -> None:
    with pytest.raises(verification.VerificationError):
        _subjects(name)
    for below, above in pairwise(case(name).chained()):
        below.verify_directly_issued_by(above)


@pytest.mark.parametrize("name", [name for name in MAKERS if is_ca(name)])
def test_the_library_verifies_the_link_above_each_ca_certificate(name: str) -> None:
    case(name).certificate.verify_directly_issued_by(case(name).roots[0])
