"""Which names a configuration gives to workloads: the path template, DNS patterns, address ranges.

Decides what a template, a pattern and a range look like; which name a request gets is decided where
requests are judged.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from meshca.api.v1alpha1.base import Model
from meshca.api.v1alpha1.scalars import DNS_PATTERN
from meshca.api.v1alpha1.selector import Selector

NAMESPACE: Final = "{namespace}"
SERVICE_ACCOUNT: Final = "{serviceAccount}"
CLUSTER_NAME: Final = "{clusterName}"
DEFAULT_PATH_TEMPLATE: Final = f"/ns/{NAMESPACE}/sa/{SERVICE_ACCOUNT}"
PATH_MAX_LENGTH: Final = 512
PATH_PATTERN: Final = r"^(/(\{namespace\}|\{serviceAccount\}|([A-Za-z0-9._-]|\{clusterName\})+))+$"
PATH_SENTENCE: Final = (
    "is no path template: segments of letters, digits, '.', '-' and '_', each after one '/', neither '.' nor "
    "'..', with {namespace}, {serviceAccount} and {clusterName} for the words that vary"
)
CIDR_SENTENCE: Final = "is no address range such as 10.0.0.0/8 or fd00::/8, with no bits set after the prefix"
_PATH: Final = re.compile(PATH_PATTERN)


def check_path_template(template: str) -> str:
    """Return the template if it makes exactly one well-formed SPIFFE path for every account.

    Raises ``ValueError``. Segments follow SPIFFE-ID §2.2.
    """
    segments = template.split("/")[1:]
    for word in (NAMESPACE, SERVICE_ACCOUNT):
        if segments.count(word) != 1 or template.count(word) != 1:
            raise ValueError(f"must contain {word} once, as a whole segment")
    if not _PATH.fullmatch(template) or {".", ".."} & set(segments):
        raise ValueError(PATH_SENTENCE)
    return template


def check_cidr(text: str) -> str:
    """Return the text if it is an address range such as 10.0.0.0/8 or fd00::/8; raises ``ValueError``."""
    try:
        ip_network(text if "/" in text else "")
    except ValueError:
        raise ValueError(CIDR_SENTENCE) from None
    return text


PathTemplate = Annotated[
    str,
    StringConstraints(min_length=1, max_length=PATH_MAX_LENGTH),
    AfterValidator(check_path_template),
]
DnsPattern = Annotated[str, StringConstraints(pattern=DNS_PATTERN, min_length=1, max_length=253)]
Cidr = Annotated[str, StringConstraints(min_length=1, max_length=49), AfterValidator(check_cidr)]


class Identity(Model):
    """Which names workloads get."""

    path_template: PathTemplate = Field(
        default=DEFAULT_PATH_TEMPLATE,
        description="Path of the SPIFFE ID. {namespace} and {serviceAccount} stand once each, as whole "
        "segments; {clusterName} may stand anywhere.",
    )
    dns_names: tuple[DnsPattern, ...] = Field(
        default=(),
        max_length=32,
        description="DNS names that may be asked for, with the words of pathTemplate; * stands for one "
        "label. Empty: none.",
    )
    ip_addresses: tuple[Cidr, ...] = Field(
        default=(),
        max_length=32,
        description="Address ranges (CIDR) from which IP addresses may be asked for. Empty: none.",
    )
    namespace_selector: Selector = Field(
        default_factory=Selector, description="Namespaces whose requests are served. Empty: all."
    )
