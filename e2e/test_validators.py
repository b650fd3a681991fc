"""Go's crypto/x509 accepts and refuses the same certificates as we do, for every kind of CA key."""

from __future__ import annotations

from e2e import goverifier
from meshca.pki import certificates
from tests.fakes.pki import NOW
from tests.fakes.validation import MAKERS, case, is_ca


def test_go_agrees_about_every_certificate() -> None:
    answers = goverifier.ask(
        [
            {
                "name": name,
                "certificate": certificates.to_pem(case(name).certificate),
                "others": certificates.to_pem(*case(name).others),
                "roots": certificates.to_pem(*case(name).roots),
                "at": NOW.isoformat(),
                "ca": is_ca(name),
            }
            for name in MAKERS
        ]
    )
    assert set(answers) == set(MAKERS)
    assert {name: why for name, why in answers.items() if (why == "") is not case(name).accepted} == {}
