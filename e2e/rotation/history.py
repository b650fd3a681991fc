"""What a recorded history shows: which chains met which bundles, what was needed, how the phases went.

Decides what coexisted and hands it to OpenSSL; a leaf that was replaced counts as held by somebody until it
expires, unless a caller says otherwise.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from e2e import tools, workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from e2e.rotation.recorder import State

JSON = dict[str, Any]
Place = tuple[str, str]
Pair = tuple[str, str]
ROOT, CONFIGURATION, LEAF, BUNDLE, SECRET = "root", "configuration", "leaf", "bundle", "secret"
"""The kinds of a recording."""
BATCH = 500
"""Leaves that one process of OpenSSL is given."""


def chain_of(state: State) -> str:
    """Return the chain that a leaf's state shows, "" for none."""
    return str((state.body or {}).get("status", {}).get("certificateChain", ""))


def bundle_of(state: State) -> str:
    """Return the roots that a bundle's state shows, PEM; "" for none."""
    return str((state.body or {}).get("data", {}).get("ca.crt", ""))


def meetings(states: Iterable[State], *, replaced: bool) -> set[Pair]:
    """Return each pair of a chain and a bundle that ever were there at the same time.

    ``replaced`` counts a chain as there although its request shows another one by now.
    """
    chains: dict[Place, set[str]] = defaultdict(set)
    bundles: dict[Place, str] = {}
    pairs: set[Pair] = set()
    for state in states:
        place = (state.namespace, state.name)
        if state.kind == LEAF:
            chain = chain_of(state)
            chains[place] = ({chain} | (chains[place] if replaced else set())) - {""}
            pairs |= {(chain, bundle) for bundle in bundles.values() if chain}
        elif state.kind == BUNDLE:
            bundle = bundle_of(state)
            bundles[place] = bundle
            pairs |= {(chain, bundle) for held in chains.values() for chain in held}
    return pairs


def unmet_needs(states: Iterable[State], *, replaced: bool) -> list[str]:
    """Say at which states a bundle lacked the root that the signer of a live leaf was issued under."""
    needs: dict[Place, set[bytes]] = defaultdict(set)
    bundles: dict[Place, str] = {}
    wrong: list[str] = []
    for state in states:
        place = (state.namespace, state.name)
        if state.kind == LEAF:
            chain = chain_of(state)
            needs[place] = ({needed_root(chain)} if chain else set()) | (needs[place] if replaced else set())
        elif state.kind == BUNDLE:
            bundles[place] = bundle_of(state)
        else:
            continue
        wanted = set().union(*needs.values())
        lacking = [where for where, text in bundles.items() if not wanted <= key_ids(text)]
        wrong += [f"{where} at {state.version}, when {state.kind} {place} changed" for where in lacking]
    return wrong


def activations(states: Iterable[State]) -> list[str]:
    """Return the roots that were active, in order, an instant without any as ""."""
    named = [
        str((state.body or {}).get("status", {}).get("activeRoot", ""))
        for state in states
        if state.kind == CONFIGURATION
    ]
    return without_repeats(named)


def rotations(states: Iterable[State]) -> list[JSON]:
    """Return every state of ``status.rotation`` in order."""
    found = [
        (state.body or {}).get("status", {}).get("rotation")
        for state in states
        if state.kind == CONFIGURATION
    ]
    return [item for item in found if item]


def without_repeats(items: Sequence[str]) -> list[str]:
    """Return what follows another value only."""
    return [*items[:1], *(now for before, now in pairwise(items) if now != before)]


@functools.cache
def _parsed(pem: str) -> tuple[x509.Certificate, ...]:
    return tuple(workload.certificates(pem))


@functools.cache
def needed_root(chain: str) -> bytes:
    """Return the key id of the root under which the signer of a chain was issued."""
    signer = _parsed(chain)[1]
    return signer.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""


@functools.cache
def key_ids(bundle: str) -> frozenset[bytes]:
    """Return the key ids of the roots of a bundle."""
    return frozenset(
        item.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        for item in _parsed(bundle)
    )


def refused_by_openssl(pairs: Iterable[Pair]) -> list[str]:
    """Have OpenSSL verify each pair of a chain and a bundle once, strictly; returns what it complains of."""
    groups: dict[Pair, list[bytes]] = defaultdict(list)
    for chain, bundle in pairs:
        leaf, *others = _parsed(chain)
        between = "".join(item.public_bytes(Encoding.PEM).decode() for item in others)
        groups[bundle, between].append(leaf.public_bytes(Encoding.PEM))
    said: list[str] = []
    for (bundle, between), leaves in groups.items():
        for start in range(0, len(leaves), BATCH):
            said += _verify(bundle, between, leaves[start : start + BATCH])
    return said


def _verify(bundle: str, between: str, leaves: list[bytes]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "roots").write_text(bundle)
        (place / "chain").write_text(between)
        files = [f"leaf-{number}" for number in range(len(leaves))]
        for name, leaf in zip(files, leaves, strict=True):
            (place / name).write_bytes(leaf)
        command = [str(tools.openssl()), "verify", "-x509_strict", "-CAfile", "roots", "-untrusted", "chain"]
        done = subprocess.run([*command, *files], cwd=place, capture_output=True, text=True, check=False)
    well = {f"{name}: OK" for name in files}
    lines = done.stdout.splitlines()
    missing = len(well - set(lines))
    return [*(set(lines) - well), *done.stderr.splitlines(), *([f"{missing} not OK"] if missing else [])]
