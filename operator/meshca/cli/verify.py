"""``meshca verify``: reads roots, bundles and leaves of the cluster and has ``verification`` judge them.

A mesh moves while it is read, so a finding counts only when a second look finds it again. Reads no Secret:
``ca.crt`` of a managed Secret is the bundle as of that issue and nobody's trust source.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import DEFAULT_TRUST_BUNDLE
from meshca.api.v1alpha1.metadata import Metadata
from meshca.api.v1alpha1.selector import Selector
from meshca.cli.reading import configurations, fold, leaf_selector, name_of, namespace_of, roots
from meshca.cli.verification import Counts, Finding, Verification, root_record
from meshca.errors import InvalidError, MisconfiguredError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from meshca.cli.screen import Screen
    from meshca.kube.gateway import Gateway

JSON = dict[str, Any]
SECOND_LOOK_SECONDS: Final = 2.0
YOUNG: Final = timedelta(minutes=1)
"""How long a new namespace may be without its bundle."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one configuration's check."""

    name: str
    counts: Counts
    findings: tuple[Finding, ...]
    total: int

    def to_dict(self) -> JSON:
        """Return it as JSON, for programs."""
        return {
            "name": self.name,
            "ok": not self.findings,
            "checked": asdict(self.counts),
            "total": self.total,
            "findings": [asdict(finding) for finding in self.findings],
        }


async def check(gateway: Gateway, name: str, now: Callable[[], datetime]) -> list[Report]:
    """Check one configuration, or all of the cluster."""
    return [await _check(gateway, name_of(item), now) for item in await configurations(gateway, name)]


async def _check(gateway: Gateway, name: str, now: Callable[[], datetime]) -> Report:
    looked = await _look(gateway, name, now())
    findings, total = looked.findings(), looked.total
    if findings:
        await asyncio.sleep(SECOND_LOOK_SECONDS)
        before = {finding.key for finding in findings}
        looked = await _look(gateway, name, now())
        findings = tuple(finding for finding in looked.findings() if finding.key in before)
        total = max(looked.total, len(findings)) if findings else 0
    return Report(name, looked.counts, findings, max(total, len(findings)))


async def _look(gateway: Gateway, name: str, now: datetime) -> Verification:
    # Roots after the configuration, leaves last: what a later object needs was there before it.
    (item,) = await configurations(gateway, name)
    spec, status = item.get("spec") or {}, item.get("status") or {}
    records, broken = [], []
    for root in await roots(gateway, name):
        try:
            records.append(root_record(root))
        except InvalidError as error:
            broken.append((name_of(root), error.message))
    look = Verification(records, str(status.get("activeRoot", "")), now)
    for root_name, problem in broken:
        look.missing_bundle(root_name, f"its certificate cannot be read: {problem}")
    if look.counts.roots:
        await _bundles(gateway, name, spec.get("trustBundle") or {}, look, now)
    await fold(
        gateway,
        names.LEAF,
        lambda: look,
        lambda total, leaf: total.add_leaf(
            f"{namespace_of(leaf)}/{name_of(leaf)}",
            str((leaf.get("status") or {}).get("certificateChain", "")),
        ),
        leaf_selector(name),
    )
    return look


async def _bundles(gateway: Gateway, name: str, spec: JSON, look: Verification, now: datetime) -> None:
    wanted = await _wanted(gateway, spec, now)
    bundle_name = str(spec.get("configMapName") or DEFAULT_TRUST_BUNDLE)
    selectors = {"fieldSelector": f"metadata.name={bundle_name}"}
    async with aclosing(gateway.pages(names.CONFIG_MAP, selectors=selectors)) as pages:
        async for page in pages:
            for item in page.items:
                namespace = namespace_of(item)
                labels = item["metadata"].get("labels") or {}
                if labels.get(names.LABEL_TRUST_BUNDLE) == name or namespace in wanted:
                    look.add_bundle(namespace, str((item.get("data") or {}).get(names.BUNDLE_KEY, "")))
                wanted.discard(namespace)
    for namespace in sorted(wanted):
        look.missing_bundle(namespace, f"ConfigMap {bundle_name} is missing there")
    if spec.get("clusterTrustBundle", True):
        await _cluster_trust_bundle(gateway, name, look)


async def _wanted(gateway: Gateway, spec: JSON, now: datetime) -> set[str]:
    """Return the namespaces that should have had the bundle for a while."""
    selector = Selector.read(spec.get("namespaceSelector") or {})
    chosen: set[str] = set()

    def add(total: set[str], item: JSON) -> None:
        metadata = Metadata.read(item["metadata"])
        young = metadata.creation_timestamp is not None and now - metadata.creation_timestamp < YOUNG
        if not young and metadata.deletion_timestamp is None and selector.matches(metadata.labels):
            total.add(metadata.name)

    return await fold(gateway, names.NAMESPACE, lambda: chosen, add)


async def _cluster_trust_bundle(gateway: Gateway, name: str, look: Verification) -> None:
    bundle = names.cluster_trust_bundle(name)
    try:
        item = await gateway.get(names.CLUSTER_TRUST_BUNDLE, bundle)
    except MisconfiguredError:
        return  # this API server has no such kind
    except NotFoundError:
        look.missing_bundle(f"ClusterTrustBundle {bundle}", "it is missing")
        return
    look.add_bundle(f"ClusterTrustBundle {bundle}", str(item["spec"].get("trustBundle", "")))


def show(screen: Screen, reports: list[Report]) -> None:
    """Write what was found, a line each."""
    for report in reports:
        counts = report.counts
        screen.line(
            f"{report.name}: {'ok' if not report.findings else 'NOT OK'}, checked {counts.roots} roots,"
            f" {counts.places} places with {counts.bundles} different bundles,"
            f" {counts.live} live leaves of {counts.leaves}",
            "red" if report.findings else "green",
        )
        for finding in report.findings:
            screen.line(f"  {finding.invariant} {finding.text}")
        if report.total > len(report.findings):
            screen.line(f"  and {report.total - len(report.findings)} more")
    if not reports:
        screen.line("there is no CAConfiguration")
