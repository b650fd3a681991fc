"""Keys that the operator makes for a request and keeps in a Secret of its namespace.

Decides how a Secret is created, restored, repaired and renewed without ever touching one that is not
this request's: the first write is a plain create, later ones carry the Secret's uid. A new certificate
always has a new key. Never keeps a key in memory.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.engine.evidence import facts_of_issue, facts_of_text, root_of
from meshca.errors import AlreadyExistsError, ForbiddenError, InvalidError, NotFoundError, UnknownOutcomeError
from meshca.pki import chain, keys
from meshca.pki.certificates import load_all, to_pem
from meshca.planning.leaf import secret_is_sound
from meshca.planning.moves import bundle_digest
from meshca.planning.refusals import secret_conflict
from meshca.planning.secrets import CERTIFICATE, KEY, data_of, encode, owner_uid, secret_view
from meshca.planning.views import Meta, labels_of, newer
from meshca.providers.builtin import run_key_work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from cryptography import x509

    from meshca.clock import Clock
    from meshca.engine.ports import Cluster
    from meshca.engine.store import Store
    from meshca.pki.keys import PrivateKey, PublicKey
    from meshca.planning.authority import Authority
    from meshca.planning.leaf import Issue
    from meshca.planning.views import IssuedFacts, LeafView

JSON = dict[str, Any]
EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a managed key: the facts of its certificate, or why the Secret is not ours."""

    facts: IssuedFacts | None = None
    text: str = ""
    conflict: str = ""
    signed: bool = False


class ManagedKeys:
    """Writes managed Secrets in the namespaces where the chart lets the operator."""

    def __init__(self, cluster: Cluster, store: Store, clock: Clock, namespaces: Collection[str]) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._namespaces = frozenset(namespaces)
        self._doubtful: set[tuple[str, str]] = set()

    def allowed(self, namespace: str) -> bool:
        """Tell whether keys may be kept in a namespace."""
        return EVERYWHERE in self._namespaces or namespace in self._namespaces

    async def ensure(
        self,
        view: LeafView,
        issue: Issue,
        authority: Authority,
        sign: Callable[[PublicKey], Awaitable[x509.Certificate]],
    ) -> Kept:
        """Make the Secret hold a certificate for this request: take over a sound one, or make a new pair."""
        place = (view.meta.namespace, view.spec.secret_name)
        body = await self._read(*place) if self._may_exist(view) else None
        self._doubtful.discard(place)
        if body is None:
            return await self._create(view, issue, authority, sign)
        if owner_uid(body) != view.meta.uid:
            return Kept(conflict=secret_conflict(view.spec.secret_name).message)
        kept = self._restored(view, issue, authority, body)
        if kept is not None:
            self._note(body)
            return kept
        return await self._renew(view, issue, authority, sign, Meta.of(body))

    async def is_sound(self, view: LeafView) -> bool:
        """Look at the Secret itself, and tell whether it holds what was issued, whatever was known of it."""
        place = (view.meta.namespace, view.spec.secret_name)
        body = await self._read(*place)
        if body is None or labels_of(body).get(names.LABEL_LEAF) != "true":
            # Without its label nobody would hear what becomes of it.
            return False
        self._note(body)
        return secret_is_sound(view, self._store.secrets[place])

    async def rebundle(self, view: LeafView, authority: Authority) -> None:
        """Put the present bundle into the Secret of a request; its key and chain stay as they are."""
        place = (view.meta.namespace, view.spec.secret_name)
        known = self._store.secrets[place]
        body = {
            "metadata": {
                "uid": known.uid,
                "resourceVersion": known.resource_version,
                "annotations": _notes(authority.bundle),
            },
            "data": {names.BUNDLE_KEY: encode(authority.bundle)},
        }
        with _not_the_requests_fault():
            self._note(await self._cluster.patch(names.SECRET, place[1], place[0], body))

    def _may_exist(self, view: LeafView) -> bool:
        """Return whether to read before writing: not for a fresh request whose Secret nobody has seen."""
        place = (view.meta.namespace, view.spec.secret_name)
        return place in self._store.secrets or place in self._doubtful or bool(view.state)

    async def _read(self, namespace: str, name: str) -> JSON | None:
        try:
            return await self._cluster.get(names.SECRET, name, namespace)
        except NotFoundError:
            return None

    async def _create(
        self,
        view: LeafView,
        issue: Issue,
        authority: Authority,
        sign: Callable[[PublicKey], Awaitable[x509.Certificate]],
    ) -> Kept:
        key, leaf, text = await self._pair(issue, authority, sign)
        try:
            with _not_the_requests_fault():
                body = await self._cluster.create(names.SECRET, _secret(view, key, text, authority.bundle))
        except UnknownOutcomeError:
            self._doubtful.add((view.meta.namespace, view.spec.secret_name))
            raise
        except AlreadyExistsError:
            found = await self._read(view.meta.namespace, view.spec.secret_name)
            if found is None:
                raise
            body = found
            if owner_uid(body) != view.meta.uid:
                return Kept(conflict=secret_conflict(view.spec.secret_name).message, signed=True)
            kept = self._restored(view, issue, authority, body)
            if kept is not None:
                self._note(body)
                return kept
            return await self._renew(view, issue, authority, sign, Meta.of(body))
        self._note(body)
        return Kept(facts=facts_of_issue(leaf, text, authority.root), text=text, signed=True)

    async def _renew(
        self,
        view: LeafView,
        issue: Issue,
        authority: Authority,
        sign: Callable[[PublicKey], Awaitable[x509.Certificate]],
        meta: Meta,
    ) -> Kept:
        key, leaf, text = await self._pair(issue, authority, sign)
        wanted = _secret(view, key, text, authority.bundle)
        wanted["metadata"]["uid"] = meta.uid
        with _not_the_requests_fault():
            self._note(await self._cluster.apply(names.SECRET, wanted))
        return Kept(facts=facts_of_issue(leaf, text, authority.root), text=text, signed=True)

    async def _pair(
        self,
        issue: Issue,
        authority: Authority,
        sign: Callable[[PublicKey], Awaitable[x509.Certificate]],
    ) -> tuple[PrivateKey, x509.Certificate, str]:
        spec = issue.key
        assert spec is not None
        key = await run_key_work(spec, lambda: keys.generate(spec))
        leaf = await sign(key.public_key())
        return key, leaf, to_pem(leaf) + authority.chain

    def _restored(self, view: LeafView, issue: Issue, authority: Authority, body: JSON) -> Kept | None:
        """Return the facts of a Secret that holds what this request would get and is not due for renewal."""
        now = self._clock.now()
        found = secret_view(body)
        if not found.consistent or (view.issued is not None and view.issued.serial == found.serial):
            return None
        try:
            text = data_of(body, CERTIFICATE).decode("ascii")
            leaf, signer, *others = load_all(text)
            chain.verify(leaf, [signer, *others], authority.trusted, at=now)
            facts = facts_of_text(text, root_of(signer, others, authority.trusted, now))
        except (InvalidError, ValueError):
            return None
        if view.issued is not None and authority.root not in (view.issued.root, facts.root):
            # What a rotation asks to be replaced is not replaced by more of the same.
            return None
        half = facts.not_before + (facts.not_after - facts.not_before) / 2
        if facts.spiffe_id != issue.names.spiffe_id.uri or now >= half:
            return None
        return Kept(facts=facts, text=text)

    def _note(self, body: JSON) -> None:
        """Keep what was just written or read, so that a late watch event is not taken for a change."""
        view = secret_view(body)
        meta = Meta.of(body)
        place = (meta.namespace, meta.name)
        known = self._store.secrets.get(place)
        if known is None or known.uid != view.uid or newer(view.resource_version, known.resource_version):
            self._store.secrets[place] = view


@contextmanager
def _not_the_requests_fault() -> Iterator[None]:
    """Take for a refusal of ours what the API server calls invalid: a webhook's denial is answered 400."""
    try:
        yield
    except InvalidError as error:
        raise ForbiddenError(error.message, reason=error.reason) from error


def _notes(bundle: str) -> dict[str, str]:
    """Record which bundle is written, by which a root that somebody adds to it is noticed."""
    return {names.ANNOTATION_BUNDLE_DIGEST: bundle_digest(bundle)}


def _secret(view: LeafView, key: PrivateKey, text: str, bundle: str) -> JSON:
    return {
        "metadata": {
            "name": view.spec.secret_name,
            "namespace": view.meta.namespace,
            "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_LEAF: "true"},
            "annotations": _notes(bundle),
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.LEAF.kind,
                    "name": view.meta.name,
                    "uid": view.meta.uid,
                    "controller": True,
                }
            ],
        },
        "type": "kubernetes.io/tls",
        "data": {
            CERTIFICATE: encode(text),
            KEY: encode(keys.to_pem(key)),
            names.BUNDLE_KEY: encode(bundle),
        },
    }
