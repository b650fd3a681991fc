"""What is known of each published bundle, by watch and by answers, whichever comes first.

Decides which of the two is newer; never what a bundle is to hold, nor where one belongs. Belongs to the
engine's event loop.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.planning.views import Meta, labels_of, newer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class BundleView:
    """A published bundle as watched: whose it is, and the digest of the text it holds."""

    uid: str
    resource_version: str
    owner: str
    digest: str


class Inquiry:
    """A call whose answer is under way, and the places of which something was heard meanwhile."""

    def __init__(self) -> None:
        self.heard: set[Name] = set()


class Bundles:
    """Views by namespace ("" of a ClusterTrustBundle) and name, and which of the objects are ours."""

    def __init__(self) -> None:
        self._views: dict[Name, BundleView] = {}
        self._claimed: set[str] = set()
        self._inquiries: list[Inquiry] = []

    def __contains__(self, place: Name) -> bool:
        return place in self._views

    def get(self, place: Name) -> BundleView | None:
        """Return a view, or None."""
        return self._views.get(place)

    def tell(self, place: Name, view: BundleView) -> None:
        """Take in what the watch tells."""
        self._views[place] = view
        self._heard(place)

    def gone(self, place: Name, uid: str) -> None:
        """Take in that the watch tells of a bundle no more."""
        self._views.pop(place, None)
        if place[0]:
            # A ClusterTrustBundle may be there all the same: it is selected by a label that it can lose.
            self._claimed.discard(uid)
        self._heard(place)

    @contextmanager
    def inquiry(self) -> Iterator[Inquiry]:
        """Remember what is heard while an answer is waited for; hand it to ``answer`` before leaving."""
        inquiry = Inquiry()
        self._inquiries.append(inquiry)
        try:
            yield inquiry
        finally:
            self._inquiries.remove(inquiry)

    def answer(self, inquiry: Inquiry, place: Name, view: BundleView | None) -> bool:
        """Take in an answer (None: no bundle is there) and return whether it is the latest that is known.

        Versions are compared only with what was heard meanwhile: they go back when etcd is restored. After a
        removal meanwhile nobody knows whether the answer is from before or after it: False.
        """
        known = self._views.get(place)
        if place in inquiry.heard and (
            known is None or view is None or newer(known.resource_version, view.resource_version)
        ):
            return False
        if view is None:
            self._views.pop(place, None)
        else:
            self._views[place] = view
        self._heard(place)
        return True

    def claim(self, view: BundleView) -> None:
        """Count an object as ours until it is gone, should somebody take its label off."""
        self._claimed.add(view.uid)

    def is_claimed(self, view: BundleView) -> bool:
        """Tell whether an object was found to be ours."""
        return view.uid in self._claimed

    def _heard(self, place: Name) -> None:
        for inquiry in self._inquiries:
            inquiry.heard.add(place)


def bundle_view(body: Mapping[str, Any]) -> BundleView:
    """Project a ConfigMap or ClusterTrustBundle to what publication needs."""
    meta = Meta.of(body)
    data = body.get("data") or {}
    text = data.get(names.BUNDLE_KEY) if isinstance(data, dict) else None
    if text is None:
        spec = body.get("spec") or {}
        text = spec.get("trustBundle") if isinstance(spec, dict) else None
    digest = hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else ""
    return BundleView(
        uid=meta.uid,
        resource_version=meta.resource_version,
        owner=labels_of(body).get(names.LABEL_TRUST_BUNDLE, ""),
        digest=digest,
    )
