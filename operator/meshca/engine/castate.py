"""Reading CARoots and the claims of other configurations out of raw objects.

Decides how a CARoot's annotations and certificate are understood, and who came first where two
configurations want the same trust domain or bundle. Believes nothing in a CARoot's
status: the cross-certificates of a mirrored root are read there, and verified before they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import DEFAULT_TRUST_BUNDLE
from meshca.api.v1alpha1.scalars import parse_duration
from meshca.errors import InvalidError
from meshca.pki import certificates
from meshca.planning.ca import MIRRORED, ImportedPair, Root
from meshca.planning.primaryfacts import read_crosses
from meshca.planning.secondaries import read_intermediates
from meshca.planning.secrets import renewal_of
from meshca.planning.views import Meta, annotations_of, read_time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import timedelta

JSON = dict[str, Any]


def read_roots(bodies: Iterable[JSON], configuration: str) -> tuple[Root, ...]:
    """Return the CARoots of a configuration; one whose certificate cannot be read is left out."""
    found = (read_root(body) for body in bodies if _spec(body).get("caConfigurationName") == configuration)
    return tuple(root for root in found if root is not None)


def unreadable_roots(bodies: Iterable[JSON], configuration: str) -> tuple[str, ...]:
    """Name the CARoots of a configuration whose certificate cannot be read: they are there all the same."""
    mine = (body for body in bodies if _spec(body).get("caConfigurationName") == configuration)
    return tuple(Meta.of(body).name for body in mine if read_root(body) is None)


def read_root(body: JSON) -> Root | None:
    """Read one CARoot, or None when its certificate cannot be read."""
    spec, notes = _spec(body), annotations_of(body)
    mirrored = spec.get("source") == MIRRORED
    try:
        certificate = certificates.load_one(str(spec.get("certificate", "")))
        facts = certificates.facts(certificate)
    except InvalidError:
        return None
    return Root(
        meta=Meta.of(body),
        certificate=certificate,
        facts=facts,
        pem=certificates.to_pem(certificate),
        source=str(spec.get("source", "")),
        key_secret=str(spec.get("keySecretName", "")),
        base=notes.get(names.ANNOTATION_IDENTITY, ""),
        renewal=renewal_of(notes),
        activated_at=read_time(notes.get(names.ANNOTATION_ACTIVATED_AT, "")),
        rotated_out_at=read_time(notes.get(names.ANNOTATION_ROTATED_OUT_AT, "")),
        prunable_after=read_time(notes.get(names.ANNOTATION_PRUNABLE_AFTER, "")),
        largest_leaf_ttl=_duration(notes.get(names.ANNOTATION_LARGEST_LEAF_TTL, "")),
        status=dict(body.get("status") or {}),
        published_at=read_time(notes.get(names.ANNOTATION_PUBLISHED_AT, "")),
        trigger=notes.get(names.ANNOTATION_TRIGGER, ""),
        provider=notes.get(names.ANNOTATION_PROVIDER, ""),
        prune_now=notes.get(names.ANNOTATION_PRUNE_NOW, ""),
        finalizers=_finalizers(body),
        intermediates=read_intermediates(notes.get(names.ANNOTATION_INTERMEDIATES, "")),
        cross=read_crosses((body.get("status") or {}).get("crossCertificates")) if mirrored else (),
    )


class Imports:
    """Who is about to import which key: two configurations of the same moment have no CARoot yet that tells.

    One process decides for all of them, so the first to look comes first.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def first(self, key: str, mine: str, living: Collection[str]) -> str:
        """Return the configuration that came first with a public key, from now on this one if none did."""
        self.forget(mine, but=key)
        if self._first.get(key) not in living:
            self._first[key] = mine
        return self._first[key]

    def forget(self, configuration: str, but: str = "") -> None:
        """Give up what a configuration was about to import, save one key."""
        kept = {key: owner for key, owner in self._first.items() if owner != configuration or key == but}
        self._first = kept


def alone(
    imported: ImportedPair | None,
    roots: Iterable[JSON],
    living: Collection[str],
    mine: str,
    imports: Imports,
) -> ImportedPair | None:
    """Refuse an imported root whose key serves another configuration: two meshes would trust each other.

    One that this configuration holds already is never refused, so that a running CA goes on; one whose
    other configuration is gone is free.
    """
    if imported is None or not imported.public_key:
        imports.forget(mine)
        return imported
    owners: dict[str, str] = {}
    for body in roots:
        root, owner = read_root(body), str(_spec(body).get("caConfigurationName", ""))
        if root is not None and root.facts.public_key_sha256 == imported.public_key:
            owners[owner] = root.meta.name
    others = sorted(owners.keys() & set(living))
    if mine in owners:
        return imported
    if others:
        return ImportedPair(
            "",
            "",
            f"the imported root has the key of CARoot {owners[others[0]]!r} of CAConfiguration {others[0]!r}:"
            " each would trust the certificates of the other; import a root with a key of its own",
        )
    first = imports.first(imported.public_key, mine, living)
    if first == mine:
        return imported
    why = f"CAConfiguration {first!r} is about to import the same root: import one with a key of its own"
    return ImportedPair("", "", why)


def rival(body: JSON, everyone: Iterable[JSON], what: str) -> str:
    """Name the other configuration that has a claim already, or "".

    ``what`` is "trustDomain" or "bundle". A configuration with an active root comes before one without,
    then the older one.
    """
    mine, claim = _rank(body), _claim(body, what)
    if not claim:
        return ""
    for other in everyone:
        if Meta.of(other).uid != Meta.of(body).uid and _claim(other, what) == claim and _rank(other) < mine:
            return Meta.of(other).name
    return ""


def _claim(body: JSON, what: str) -> str:
    spec = _spec(body)
    if what == "trustDomain":
        status = body.get("status") or {}
        return str(status.get("trustDomain") or spec.get("trustDomain") or "")
    bundle = spec.get("trustBundle") or {}
    return str(bundle.get("configMapName") or DEFAULT_TRUST_BUNDLE)


def _rank(body: JSON) -> tuple[bool, str, str]:
    meta, status = Meta.of(body), body.get("status") or {}
    return (not status.get("activeRoot"), str(meta.created), meta.uid)


def _spec(body: JSON) -> Mapping[str, Any]:
    spec = body.get("spec")
    return spec if isinstance(spec, dict) else {}


def _finalizers(body: JSON) -> tuple[str, ...]:
    found = (body.get("metadata") or {}).get("finalizers")
    return tuple(str(item) for item in found) if isinstance(found, list) else ()


def _duration(text: str) -> timedelta | None:
    try:
        return parse_duration(text)
    except ValueError:
        return None
