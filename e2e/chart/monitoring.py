"""The CRDs of the Prometheus operator, so that what the chart sends it is checked by its real schema.

Decides where they come from: the Go module of that project, pinned by its checksum. Nothing of it is built.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from e2e import cache, toolchain
from e2e.errors import HarnessError

MODULE: Final = "github.com/prometheus-operator/prometheus-operator"
VERSION: Final = "v0.85.0"
SUM: Final = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
FOLDER: Final = "example/prometheus-operator-crd"
NAMES: Final = ("servicemonitors", "prometheusrules")


def crds() -> list[Path]:
    """Return the files of the CRDs that the chart has objects of; fetched into the cache on first use."""
    recipe = cache.digest(SUM, *NAMES)
    found = cache.entry(f"prometheus-operator-crds-{VERSION.removeprefix('v')}", recipe, _fetch)
    return [found / f"{name}.yaml" for name in NAMES]


def _fetch(directory: Path) -> None:
    go = toolchain.go()
    said = cache.run(
        [str(go), "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        label="prometheus-operator CRDs",
        cwd=directory,
        env=toolchain.environment(go),
    )
    module = json.loads(said[said.index("{") :])
    if module["Sum"] != SUM:
        raise HarnessError(f"{MODULE} {VERSION}: is {module['Sum']}, expected {SUM}")
    for name in NAMES:
        shutil.copyfile(
            Path(module["Dir"], FOLDER, f"monitoring.coreos.com_{name}.yaml"), directory / f"{name}.yaml"
        )
