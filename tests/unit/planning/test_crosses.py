"""Cross-certificates beside a root, as its Secret is read."""

from __future__ import annotations

import pytest

from meshca.pki import certificates, issuance, keys
from meshca.planning.secrets import CERTIFICATE, CROSS, KEY, encode, load_ca_secret
from tests.fakes import pki


@pytest.mark.parametrize("older_name", ["somebody's root", "another root"])
def test_cross_certificate_is_found_by_key_even_when_both_roots_share_a_name(older_name: str) -> None:
    old, new = pki.key("ECDSA 256", "older"), pki.key("ECDSA 256", "newer")
    older, newer = pki.imported_root(old, subject=older_name), pki.imported_root(new)
    cross = issuance.cross_certificate(newer, issuer_cert=older, issuer_key=old, now=pki.NOW)
    body = {
        "metadata": {"name": "meshca-root-default-0123456789"},
        "data": {
            CERTIFICATE: encode(certificates.to_pem(newer)),
            KEY: encode(keys.to_pem(new)),
            CROSS: encode(certificates.to_pem(cross, newer)),
        },
    }
    assert load_ca_secret(body).view.cross == (cross,)
