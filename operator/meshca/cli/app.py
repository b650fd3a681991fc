"""The commands of ``meshca``: options, and which exit code an outcome gets.

Exit codes: 0 fine, 1 something is wrong (or a rotation was refused or taken back), 2 wrong usage or no
answer from the cluster, 3 a rotation has not ended yet, 130 interrupted. Decides nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

from meshca import __version__
from meshca.api.v1alpha1.scalars import format_time, parse_duration
from meshca.cli import chains, connection, progress, reading, rotation, status, verify
from meshca.cli.connection import Target
from meshca.cli.rotation import End
from meshca.cli.screen import Screen
from meshca.clock import Clock, SystemClock
from meshca.errors import InvalidError, MeshCAError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from meshca.kube.gateway import Gateway

FINE: Final = 0
WRONG: Final = 1
UNUSABLE: Final = 2
UNFINISHED: Final = 3
INTERRUPTED: Final = 130
_ENDS: Final = {End.DONE: FINE, End.FAILED: WRONG, End.WAITING: UNFINISHED}
_TRIGGER_LIMIT: Final = 253


@dataclass(slots=True)
class Surroundings:
    """What commands reach the world through; tests bring their own."""

    connect: Callable[[Target], AbstractAsyncContextManager[Gateway]] = connection.connect
    clock: Clock = field(default_factory=SystemClock)
    screen: Screen = field(default_factory=Screen)


class Output(StrEnum):
    """Forms of output."""

    TEXT = "text"
    JSON = "json"


app = typer.Typer(
    name="meshca",
    help="See, rotate and verify the certificate authorities of a mesh.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The CAConfiguration; without it, all.")]
Kubeconfig = Annotated[str, typer.Option(help="A kubeconfig file; without it, what kubectl takes.")]
Context = Annotated[
    str, typer.Option("--context", help="A context of the kubeconfig; without it, the current one.")
]
Form = Annotated[Output, typer.Option("--output", "-o", help="For people or for programs.")]


def _run(context: typer.Context, work: Callable[[Surroundings], Coroutine[Any, Any, int]]) -> None:
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


@app.command("status")
def status_command(
    context: typer.Context,
    name: Name = "",
    *,
    output: Form = Output.TEXT,
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """Say whether a CA is fine, what it is doing and what is wrong; exit code 1 when something is."""

    async def work(around: Surroundings) -> int:
        now = around.clock.now()
        async with around.connect(Target(kubeconfig, kube_context)) as gateway:
            found = await status.look(gateway, name, now)
        if output is Output.JSON:
            around.screen.json(
                {"fine": all(one.fine for one in found), "configurations": [one.to_dict() for one in found]}
            )
        else:
            status.show(around.screen, found, now)
        return FINE if all(one.fine for one in found) else WRONG

    _run(context, work)


@app.command("roots")
def roots_command(
    context: typer.Context,
    name: Name = "",
    *,
    output: Form = Output.TEXT,
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """List the roots that are trusted or were, and what still needs them."""

    async def work(around: Surroundings) -> int:
        async with around.connect(Target(kubeconfig, kube_context)) as gateway:
            rows = [status.root_row(item) for item in await reading.roots(gateway, name)]
        if output is Output.JSON:
            around.screen.json({"roots": rows})
        else:
            status.show_roots(around.screen, rows)
        return FINE

    _run(context, work)


@app.command("verify")
def verify_command(
    context: typer.Context,
    name: Name = "",
    *,
    output: Form = Output.TEXT,
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """Check every bundle and every leaf of the cluster by their certificates; exit code 1 on findings."""

    async def work(around: Surroundings) -> int:
        async with around.connect(Target(kubeconfig, kube_context)) as gateway:
            reports = await verify.check(gateway, name, around.clock.now)
        kept = all(not report.findings for report in reports)
        if output is Output.JSON:
            around.screen.json({"ok": kept, "configurations": [report.to_dict() for report in reports]})
        else:
            verify.show(around.screen, reports)
        return FINE if kept else WRONG

    _run(context, work)


@app.command("inspect")
def inspect_command(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=f"One of: {chains.SOURCES}.")],
    *,
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """Show each certificate of a chain; private keys never."""
    place = None if Path(source).is_file() else chains.reference(source)

    async def work(around: Surroundings) -> int:
        if place is None:
            texts = {source: _text(source)}
        else:
            async with around.connect(Target(kubeconfig, kube_context)) as gateway:
                texts = await chains.fetch(gateway, *place)
        chains.show(around.screen, texts, around.clock.now())
        return FINE

    _run(context, work)


def _stdin() -> TextIO:
    return sys.stdin


def _text(source: str) -> str:
    try:
        if source == "-":
            return _stdin().read(chains.LIMIT_BYTES)
        with Path(source).open(encoding="utf-8", errors="replace") as file:
            return file.read(chains.LIMIT_BYTES)
    except OSError as error:
        raise InvalidError(f"{source}: {error.strerror or error}; expected {chains.SOURCES}") from error


@app.command("rotate")
def rotate_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The CAConfiguration.")] = "default",
    *,
    trigger: Annotated[str, typer.Option(help="Any new text; without it, the time now.")] = "",
    force_without_cross_signing: Annotated[
        bool, typer.Option("--force-without-cross-signing", help="Permit, this once, dual trust instead.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch until it has ended.")] = False,
    timeout: Annotated[str, typer.Option(help="Longest wait, such as 90s, 30m or 72h.")] = "1h",
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """Ask for a new root. The old one stays trusted until nothing needs it."""
    try:
        seconds = parse_duration(timeout).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"{timeout!r} {error}", param_hint="--timeout") from None
    if len(trigger) > _TRIGGER_LIMIT:
        raise typer.BadParameter(f"longer than {_TRIGGER_LIMIT} characters", param_hint="--trigger")

    async def work(around: Surroundings) -> int:
        wish = trigger or format_time(around.clock.now())
        async with around.connect(Target(kubeconfig, kube_context)) as gateway:
            generation = await rotation.ask(
                gateway, name, wish, force=force_without_cross_signing, say=around.screen.line
            )
            if not wait:
                around.screen.line("watch it with: meshca status, or meshca rotate --wait")
                return FINE
            with progress.shown(around.screen) as told:
                end = await rotation.wait(
                    gateway, name, generation, seconds=seconds, told=told, troubled=around.screen.error
                )
        around.screen.line(f"{name}: {end.text}", "green" if end.end is End.DONE else "bold red")
        return _ENDS[end.end]

    _run(context, work)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meshca {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    del version


def run(argv: Sequence[str]) -> int:
    """Run the command line ``argv``, the program's name first, and return its exit code."""
    called = Path(argv[0]).name
    program = "kubectl meshca" if called.startswith("kubectl-") else "meshca"
    try:
        app(args=list(argv[1:]), prog_name=program)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FINE
    return FINE
