"""``meshca rotate``: asks for a new root, and watches until the rotation has ended.

``plan`` and ``verdict`` are pure: what to write for a wish, and what a CAConfiguration says about how far it
is. Writes ``spec.rotation`` and nothing else; whether to rotate, and how, is the operator's to decide.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.v1alpha1.castatus import CAConfigurationStatus, RotationStatus
from meshca.api.v1alpha1.conditions import Reason
from meshca.cli.advice import advice
from meshca.errors import GoneError, InvalidError, NotFoundError, TransientError
from meshca.kube.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from meshca.kube.gateway import Gateway

JSON = dict[str, Any]
WATCH_SECONDS: Final = 30
PHASES: Final = ("Prepare", "Publish", "Activate", "Reissue", "Complete")


class End(Enum):
    """How far a rotation is, as a caller's decision."""

    GOING = "going"
    DONE = "done"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far a rotation is; ``phase`` is empty until the operator has begun."""

    end: End
    text: str
    phase: str = ""
    rotation: RotationStatus = field(default_factory=RotationStatus)


def plan(configuration: JSON, trigger: str, *, force: bool) -> JSON | None:
    """Return the merge patch that asks for a rotation, or None when the spec asks for exactly that already.

    ``InvalidError`` in words for people when a trigger cannot rotate this CA.
    """
    spec = configuration.get("spec") or {}
    if (spec.get("federation") or {}).get("primary"):
        raise InvalidError("this cluster is a secondary: rotate in its primary, and this one follows")
    imported = ((spec.get("provider") or {}).get("builtin") or {}).get("rootSecretName")
    if imported and not (force and _is_blocked(configuration)):
        raise InvalidError(
            f"the root is imported from Secret {imported!r}, so a trigger does not rotate it: put a new pair"
            " (tls.crt, tls.key) into that Secret, and the rotation begins by itself"
            + ("; once it is RotationBlocked, this command permits it" if force else "")
            + "; nothing was changed"
        )
    wanted = {"trigger": trigger} | ({"forceWithoutCrossSigning": trigger} if force else {})
    have = spec.get("rotation") or {}
    if all(have.get(key) == value for key, value in wanted.items()):
        return None
    return {"metadata": {"uid": configuration["metadata"]["uid"]}, "spec": {"rotation": wanted}}


def _is_blocked(configuration: JSON) -> bool:
    turning = CAConfigurationStatus.read(configuration.get("status")).condition("RotationInProgress")
    return turning is not None and turning.reason == Reason.ROTATION_BLOCKED


def verdict(configuration: JSON, generation: int) -> Verdict:
    """Say how far the rotation is that was asked for by a generation of the spec."""
    status = CAConfigurationStatus.read(configuration.get("status"))
    rotation = status.rotation or RotationStatus()
    turning, ready = status.condition("RotationInProgress"), status.condition("Ready")
    if turning is None or turning.observed_generation < generation:
        return Verdict(End.GOING, "the operator has not looked at it yet")
    if ready is not None and ready.reason == Reason.INVALID_CONFIGURATION:
        return Verdict(End.FAILED, f"the spec is not accepted: {ready.message}")
    if turning.status == "True":
        return Verdict(End.GOING, turning.message, turning.reason, rotation)
    end = {
        Reason.COMPLETED: End.DONE,
        Reason.NONE: End.DONE,
        Reason.ROTATION_QUEUED: End.WAITING,
    }.get(Reason(turning.reason) if turning.reason in set(Reason) else Reason.ABORTED, End.FAILED)
    text = f"{turning.reason}: {turning.message}"
    if end is not End.DONE:
        text += f" (to do: {advice(turning.reason)})"
    return Verdict(end, text, turning.reason, rotation)


async def follow(gateway: Gateway, name: str, troubled: Callable[[str], None]) -> AsyncGenerator[JSON, None]:
    """Yield a CAConfiguration now and after each change, for ever; ``troubled`` hears of lost connections.

    ``NotFoundError`` when it is deleted.
    """
    backoff = Backoff()
    while True:
        try:
            item = await gateway.get(names.CA_CONFIGURATION, name)
            yield item
            backoff.reset()
            async with aclosing(_changes(gateway, name, item)) as changes:
                async for changed in changes:
                    yield changed
        except GoneError:
            continue
        except TransientError as error:
            troubled(f"{error.message}; trying again")
            await asyncio.sleep(backoff.next(error.retry_after))


async def _changes(gateway: Gateway, name: str, item: JSON) -> AsyncGenerator[JSON, None]:
    async with aclosing(
        gateway.watch(
            names.CA_CONFIGURATION,
            selectors={"fieldSelector": f"metadata.name={name}"},
            resource_version=str(item["metadata"]["resourceVersion"]),
            server_seconds=WATCH_SECONDS,
        )
    ) as events:
        async for event in events:
            if event.type == "DELETED":
                raise NotFoundError(f"CAConfiguration {name!r} was deleted")
            if event.type != "BOOKMARK":
                yield event.object


async def wait(
    gateway: Gateway,
    name: str,
    generation: int,
    *,
    seconds: float,
    told: Callable[[Verdict], None],
    troubled: Callable[[str], None],
) -> Verdict:
    """Wait until a rotation has ended, at most ``seconds``; ``told`` hears of each step."""
    last = Verdict(End.GOING, "")
    try:
        async with asyncio.timeout(seconds), aclosing(follow(gateway, name, troubled)) as versions:
            async for version in versions:
                last = verdict(version, generation)
                told(last)
                if last.end is not End.GOING:
                    return last
    except TimeoutError:
        return Verdict(
            End.WAITING, "it has not ended yet and goes on by itself: see meshca status", last.phase
        )
    raise AssertionError("follow never ends")


async def ask(gateway: Gateway, name: str, trigger: str, *, force: bool, say: Callable[[str], None]) -> int:
    """Write the wish, if it is a new one, and return the generation of the spec that holds it."""
    configuration = await gateway.get(names.CA_CONFIGURATION, name)
    patch = plan(configuration, trigger, force=force)
    if patch is None:
        say(f"{name}: spec.rotation.trigger is {trigger!r} already; nothing was changed")
    else:
        configuration = await gateway.patch(names.CA_CONFIGURATION, name, "", patch)
        say(f"{name}: a new root is asked for, spec.rotation.trigger is {trigger!r}")
    return int(configuration["metadata"].get("generation", 0))
