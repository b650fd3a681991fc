"""The table of phases says what rotations really do, and the page is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meshca.api.v1alpha1.castatus import RotationPhase
from meshca.planning import rotation, steps
from meshca.planning.assess import assess
from meshca.planning.phases import PRUNE, STAGES
from meshca.server import phases_doc
from tests.fakes.caworld import World, bootstrapped
from tests.fakes.planning import HOUR

if TYPE_CHECKING:
    import pytest

    from meshca.planning.steps import Step

PAGE = Path(__file__).parents[3] / "docs" / "rotation.md"
HOUSEKEEPING = (
    steps.AcceptSpec,
    steps.RaiseLeafTTL,
    steps.RecordPhase,
    steps.WriteRootStatus,
    steps.KeepCross,
)
PRUNING = next(stage for stage in STAGES if stage.name == PRUNE).steps


def stage_of(world: World, step: Step) -> str:
    if isinstance(step, PRUNING):
        return PRUNE
    return str(rotation.phase(assess(world.snapshot())))


def run(world: World) -> list[tuple[str, type]]:
    """Do what is to do and return which step was taken in which phase."""
    taken = []
    while (step := world.plan().step) is not None:
        if not isinstance(step, HOUSEKEEPING):
            taken.append((stage_of(world, step), type(step)))
        world.step()
    world.settle()
    return taken


def test_every_phase_has_its_stage_in_order() -> None:
    assert [stage.name for stage in STAGES] == [*RotationPhase, PRUNE]


def test_every_step_is_taken_in_the_phase_that_the_table_says() -> None:
    world, taken = bootstrapped(), list[tuple[str, type]]()
    for trigger in ("second", ""):
        world.now += HOUR
        world.ask(trigger)
        taken += run(world)
    world.now += 200 * HOUR
    taken += run(world)
    table = {(stage.name, step) for stage in STAGES for step in stage.steps}
    # What leaves are served with loses the cross-certificate by a root that is gone.
    table.add((RotationPhase.COMPLETE.value, steps.WriteChain))
    only_if_deleted = {(PRUNE, steps.ReleaseRoot)}
    assert set(taken) | only_if_deleted == table | (set(taken) & only_if_deleted)
    order = [stage.name for stage in STAGES]
    first = [order.index(name) for name, _ in taken[: len(taken) // 3]]
    assert first == sorted(first)


def test_the_page_is_made_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "rotation.md"
    copy.write_text(PAGE.read_text())
    assert phases_doc.main([str(copy)]) == 0
    assert copy.read_text() == PAGE.read_text(), "stale: run make crds"
    copy.write_text("no place\n")
    assert phases_doc.main([str(copy)]) == 1
    assert "0 places" in capsys.readouterr().err
