"""The commands of ``meshca federation``: options, and which exit code an outcome gets.

Decides nothing else. What is registered is in ``registration``, what is shown in ``members``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from meshca.api.v1alpha1.scalars import format_duration, format_time
from meshca.cli import invitation, manifest, members
from meshca.cli.command import FINE, WRONG, Context, Form, Kubeconfig, Output, Surroundings, duration, run
from meshca.cli.connection import Target
from meshca.cli.registration import Registration
from meshca.errors import InvalidError, MisconfiguredError
from meshca.pki.certificates import load_all

if TYPE_CHECKING:
    from meshca.cli.screen import Screen

SHORTEST_TOKEN: Final = timedelta(minutes=10)
SHORTEST_SIGNER: Final = timedelta(hours=3)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104  compared only

app = typer.Typer(
    help="Share the roots of this cluster with others: invite, revoke, see who follows.", no_args_is_help=True
)
Cluster = Annotated[str, typer.Argument(metavar="NAME", help="The secondary's name in the mesh.")]


@app.command("invite")
def invite_command(
    context: typer.Context,
    name: Cluster,
    *,
    configuration: Annotated[
        str, typer.Option(help="The CAConfiguration of this cluster that it is to share.")
    ] = "default",
    server: Annotated[
        str, typer.Option(help="https address of this API server as the secondary reaches it.")
    ] = "",
    certificate_authority: Annotated[
        str, typer.Option(help="File with the CA (PEM) of that address; without it, what Pods here trust.")
    ] = "",
    token_duration: Annotated[
        str, typer.Option(help="Life of the token; renewed by the secondary.")
    ] = "168h",  # noqa: S107  a duration
    max_intermediate_ttl: Annotated[
        str, typer.Option("--max-intermediate-ttl", help="Longest life of its signers, at least 3h.")
    ] = "",
    secondary_namespace: Annotated[
        str, typer.Option(help="Namespace of the operator in the secondary.")
    ] = "meshca-system",
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """Register a secondary here and print what to apply there. Inviting again makes a new token."""
    life = duration(token_duration, "--token-duration")
    if life < SHORTEST_TOKEN:
        raise typer.BadParameter(
            f"{token_duration!r} is less than {format_duration(SHORTEST_TOKEN)}",
            param_hint="--token-duration",
        )
    if max_intermediate_ttl and duration(max_intermediate_ttl, "--max-intermediate-ttl") < SHORTEST_SIGNER:
        raise typer.BadParameter(
            f"{max_intermediate_ttl!r} is less than {format_duration(SHORTEST_SIGNER)}",
            param_hint="--max-intermediate-ttl",
        )

    async def work(around: Surroundings) -> int:
        target = Target(kubeconfig, kube_context)
        registration = Registration(name, configuration, max_intermediate_ttl)
        address = _address(server or around.server(target), around.screen, given=bool(server))
        authority = _authority(certificate_authority) if certificate_authority else ""
        async with around.connect(target) as gateway:
            made = await invitation.invite(
                gateway,
                registration,
                server=address,
                authority=authority,
                life=life,
                say=around.screen.note,
            )
        _remark(around.screen, made, life)
        around.screen.text(manifest.manifest(made, namespace=secondary_namespace))
        return FINE

    run(context, work)


def _address(server: str, screen: Screen, *, given: bool) -> str:
    """Check the address that a secondary is to use; ``InvalidError`` for one that proves nothing."""
    parts = urlsplit(server)
    if parts.scheme != "https" or not parts.hostname or parts.path not in {"", "/"}:
        raise InvalidError(f"{server!r} is no address of an API server: expected https://HOST:PORT")
    if parts.hostname in _LOOPBACK and not given:
        screen.error(
            f"{server} is this machine for whoever asks: if the secondary is elsewhere, name the address by"
            " which it reaches this cluster with --server"
        )
    return server.rstrip("/")


def _authority(file: str) -> str:
    try:
        text = Path(file).read_text(encoding="ascii")
        load_all(text)
    except (OSError, UnicodeDecodeError) as error:
        raise MisconfiguredError(f"--certificate-authority {file}: {error}") from error
    except InvalidError as error:
        raise MisconfiguredError(f"--certificate-authority {file}: {error.message}") from error
    return text


def _remark(screen: Screen, made: invitation.Invitation, life: timedelta) -> None:
    if made.pin.rotating:
        screen.error(
            "a rotation is under way: the roots are pinned as they are now, so if the bundle changes before"
            " the first contact, invite again"
        )
    screen.note(
        f"token lasts until {format_time(made.expires)} ({format_duration(life)} were asked for); apply the"
        " manifest to the secondary before then"
    )


@app.command("revoke")
def revoke_command(
    context: typer.Context,
    name: Cluster,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """Un-register a secondary: no further signer for it, and nobody here waits for it any more."""

    async def work(around: Surroundings) -> int:
        registration = Registration(name)
        async with around.connect(Target(kubeconfig, kube_context)) as gateway:
            found = await invitation.find(gateway, registration)
            if found is None:
                raise InvalidError(f"no cluster {name!r} is registered: see meshca federation status")
            if not yes and not typer.confirm(f"Un-register {name!r}? Its last signer is its last"):
                around.screen.line("nothing was changed")
                return WRONG
            await invitation.revoke(gateway, registration, around.screen.line)
        until = found.signer_not_after
        around.screen.line(
            f"{name} gets no further signer."
            + (
                f" The one it has is valid until {format_time(until)}, and so are leaves under it."
                if until
                else ""
            )
        )
        return FINE

    run(context, work)


@app.command("status")
def status_command(
    context: typer.Context,
    *,
    output: Form = Output.TEXT,
    kubeconfig: Kubeconfig = "",
    kube_context: Context = "",
) -> None:
    """List the secondaries of this cluster and the primaries it follows; exit code 1 when one is wrong."""

    async def work(around: Surroundings) -> int:
        now = around.clock.now()
        async with around.connect(Target(kubeconfig, kube_context)) as gateway:
            found = await members.look(gateway)
        if output is Output.JSON:
            around.screen.json(found.to_dict())
        else:
            members.show(around.screen, found, now)
        return FINE if found.fine else WRONG

    run(context, work)
