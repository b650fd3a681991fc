"""The join manifest: what a person applies in the secondary, as YAML that can be read.

Decides how it is written, never what is in it. Holds a token, so it goes to standard output only.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import yaml

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time

if TYPE_CHECKING:
    from meshca.cli.invitation import Invitation

JSON = dict[str, Any]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, and indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def write(value: JSON) -> str:
    """Write an object as YAML, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000)


def manifest(invitation: Invitation, *, namespace: str) -> str:
    """Write the join manifest; ``namespace`` is the operator's in the secondary.

    A cluster that has joined before keeps its CAConfiguration, so that part is a comment then.
    """
    registration = invitation.registration
    head = (
        f"# Cluster {registration.cluster!r} joins CAConfiguration {registration.configuration!r} of"
        f" {invitation.server}\n"
        f"# The token in it lasts until {format_time(invitation.expires)} and is renewed by the secondary"
        " from then on.\n"
        "# Whoever holds it is that cluster: apply it once, to that cluster, and keep no copy.\n"
    )
    text = write(configuration(invitation))
    if invitation.known:
        note = "# It has joined before, so this is there already; the Secret above is all that it needs:\n"
        return head + write(secret(invitation, namespace)) + note + _commented(text)
    return head + write(secret(invitation, namespace)) + "---\n" + text


def secret(invitation: Invitation, namespace: str) -> JSON:
    """Return the Secret by which the secondary reaches its primary."""
    registration = invitation.registration
    return {
        "apiVersion": names.SECRET.api_version,
        "kind": names.SECRET.kind,
        "metadata": {"name": names.join_secret(registration.configuration), "namespace": namespace},
        "type": "Opaque",
        "stringData": {
            "cluster-name": registration.cluster,
            "namespace": registration.namespace,
            "service-account": names.FEDERATION_ACCOUNT,
            "token-expires": format_time(invitation.expires),
            "kubeconfig": write(kubeconfig(invitation)),
        },
    }


def kubeconfig(invitation: Invitation) -> JSON:
    """Return a kubeconfig with one cluster, one user, one context."""
    authority = base64.b64encode(invitation.authority.encode()).decode()
    context = {"cluster": "primary", "user": "secondary", "namespace": invitation.registration.namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "primary",
        "contexts": [{"name": "primary", "context": context}],
        "clusters": [
            {
                "name": "primary",
                "cluster": {"server": invitation.server, "certificate-authority-data": authority},
            }
        ],
        "users": [{"name": "secondary", "user": {"token": invitation.token}}],
    }


def configuration(invitation: Invitation) -> JSON:
    """Return the smallest CAConfiguration that makes a cluster a secondary."""
    registration, pin = invitation.registration, invitation.pin
    primary = {
        "kubeconfigSecretName": names.join_secret(registration.configuration),
        "caConfigurationName": registration.configuration,
        "bundleDigest": pin.digest,
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CA_CONFIGURATION.kind,
        "metadata": {"name": registration.configuration},
        "spec": {
            "trustDomain": pin.trust_domain,
            "clusterName": registration.cluster,
            "federation": {"primary": primary},
        },
    }


def _commented(text: str) -> str:
    return "".join(f"#   {line}\n" for line in text.splitlines())
