"""The product broken on purpose, in at least one way for each invariant: the simulation must notice each.

Every entry replaces something in the product by what somebody might have written by mistake. ``invariant``
is what the judge has to name, ``seeds`` are histories that are known to show it.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

from meshca.api import names
from meshca.engine import authorities, configurations, leafstatus, leaves, lookout, managed, publisher, turns
from meshca.pki import certificates, issuance, keys
from meshca.pki import issuer as issuers
from meshca.planning import authority, naming, pruning, rotation, secondaries, signers
from meshca.planning import leaf as planned
from meshca.planning.ca import Evidence
from meshca.planning.views import Meta
from tests.simulation.world import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON = dict[str, Any]
Patch = tuple[object, str, object]
USUAL = Scope(events=40, prune=False)
WISHES = Scope(events=25, prune=False, only=("trigger", "csr"))
LEAVES = Scope(events=8, prune=False, only=("csr", "managed", "manual"))
ROTATION = Scope(events=8, prune=True, only=("trigger", "csr", "managed"))
SECRETS = Scope(events=15, prune=False, only=("managed", "foreign_secret"))
LEAVING = Scope(events=25, prune=False, only=("trigger", "csr", "managed", "selector", "label"))
CALM = Scope(events=3, prune=False)
FOLLOWING = Scope(events=10, prune=False, only=("trigger", "csr", "managed"))


@dataclass(frozen=True, slots=True)
class Breakage:
    """One way to break the code."""

    name: str
    invariant: str
    patches: Callable[[], list[Patch]]
    seeds: tuple[int, ...] = (1, 2, 3)
    scope: Scope = USUAL
    mesh: bool = False
    """Whether it takes several clusters to notice it."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        with ExitStack() as stack:
            for target, name, new in self.patches():
                stack.enter_context(mock.patch.object(target, name, new))
            yield


def _forgets_the_active_root() -> list[Patch]:
    """Statuses of a configuration are written without what was there before."""
    real = configurations.ConfigurationReconciler._write_status

    async def write(self: Any, body: JSON, plan: Any) -> None:
        status = {key: value for key, value in plan.status.items() if key != "activeRoot"}
        await real(self, body, replace(plan, status=status))

    return [(configurations.ConfigurationReconciler, "_write_status", write)]


def _any_number_of_roots() -> list[Patch]:
    return [(rotation, "MOST_LIVE", 30)]


def _leaves_without_cross_certificates() -> list[Patch]:
    """A leaf is served with its signer only."""
    real = authorities.Authorities.set

    def set_(self: Any, configuration: str, found: Any) -> bool:
        if isinstance(found, authority.Authority):
            found = replace(found, chain=certificates.to_pem(found.signer))
        return real(self, configuration, found)

    return [(authorities.Authorities, "set", set_)]


def _gate_is_always_open() -> list[Patch]:
    """A new root signs before anybody was told of it, and nobody vouches for it."""
    return [
        (rotation, "gate", lambda _: rotation.Gate(is_open=True)),
        *_leaves_without_cross_certificates(),
    ]


def _prunes_by_what_the_watch_told() -> list[Patch]:
    """A root is thrown away at once, and nobody lists who needs it."""

    async def nobody(_self: Any, _configuration: str, root: Any) -> Evidence:
        return Evidence(root.facts.fingerprint, (), 0)

    return [
        (lookout.Lookout, "evidence", nobody),
        (rotation, "keep_for", lambda *_: timedelta(0)),
        (pruning, "_watched", lambda *_: None),
    ]


def _leaves_outlive_their_signer() -> list[Patch]:
    """Lifetimes of leaves are not cut to the signer's, and the lint believes it."""
    real, issuer_of = issuance.leaf_certificate, issuers.issuer_of

    def generous(certificate: Any) -> Any:
        found = issuer_of(certificate)
        return replace(found, not_after=found.not_after + timedelta(days=365))

    def leaf_certificate(*args: Any, **more: Any) -> Any:
        with mock.patch.object(issuance, "issuer_of", generous):
            return real(*args, **(more | {"ttl": timedelta(hours=48)}))

    return [(issuance, "leaf_certificate", leaf_certificate)]


def _signer_in_use_is_removed() -> list[Patch]:
    """Every signer counts as replaced."""
    return [(signers, "replaced", lambda found: found.snapshot.signer_secrets)]


def _key_in_the_status() -> list[Patch]:
    """A message shows too much."""
    real = leafstatus.issued_status

    def issued_status(*args: Any) -> JSON:
        status = real(*args)
        key = keys.generate(keys.KeySpec.of("ECDSA", 256))
        status["conditions"][0]["message"] = keys.to_pem(key).decode()
        return status

    return [(leaves, "issued_status", issued_status)]


def _writes_what_is_there_already() -> list[Patch]:
    """A status is written whether or not it differs."""

    async def write(self: Any, body: JSON, plan: Any) -> None:
        meta = Meta.of(body)
        await self._cluster.replace_status(
            names.CA_CONFIGURATION,
            {
                "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
                "status": plan.status,
            },
        )

    return [(configurations.ConfigurationReconciler, "_write_status", write)]


def _says_pending_before_it_issues() -> list[Patch]:
    """A request is first told that it waits, then that it is issued."""
    real = leaves.LeafReconciler._put_status

    async def put(self: Any, view: Any, status: JSON, facts: Any) -> Any:
        waits = status | {"state": "Pending"}
        view = await real(self, view, waits, facts)
        return await real(self, view, status, facts)

    return [(leaves.LeafReconciler, "_put_status", put)]


def _renewals_are_forgotten() -> list[Patch]:
    """Nobody is reminded of a leaf when its renewal is due."""

    def schedule(self: Any, view: Any, plan: Any) -> None:
        if plan.move:
            self._intake.queue_move(view)

    return [(leaves.LeafReconciler, "_schedule", schedule)]


def _any_root_will_do() -> list[Patch]:
    """Every root is taken for the one that was asked for."""
    return [(rotation, "meets", lambda *_: True)]


def _names_come_from_another_namespace() -> list[Patch]:
    real = naming.grant

    def grant(found: Any, *, namespace: str, account: str, wish: Any) -> Any:
        return real(found, namespace="bank" if account == "db" else namespace, account=account, wish=wish)

    return [(planned, "grant", grant)]


def _takes_secrets_of_others() -> list[Patch]:
    """Whose a Secret is, is not looked at."""

    def owner(_body: JSON) -> Any:
        return _Anybody()

    return [(managed, "owner_uid", owner)]


def _namespaces_that_left_are_forgotten() -> list[Patch]:
    """Who is not selected is not looked after, whatever leaves live there."""
    real = publisher.Publisher._wanted

    def wanted(self: Any, place: str, wish: Any) -> bool | None:
        view = self._store.namespaces.get(place)
        left = view is not None and not wish.namespaces.matches(view.labels)
        return False if left else real(self, place, wish)

    return [(publisher.Publisher, "_wanted", wanted)]


def _prunes_without_asking_clusters() -> list[Patch]:
    """A root is thrown away as soon as nobody at home needs it, whoever is registered."""
    return [(secondaries, "holds", lambda *_: ()), (rotation, "keep_for", lambda *_: timedelta(0))]


def _any_signer_will_do() -> list[Patch]:
    """A mirrored root is put into use with a signer that is under another root, and nobody proves it."""
    real = signers.best

    def best(snapshot: Any, root: Any) -> Any:
        found = real(snapshot, root)
        if found is None and root is not None and root.mirrored:
            return next((item for item in snapshot.signer_secrets if item.usable), None)
        return found

    async def proved(*_: Any) -> None:
        return None

    return [(signers, "best", best), (turns.TurnExecutor, "_prove", proved)]


class _Anybody:
    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


BREAKAGES = (
    Breakage("forgets the active root", "I1", _forgets_the_active_root),
    Breakage("any number of roots", "I1", _any_number_of_roots, scope=WISHES),
    Breakage("leaves without cross-certificates", "I2", _leaves_without_cross_certificates),
    Breakage("gate is always open", "I2", _gate_is_always_open),
    Breakage("prunes by what the watch told", "I3", _prunes_by_what_the_watch_told),
    Breakage("leaves outlive their signer", "I4", _leaves_outlive_their_signer),
    Breakage("signer in use is removed", "I5", _signer_in_use_is_removed),
    Breakage("key in the status", "I5", _key_in_the_status),
    Breakage("writes what is there already", "I6", _writes_what_is_there_already, scope=CALM),
    Breakage("says Pending before it issues", "I7", _says_pending_before_it_issues, scope=CALM),
    Breakage("renewals are forgotten", "I8", _renewals_are_forgotten, (2,), ROTATION),
    Breakage("any root will do", "I8", _any_root_will_do, scope=WISHES),
    Breakage("names come from another namespace", "I9", _names_come_from_another_namespace, scope=LEAVES),
    Breakage("takes Secrets of others", "I9", _takes_secrets_of_others, scope=SECRETS),
    Breakage("namespaces that left are forgotten", "I2", _namespaces_that_left_are_forgotten, (2,), LEAVING),
    Breakage(
        "prunes without asking clusters",
        "I10",
        _prunes_without_asking_clusters,
        (3,),
        FOLLOWING,
        mesh=True,
    ),
    Breakage("any signer will do", "I10", _any_signer_will_do, (3,), FOLLOWING, mesh=True),
)
