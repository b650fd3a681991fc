"""Renders the chart without a cluster.

Decides which cases are kept as snapshots and in what normal form, so that Helm 3 and Helm 4 can be
compared with the same files. Never installs anything.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from e2e import binaries, tools
from e2e.errors import HarnessError

JSON = dict[str, Any]
Completed = subprocess.CompletedProcess[str]

CHART: Final = Path(__file__).parents[2] / "charts" / "meshca"
SNAPSHOTS: Final = Path(__file__).parent / "snapshots"
FULL_VALUES: Final = Path(__file__).parent / "full-values.yaml"
RELEASE: Final = "meshca"
NAMESPACE: Final = "meshca-system"
VERSIONS: Final = (4, 3)
"""The major versions of Helm that must agree about every rendering."""
CRD: Final = "CustomResourceDefinition"
GENERATED: Final = (
    CRD,
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
)
"""Kinds that ``make crds`` writes into the chart; they are compared with their source instead."""
CASES: Final[dict[str, tuple[str, ...]]] = {"default": (), "full": ("--values", str(FULL_VALUES))}


def helm(*arguments: str, version: int = 4) -> Completed:
    """Run Helm with a home of its own and return what it said, whatever its exit status."""
    program = binaries.assets() / "helm" if version == 4 else tools.helm3()
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home}
        return subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, check=False
        )


def template(*arguments: str, version: int = 4) -> Completed:
    """Run ``helm template`` on the chart under the conventional names."""
    return helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *arguments, version=version)


def objects(*arguments: str, version: int = 4) -> list[JSON]:
    """Return every object of a rendering, hooks included; ``HarnessError`` when Helm refuses."""
    done = template(*arguments, version=version)
    if done.returncode:
        raise HarnessError(f"helm {version} template: {done.stderr}")
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def snapshot(case: str, version: int = 4) -> str:
    """Return a case as text: one document per hand-written object, sorted."""
    found = objects(*CASES[case], version=version)
    kept = [item for item in found if item["kind"] not in GENERATED]
    return yaml.safe_dump_all(sorted(kept, key=_order), width=110)


def snapshot_file(case: str) -> Path:
    """Return where the committed text of a case is."""
    return SNAPSHOTS / f"{case}.yaml"


def of(found: list[JSON], *kinds: str) -> list[JSON]:
    """Return the objects of these kinds."""
    return [item for item in found if item["kind"] in kinds]


def one(found: list[JSON], kind: str, name: str = "") -> JSON:
    """Return the only object of a kind (and name); ``ValueError`` when there is none or another."""
    (item,) = (item for item in of(found, kind) if name in {"", item["metadata"]["name"]})
    return item


def _order(item: JSON) -> tuple[str, str, str]:
    metadata = item["metadata"]
    return item["kind"], metadata.get("namespace", ""), metadata["name"]
