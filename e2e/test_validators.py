"""Go's crypto/x509 accepts and refuses the same certificates as we do, for every kind of CA key."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e import cache, toolchain
from meshca.pki import certificates
from tests.fakes.pki import NOW
from tests.fakes.validation import MAKERS, case, is_ca

SOURCE = Path(__file__).parent / "go" / "verify"


@pytest.fixture(scope="module")
def verifier() -> Path:
    """Return the program that asks Go, built once from the standard library alone."""
    program = toolchain.go()
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    recipe = cache.digest(version, *(path.read_bytes() for path in sorted(SOURCE.iterdir())))

    def build(directory: Path) -> None:
        copy = directory / "source"
        shutil.copytree(SOURCE, copy)
        command = [str(program), "build", "-o", str(directory / "verify"), "."]
        cache.run(command, label="verify", cwd=copy, env=toolchain.environment(program))

    return cache.entry("verify", recipe, build) / "verify"


def test_go_agrees_about_every_certificate(verifier: Path) -> None:
    questions = [
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
    done = subprocess.run(
        [verifier], input=json.dumps(questions), capture_output=True, text=True, check=True, timeout=120
    )
    answers = json.loads(done.stdout)
    assert set(answers) == set(MAKERS)
    assert {name: why for name, why in answers.items() if (why == "") is not case(name).accepted} == {}
