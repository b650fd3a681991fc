"""Which root a certificate needs: the one its signer was issued under."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshca.engine.evidence import root_of
from meshca.errors import InvalidError
from meshca.pki import issuance
from meshca.pki.certificates import fingerprint
from tests.fakes import pki
from tests.fakes.pki import NOW

if TYPE_CHECKING:
    from cryptography import x509

OLD, NEW = pki.authority(), pki.authority(name="new")
CROSS = issuance.cross_certificate(NEW.root, issuer_cert=OLD.root, issuer_key=OLD.root_key, now=NOW)


@pytest.mark.parametrize(
    "trusted",
    [
        pytest.param([OLD.root, NEW.root], id="old, new"),
        pytest.param([NEW.root, OLD.root], id="new, old"),
        pytest.param([NEW.root], id="new"),
    ],
)
def test_cross_certificate_beside_a_signer_is_no_need(trusted: list[x509.Certificate]) -> None:
    assert root_of(NEW.signer, [CROSS], trusted, NOW) == fingerprint(NEW.root)


def test_older_root_counts_only_where_the_own_one_is_not_trusted() -> None:
    assert root_of(NEW.signer, [CROSS], [OLD.root], NOW) == fingerprint(OLD.root)
    with pytest.raises(InvalidError):
        root_of(NEW.signer, [], [OLD.root], NOW)
