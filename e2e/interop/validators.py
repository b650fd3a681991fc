"""Other people's validators, each asked about all cases at once.

Decides how each is asked, as strictly as a mesh asks it; never what the answer should be. An answer is
``""`` for an accepted chain, else what the validator said.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from e2e import gnutls, goverifier, tools
from e2e.errors import HarnessError
from e2e.interop import envoys, handshakes
from e2e.interop.situations import ENVOY, ENVOY_SPIFFE, GNUTLS, GO, HANDSHAKE, OPENSSL
from meshca.pki.certificates import to_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from e2e.interop.material import Case

Answers = dict[str, str]
SECONDS = 20
_AT_ONCE = 2


def openssl(cases: Sequence[Case]) -> Answers:
    """Ask ``openssl verify -x509_strict``; nothing but the bundle is trusted."""
    program = str(tools.openssl())
    fixed = [program, "verify", "-x509_strict", "-purpose", "sslclient", "-no-CApath", "-no-CAstore"]

    def command(leaf: Path, others: Path, bundle: Path) -> list[str]:
        return [*fixed, "-CAfile", str(bundle), "-untrusted", str(others), str(leaf)]

    def judge(done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode == 0 and done.stdout.rstrip().endswith(": OK"):
            return ""
        return _said(r"error \d+ at \d+ depth lookup: (.+)", done)

    return _each(cases, command, judge)


def certtool(cases: Sequence[Case]) -> Answers:
    """Ask GnuTLS; it takes leaf and others as one chain, as they are served."""
    program = str(gnutls.certtool())

    def command(leaf: Path, others: Path, bundle: Path) -> list[str]:
        chain = leaf.with_name(f"{leaf.name}.chain")
        chain.write_text(leaf.read_text() + others.read_text())
        return [program, "--verify", "--load-ca-certificate", str(bundle), "--infile", str(chain)]

    def judge(done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode == 0 and "Chain verification output: Verified" in done.stdout:
            return ""
        return _said(r"Chain verification output: Not verified\. (.+)", done)

    return _each(cases, command, judge)


def go(cases: Sequence[Case]) -> Answers:
    """Ask Go's crypto/x509, for server and for client authentication."""
    at = datetime.now(UTC).isoformat()
    return goverifier.ask(
        [
            {
                "name": case.name,
                "certificate": to_pem(case.chain[0]),
                "others": to_pem(*case.chain[1:]),
                "roots": case.bundle_pem,
                "at": at,
                "ca": False,
            }
            for case in cases
        ]
    )


def openssl_version() -> str:
    """Return the version of the ``openssl`` that is asked."""
    said = subprocess.run([tools.openssl(), "version"], capture_output=True, text=True, check=True).stdout
    return said.split()[1]


ASK: Mapping[str, Callable[[Sequence[Case]], Answers]] = {
    OPENSSL: openssl,
    HANDSHAKE: handshakes.ask,
    GO: go,
    GNUTLS: certtool,
    ENVOY: envoys.ask_trusted_ca,
    ENVOY_SPIFFE: envoys.ask_spiffe,
}
VERSION: Mapping[str, Callable[[], str]] = {
    OPENSSL: openssl_version,
    HANDSHAKE: handshakes.version,
    GO: lambda: goverifier.version().removeprefix("go"),
    GNUTLS: lambda: gnutls.version(gnutls.certtool()),
    ENVOY: envoys.version,
    ENVOY_SPIFFE: envoys.version,
}


def _each(
    cases: Sequence[Case],
    command: Callable[[Path, Path, Path], list[str]],
    judge: Callable[[subprocess.CompletedProcess[str]], str],
) -> Answers:
    """Run one process for each case, as each is about another chain and bundle: about 10 ms each."""
    with tempfile.TemporaryDirectory() as scratch:

        def ask(number: int) -> str:
            case = cases[number]
            leaf, others, bundle = (
                Path(scratch, f"{number}.{name}") for name in ("leaf", "others", "bundle")
            )
            leaf.write_text(to_pem(case.chain[0]))
            others.write_text(to_pem(*case.chain[1:]))
            bundle.write_text(case.bundle_pem)
            done = subprocess.run(
                command(leaf, others, bundle), capture_output=True, text=True, check=False, timeout=SECONDS
            )
            return judge(done)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(ask, range(len(cases))))
    return {case.name: answer for case, answer in zip(cases, answers, strict=True)}


def _said(pattern: str, done: subprocess.CompletedProcess[str]) -> str:
    text = f"{done.stdout}\n{done.stderr}"
    found = re.search(pattern, text)
    if found is None:
        raise HarnessError(
            f"{done.args[0]}: exit {done.returncode}, and no verdict in:\n{text.strip()[-800:]}"
        )
    return found[1].strip()
