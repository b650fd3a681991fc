"""docs/interop.md: who accepts what, written from a run and read back to be compared with the next one.

Decides what is said and in which order; never what was found. Rows say the same of all pairs of key kinds
unless a cell names the pairs that differ.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from e2e.interop.situations import (
    LEAF_KINDS,
    MAIN_KINDS,
    OTHER_KINDS,
    SECTIONS,
    USUAL,
    VALIDATORS,
    pairs,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from e2e.interop.situations import Situation

Answers = dict[str, str]
Table = dict[str, dict[str, str]]
Sizes = dict[str, tuple[int, ...]]

ACCEPTS: Final = "accepts"
REFUSES: Final = "refuses"
MOSTLY: Final = "mostly refuses"
SIZE_TOLERANCE: Final = 60
"""Bytes by which a chain varies from run to run: ECDSA signatures and serial numbers do."""
_SIZE_COLUMNS: Final = ("no cross-certificate", "one", "two")

_INTRODUCTION = """# Who accepts what during a rotation

Every chain below was put before every validator, with certificates made by the code that makes a CA's. This
page is written by `python -m e2e.interop`; a test runs all of it again and compares. In a rotation `older`,
then `old`, then `new` was the active root; `new by old` is the new root cross-signed by the old one. A
chain is the leaf, its signer, then cross-certificates in the order written; the second part of a row is the
whole bundle of the peer.

Each row was tried with {pairs} pairs of CA keys: each of {main} followed by each of them,
and {others} before and after {usual}. Leaf keys are ECDSA 256 where nothing else is said.

*path* says whether RFC 5280 knows a path. *OpenSSL* is `openssl verify -x509_strict`; *Python ssl* is a TLS
1.3 handshake with client certificates by Python's OpenSSL, strict too; *Go* is crypto/x509; *GnuTLS*
`certtool --verify`; *Envoy* a listener that requires client certificates, once with `trusted_ca` and once
with its SPIFFE validator.

Written with {versions}.
"""
_TEXTS: Final = {
    "quadrants": """## Old and new

Here everybody agrees with the path, for every pair of keys. The row that carries a rotation is `new leaf +
new by old | old`: a peer that never heard of the new root accepts the new leaf. A cross-certificate is
never in the way, neither of an old leaf that carries one for nothing nor once the old root has left the
bundle.
""",
    "two": """## Two cross-certificates side by side

Of several certificates with one subject and key, all but Go follow the **first** that is sent and never try
the next. So the second one helps only peers written in Go: the first should be by the root that peers most
likely have, which is the one that was active last.
""",
    "path": """## Two cross-certificates as one path

The old root's own cross-certificate, from the rotation before, prolongs the path instead: all but GnuTLS
then accept under any of the three roots. GnuTLS climbs to the end of what was sent and mostly misses a
bundle that holds the new root alone.
""",
    "both": """## All three cross-certificates

Here only GnuTLS has a gap, and it is another one: a bundle that holds the old root alone.
""",
    "ended": """## Expired cross-certificates

Behind a valid one, or where the bundle has the new root, an expired cross-certificate does no harm, not
even when the bundle still holds the expired root. In **front** of a valid one it makes Envoy and GnuTLS
refuse. meshca leaves expired ones out of what it issues; a chain that is served for long may still come to
hold one.
""",
    "odd": """## Bundles that meshca never publishes

What is a trust anchor: OpenSSL and the SPIFFE validator want it self-signed, the others take any
certificate of the bundle. One pair of keys only, ECDSA 256.
""",
}
_LEAVES = """## Keys of leaves

Under a CA with ECDSA 256. Envoy refuses two kinds that the API allows, so these are for peers of other
kinds.
"""
_SIZES = """## Bytes on the wire

The served chain as PEM in bytes, every key in it of one kind but the leaf's, which is ECDSA 256. Two
cross-certificates are the most there can be side by side, as at most three roots live. TLS sends DER, a
quarter less.
"""
_COMPARED = """## Compared with what was measured before

An earlier measurement, with Envoy 1.40.0 and OpenSSL 3.0.19 and other certificates, covered the rows of
*Old and new* and those of *Bundles that meshca never publishes*. Every one of its verdicts came out again,
among them that Envoy with `trusted_ca` accepts an anchor that is not self-signed and that OpenSSL and the
SPIFFE validator refuse it. It had neither Go nor GnuTLS, nor more than one cross-certificate, nor expired
ones: those sections are new, and that the first cross-certificate decides was not known from it. That Envoy
takes every kind of CA key, and from a client neither a leaf key of ECDSA 521 nor one of Ed25519, was known
and holds.
"""


def verdict(answers: Answers, validator: str, situation: Situation, tried: Sequence[str]) -> str:
    """Say in a few words what a validator answered about a situation, over the pairs ``tried``."""
    refused = [pair for pair in tried if answers[f"{situation} | {pair}"]]
    if not refused:
        return ACCEPTS
    if not settled(validator, situation):
        return MOSTLY if 2 * len(refused) > len(tried) else "mostly accepts"
    return REFUSES if len(refused) == len(tried) else f"accepts, but not {', '.join(refused)}"


def tried(section: str) -> list[str]:
    """Return the pairs with which the rows of a section are tried."""
    return [str(pair) for pair in (pairs()[:1] if section == "odd" else pairs())]


def table(results: Mapping[str, Answers]) -> Table:
    """Return what each row says of each validator that was asked, by chain and bundle."""
    rows: Table = {}
    for section, situations in SECTIONS.items():
        for situation in situations:
            rows[str(situation)] = {
                name: verdict(answers, name, situation, tried(section)) for name, answers in results.items()
            }
    for kind in LEAF_KINDS:
        name = f"leaf key {kind}"
        rows[name] = {who: REFUSES if answers[name] else ACCEPTS for who, answers in results.items()}
    return rows


def render(rows: Table, versions: Mapping[str, str], sizes: Sizes) -> str:
    """Write the page; ``rows`` must speak of every validator."""
    versions_said = ", ".join(f"{name} {versions[name]}" for name in VALIDATORS)
    introduction = _INTRODUCTION.format(
        pairs=len(pairs()),
        main=", ".join(MAIN_KINDS),
        others=", ".join(OTHER_KINDS),
        usual=USUAL,
        versions=versions_said,
    )
    parts = [introduction]
    for section, situations in SECTIONS.items():
        said = {str(row): ("yes" if row.accepted else "no", rows[str(row)]) for row in situations}
        lines = [_line(*row.split(" | "), path, *_cells(cells)) for row, (path, cells) in said.items()]
        parts += [_TEXTS[section], _head("served", "bundle", "path", *VALIDATORS), *lines, ""]
    leaves = [_line(kind, *_cells(rows[f"leaf key {kind}"])) for kind in LEAF_KINDS]
    parts += [_LEAVES, _head("key", *VALIDATORS), *leaves, ""]
    parts += [_SIZES, _head("CA keys", *_SIZE_COLUMNS)]
    parts += [_line(kind, *map(str, found)) for kind, found in sizes.items()]
    return "\n".join([*parts, "", _COMPARED])


def read(text: str) -> tuple[Table, Sizes]:
    """Read a page that ``render`` wrote: its rows and its sizes."""
    rows: Table = {}
    sizes: Sizes = {}
    columns: list[str] = []
    for line in filter(lambda line: line.startswith("|"), text.splitlines()):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in {"served", "key", "CA keys"}:
            columns = cells
        elif columns[0] == "CA keys" and not cells[0].startswith("--"):
            sizes[cells[0]] = tuple(map(int, cells[1:]))
        elif not cells[0].startswith("--"):
            name = f"leaf key {cells[0]}" if columns[0] == "key" else f"{cells[0]} | {cells[1]}"
            rows[name] = {who: cell for who, cell in zip(columns, cells, strict=True) if who in VALIDATORS}
    return rows, sizes


def same_sizes(one: Sizes, other: Sizes) -> bool:
    """Tell whether two measurements of chains agree within what varies from run to run."""
    values = [tuple(chain.from_iterable(sizes.values())) for sizes in (one, other)]
    return one.keys() == other.keys() and all(
        abs(a - b) <= SIZE_TOLERANCE for a, b in zip(*values, strict=True)
    )


def _cells(row: Mapping[str, str]) -> list[str]:
    return [row[name] for name in VALIDATORS]


def _head(*names: str) -> str:
    return f"{_line(*names)}\n|{'---|' * len(names)}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
