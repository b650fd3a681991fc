"""What every command has in common: how it reaches the world, its options and exit codes.

Exit codes: 0 fine, 1 something is wrong (or a rotation was refused or taken back), 2 wrong usage or no
answer from the cluster, 3 a rotation has not ended yet, 130 interrupted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from meshca.api.v1alpha1.scalars import parse_duration
from meshca.cli import connection
from meshca.cli.screen import Screen
from meshca.clock import Clock, SystemClock
from meshca.errors import MeshCAError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta

    from meshca.cli.connection import Target
    from meshca.kube.gateway import Gateway

FINE: Final = 0
WRONG: Final = 1
UNUSABLE: Final = 2
UNFINISHED: Final = 3
INTERRUPTED: Final = 130


@dataclass(slots=True)
class Surroundings:
    """What commands reach the world through; tests bring their own."""

    connect: Callable[[Target], AbstractAsyncContextManager[Gateway]] = connection.connect
    clock: Clock = field(default_factory=SystemClock)
    screen: Screen = field(default_factory=Screen)
    server: Callable[[Target], str] = connection.server


class Output(StrEnum):
    """Forms of output."""

    TEXT = "text"
    JSON = "json"


Kubeconfig = Annotated[str, typer.Option(help="A kubeconfig file; without it, what kubectl takes.")]
Context = Annotated[
    str, typer.Option("--context", help="A context of the kubeconfig; without it, the current one.")
]
Form = Annotated[Output, typer.Option("--output", "-o", help="For people or for programs.")]


def run(context: typer.Context, work: Callable[[Surroundings], Coroutine[Any, Any, int]]) -> None:
    """Run a command; what was raised on purpose becomes a sentence and exit code 2."""
    around = context.obj if isinstance(context.obj, Surroundings) else Surroundings()
    try:
        code = asyncio.run(work(around))
    except MeshCAError as error:
        around.screen.error(error.message)
        code = UNUSABLE
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise typer.Exit(code)


def duration(text: str, option: str) -> timedelta:
    """Read a duration such as ``72h`` that stands behind an option."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}", param_hint=option) from None
