"""The phases of a rotation as a table: what each does, what it writes, and what ends it.

Decides nothing: ``planning.configuration`` does. A test runs rotations and fails when a step is taken in
another phase than the table says, so that the page made of it tells the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from meshca.api.v1alpha1.castatus import RotationPhase
from meshca.planning import steps

PRUNE: Final = "Prune"
"""Comes after the last phase, at its own time."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One phase: what is done, what is written where, what ends it, and what taking the wish back does."""

    name: str
    does: str
    writes: str
    ends: str
    back: str
    steps: tuple[type, ...] = ()


STAGES: Final = (
    Stage(
        name=RotationPhase.PREPARE,
        does="makes the new root, a cross-certificate of it by each older root that lives, and its signer",
        writes="Secret `meshca-root-...` (`cross.crt` too), CARoot (Prepared), Secret `meshca-signer-...`;"
        " last the annotation `published-at`",
        ends="everything is made",
        back="the new root is discarded",
        steps=(
            steps.MakeRoot,
            steps.RecordRoot,
            steps.CrossSign,
            steps.MakeSigner,
            steps.WriteChain,
            steps.TouchSecret,
            steps.MarkPublished,
        ),
    ),
    Stage(
        name=RotationPhase.PUBLISH,
        does="puts the new root into the bundle beside the old ones, and reads every place back",
        writes="bundle ConfigMaps, ClusterTrustBundle, `status.bundle`; CARoot (Published); without"
        " cross-certificates `ca.crt` of managed Secrets",
        ends="the gate opens",
        back="the new root leaves the bundle and is discarded",
        steps=(steps.ReadBack,),
    ),
    Stage(
        name=RotationPhase.ACTIVATE,
        does="proves with a leaf that the new chain verifies under each root alone, then switches",
        writes="annotations `activated-at`, `rotated-out-at`, `prunable-after`; then `status.activeRoot`,"
        " which is the switch",
        ends="status.activeRoot names the new root",
        back="until that write, as in Publish",
        steps=(steps.MarkActive, steps.MarkRotatedOut, steps.CommitActive),
    ),
    Stage(
        name=RotationPhase.REISSUE,
        does="signs Automatic leaves again and tells the holders of Manual ones, at `reissuePerSecond`",
        writes="status of each leaf once, and its Secret; `status.rotation` at most once a second",
        ends="no live leaf is left, or the deadline passes",
        back="a rotation in the other direction",
    ),
    Stage(
        name=RotationPhase.COMPLETE,
        does="nothing more; the old root stays trusted",
        writes="`status.rotation`, an Event",
        ends="prunableAfter has come and no leaf needs the old root",
        back="a rotation in the other direction",
    ),
    Stage(
        name=PRUNE,
        does="lists all leaves once more, then lets the old root go",
        writes="CARoot (Pruned), the bundle without it; deletes its signers, its Secret, the CARoot",
        ends="the CARoot is gone",
        back="a new root is made",
        steps=(
            steps.GatherEvidence,
            steps.MarkPruned,
            steps.RemoveSigner,
            steps.RemoveRootSecret,
            steps.DeleteRoot,
            steps.ReleaseRoot,
        ),
    ),
)


def page_part() -> str:
    """Return diagram (Mermaid) and table of the phases, Markdown."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {STAGES[0].name}: another root is wished for"]
    for stage, after in pairwise(STAGES):
        lines.append(f"    {stage.name} --> {after.name}: {stage.ends}")
    lines.append(f"    {STAGES[-1].name} --> [*]: {STAGES[-1].ends}")
    before = STAGES[: [stage.name for stage in STAGES].index(RotationPhase.REISSUE)]
    lines += [f"    {stage.name} --> Aborted: the wish is taken back" for stage in before]
    lines += [
        "```",
        "",
        "| phase | what happens | what is written | over when | taken back |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {s.name} | {s.does} | {s.writes} | {s.ends} | {s.back} |" for s in STAGES]
    return "\n".join(lines) + "\n"
