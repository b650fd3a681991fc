"""Asking for a rotation and watching it: what is written, and which words and exit codes come of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.cli.rotation import End, Verdict, ask, plan, verdict, wait
from meshca.errors import InvalidError, NotFoundError
from tests.fakes.apiserver.faults import Fault
from tests.fakes.cli import Mesh, condition

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = dict[str, Any]


def body(*conditions: JSON, spec: JSON | None = None, **status: Any) -> JSON:
    return {
        "metadata": {"name": "default", "uid": "u", "generation": 2},
        "spec": spec or {},
        "status": {"conditions": list(conditions)} | status,
    }


def turning(status: str, reason: str, generation: int = 2) -> JSON:
    return condition("RotationInProgress", status, reason, generation=generation)


@pytest.mark.parametrize(
    ("spec", "force", "expected"),
    [
        ({}, False, {"trigger": "x"}),
        ({"rotation": {"trigger": "old"}}, False, {"trigger": "x"}),
        ({"rotation": {"trigger": "x"}}, False, None),
        ({"rotation": {"trigger": "x"}}, True, {"trigger": "x", "forceWithoutCrossSigning": "x"}),
        ({"rotation": {"trigger": "x", "forceWithoutCrossSigning": "x"}}, True, None),
    ],
)
def test_only_the_rotation_is_written_and_only_when_it_differs(
    spec: JSON, force: bool, expected: JSON | None
) -> None:
    patch = plan(body(spec=spec), "x", force=force)
    assert patch == (None if expected is None else {"metadata": {"uid": "u"}, "spec": {"rotation": expected}})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"provider": {"builtin": {"rootSecretName": "mine"}}}, "put a new pair"),
        ({"federation": {"primary": {"kubeconfigSecretName": "x"}}}, "rotate in its primary"),
    ],
)
def test_a_trigger_that_would_do_nothing_is_not_written(spec: JSON, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        plan(body(spec=spec), "x", force=False)


IMPORTED: JSON = {"provider": {"builtin": {"rootSecretName": "mine"}}}


def test_blocked_rotation_to_another_imported_root_can_be_permitted() -> None:
    blocked = body(turning("False", "RotationBlocked"), spec=IMPORTED)
    patch = plan(blocked, "x", force=True)
    assert patch is not None
    assert patch["spec"] == {"rotation": {"trigger": "x", "forceWithoutCrossSigning": "x"}}
    with pytest.raises(InvalidError, match="put a new pair"):
        plan(blocked, "x", force=False)
    for conditions in ([], [turning("False", "None")]):
        with pytest.raises(InvalidError, match="once it is RotationBlocked, this command permits it"):
            plan(body(*conditions, spec=IMPORTED), "x", force=True)


@pytest.mark.parametrize(
    ("conditions", "end", "phase"),
    [
        ([], End.GOING, ""),
        ([turning("False", "Completed", generation=1)], End.GOING, ""),
        ([turning("True", "Publish")], End.GOING, "Publish"),
        ([turning("False", "Completed")], End.DONE, "Completed"),
        ([turning("False", "None")], End.DONE, "None"),
        ([turning("False", "Aborted")], End.FAILED, "Aborted"),
        ([turning("False", "RotationBlocked")], End.FAILED, "RotationBlocked"),
        ([turning("False", "CrossSigningUnsupported")], End.FAILED, "CrossSigningUnsupported"),
        ([turning("False", "RotationQueued")], End.WAITING, "RotationQueued"),
        ([turning("False", "SomethingNew")], End.FAILED, "SomethingNew"),
        (
            [condition("Ready", "False", "InvalidConfiguration", generation=2), turning("False", "None")],
            End.FAILED,
            "",
        ),
    ],
)
def test_a_verdict_is_about_the_generation_that_was_asked_for(
    conditions: list[JSON], end: End, phase: str
) -> None:
    found = verdict(body(*conditions), 2)
    assert (found.end, found.phase) == (end, phase)


def operator(mesh: Mesh, *steps: tuple[str, str, int]) -> Callable[[], Any]:
    """Return what an operator would write, a step a second."""

    async def act() -> None:
        for status, reason, percent in steps:
            await asyncio.sleep(1)
            rotation = {"phase": "Reissue", "to": "default-b", "leaves": 10}
            mesh.status(
                {
                    "conditions": [turning(status, reason)],
                    "rotation": rotation | {"percent": percent, "reissued": percent // 10},
                }
            )

    return act


async def watched(mesh: Mesh, seconds: float = 60.0) -> tuple[Verdict, list[str], list[str]]:
    phases: list[str] = []
    troubles: list[str] = []
    end = await wait(
        mesh.gateway(),
        "default",
        2,
        seconds=seconds,
        told=lambda step: phases.append(step.phase),
        troubled=troubles.append,
    )
    return end, phases, troubles


@pytest.mark.looptime
async def test_waiting_follows_the_phases_to_the_end() -> None:
    mesh = Mesh().healthy()
    said: list[str] = []
    generation = await ask(mesh.gateway(), "default", "x", force=False, say=said.append)
    assert generation == 2
    act = asyncio.ensure_future(
        operator(mesh, ("True", "Publish", 0), ("True", "Reissue", 50), ("False", "Completed", 100))()
    )
    end, phases, troubles = await watched(mesh)
    await act
    assert (end.end, end.rotation.percent, troubles) == (End.DONE, 100, [])
    assert phases == ["", "Publish", "Reissue", "Completed"]
    assert said == ["default: a new root is asked for, spec.rotation.trigger is 'x'"]


@pytest.mark.looptime
async def test_waiting_survives_a_lost_connection_and_a_forgotten_history() -> None:
    mesh = Mesh().healthy()
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": {"rotation": {"trigger": "x"}}})

    async def disturb() -> None:
        await asyncio.sleep(1)
        mesh.server.down = True
        mesh.server.cut_watches()
        await asyncio.sleep(5)
        mesh.server.down = False
        await operator(mesh, ("False", "Completed", 100))()

    act = asyncio.ensure_future(disturb())
    end, _, troubles = await watched(mesh)
    await act
    assert end.end is End.DONE
    assert troubles
    assert all("trying again" in text for text in troubles)


@pytest.mark.looptime
async def test_what_does_not_end_in_time_goes_on_by_itself() -> None:
    mesh = Mesh().healthy()
    end, _, _ = await watched(mesh, seconds=5)
    assert (end.end, "goes on by itself" in end.text) == (End.WAITING, True)


@pytest.mark.looptime
async def test_a_configuration_deleted_meanwhile_ends_the_wait() -> None:
    mesh = Mesh().healthy()

    async def delete() -> None:
        await asyncio.sleep(1)
        mesh.server.delete(names.CA_CONFIGURATION, "default")

    act = asyncio.ensure_future(delete())
    with pytest.raises(NotFoundError, match="was deleted"):
        await watched(mesh)
    await act


def test_rotate_writes_a_time_stamp_and_says_how_to_watch() -> None:
    mesh = Mesh().healthy()
    code, out, _ = mesh.run("rotate")
    found = mesh.server.find(names.CA_CONFIGURATION, "default")
    assert found is not None
    assert (code, found["spec"]["rotation"]) == (0, {"trigger": "2030-01-01T12:00:00Z"})
    assert "meshca status" in out
    assert found["spec"]["trustDomain"] == "example.org"


def test_rotate_says_that_an_imported_root_needs_a_new_pair_and_writes_nothing() -> None:
    mesh = Mesh().healthy()
    provider = {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": {"provider": provider}})
    mesh.server.audit.clear()
    code, _, errors = mesh.run("rotate", "default", "--wait")
    assert code == 2
    assert "put a new pair (tls.crt, tls.key) into that Secret" in errors
    assert mesh.server.writes() == []


ENDS = [
    ("Completed", 0),
    ("Aborted", 1),
    ("RotationBlocked", 1),
    ("RotationQueued", 3),
]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(("reason", "code"), ENDS)
def test_the_end_of_a_rotation_is_an_exit_code(reason: str, code: int, terminal: bool) -> None:
    mesh = Mesh().healthy()
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": {"rotation": {"trigger": "x"}}})
    rotation = {"phase": "Complete", "to": "default-b", "leaves": 10, "reissued": 10, "percent": 100}
    mesh.status({"conditions": [turning("False", reason)], "rotation": rotation})
    found, out, _ = mesh.run("rotate", "--trigger", "x", "--wait", terminal=terminal)
    assert found == code
    assert reason in out
    assert "already; nothing was changed" in out


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_while_it_lasts(terminal: bool) -> None:
    mesh = Mesh().healthy()
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": {"rotation": {"trigger": "x"}}})
    rotation = {"phase": "Reissue", "to": "default-b", "leaves": 10, "reissued": 4, "percent": 40}
    mesh.status({"conditions": [turning("True", "Reissue")], "rotation": rotation})
    code, out, _ = mesh.run("rotate", "--trigger", "x", "--wait", "--timeout", "1s", terminal=terminal)
    assert code == 3
    assert "Reissue" in out
    assert ("40 % (4 of 10 leaves)" in out) is not terminal
    assert ("\x1b[" in out) is terminal


def test_wrong_usage_is_exit_code_2() -> None:
    mesh = Mesh().healthy()
    code, _, errors = mesh.run("rotate", "--timeout", "soon")
    assert (code, "--timeout" in errors) == (2, True)
    assert mesh.run("rotate", "--trigger", "x" * 254)[0] == 2
    assert mesh.run("rotate", "nobody")[0] == 2


def test_a_conflict_is_told_and_nothing_is_hidden() -> None:
    mesh = Mesh().healthy()
    mesh.server.faults.append(Fault(verb="patch", unreachable=True))
    code, _, errors = mesh.run("rotate")
    assert (code, "meshca: " in errors) == (2, True)
