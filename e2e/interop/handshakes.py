"""TLS 1.3 handshakes in this process, with the OpenSSL that Python was built with.

Decides nothing but whether both peers accept: each serves the chain and checks the other's against the
bundle. There is no network, so hundreds of them take a few seconds.
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.errors import HarnessError
from meshca.pki import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.interop.material import Case

_SIDES = (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)
_ROUNDS = 6
"""More than the flights of any TLS 1.3 handshake."""


def version() -> str:
    """Return the version of that OpenSSL."""
    return ssl.OPENSSL_VERSION.split()[1]


def ask(cases: Sequence[Case]) -> dict[str, str]:
    """Return by name why each was refused, ``""`` where client and server both accepted."""
    return {case.name: shake(*(context(case, side, case.bundle_pem) for side in _SIDES)) for case in cases}


def context(case: Case, protocol: int, bundle: str | None = None) -> ssl.SSLContext:
    """Return the settings of a peer that serves a case's chain; it checks its own peer given a ``bundle``."""
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False  # SPIFFE: the URI is the name
    made.verify_mode = ssl.CERT_NONE
    if bundle is not None:
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        made.load_verify_locations(cadata=bundle)
    with tempfile.TemporaryDirectory() as scratch:
        chain, key = Path(scratch, "chain"), Path(scratch, "key")
        chain.write_text(case.chain_pem)
        key.write_bytes(keys.to_pem(case.key))
        made.load_cert_chain(chain, key)
    return made


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    """Shake hands; return why the certificate was refused, ``""`` when both sides are done."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    todo = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    for _ in range(_ROUNDS):
        for side in tuple(todo):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return str(error.verify_message)
            todo.remove(side)
        if not todo:
            return ""
    raise HarnessError("the handshake never ended")
