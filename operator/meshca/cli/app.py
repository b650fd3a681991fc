"""The commands of ``meshca``: options, and which exit code an outcome gets.

Decides nothing else. Those about other clusters are in ``federation``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from meshca import __version__
from meshca.api.v1alpha1.scalars import format_time
from meshca.cli import chains, federation, progress, reading, rotation, status, verify
from meshca.cli.command import (
    FINE,
    UNFINISHED,
    WRONG,
    Context,
    Form,
    Kubeconfig,
    Output,
    Surroundings,
    duration,
    run,
)
from meshca.cli.connection import Target
from meshca.cli.rotation import End
from meshca.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENDS: Final = {End.DONE: FINE, End.FAILED: WRONG, End.WAITING: UNFINISHED}
_TRIGGER_LIMIT: Final = 253


app = typer.Typer(
    name="meshca",
    help="See, rotate and verify the certificate authorities of a mesh.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(federation.app, name="federation")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The CAConfiguration; without it, all.")]


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

    run(context, work)


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

    run(context, work)


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

    run(context, work)


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

    run(context, work)


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
    seconds = duration(timeout, "--timeout").total_seconds()
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

    run(context, work)


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


def main(argv: Sequence[str]) -> int:
    """Run the command line ``argv``, the program's name first, and return its exit code."""
    called = Path(argv[0]).name
    program = "kubectl meshca" if called.startswith("kubectl-") else "meshca"
    try:
        app(args=list(argv[1:]), prog_name=program)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FINE
    return FINE
