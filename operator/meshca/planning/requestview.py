"""What a decision about an IntermediateCertificateRequest sees: the request, and all that it depends on.

Decides how a request is read, which comes from another cluster and may hold anything; nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshca.api.v1alpha1.conditions import ConditionType, find_condition
from meshca.api.v1alpha1.federation import (
    IntermediateCertificateRequestSpec,
    IntermediateCertificateRequestStatus,
)
from meshca.errors import InvalidError
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from meshca.planning.authority import Admission
    from meshca.planning.ca import Root
    from meshca.planning.secondaries import Secondary
    from meshca.planning.signingroot import SigningRoot

_NO_SPEC: Final = IntermediateCertificateRequestSpec.model_construct(
    cluster_name="", ca_configuration_name="", request="", requester=None
)


@dataclass(frozen=True, slots=True)
class RequestView:
    """An IntermediateCertificateRequest; ``problem`` says why its spec cannot be read ("" = it can)."""

    meta: Meta
    spec: IntermediateCertificateRequestSpec
    problem: str
    status: IntermediateCertificateRequestStatus

    @property
    def cluster(self) -> str:
        """Return the name of the secondary that asks."""
        return self.spec.cluster_name

    @property
    def configuration(self) -> str:
        """Return the CAConfiguration that is asked."""
        return self.spec.ca_configuration_name

    @property
    def issued(self) -> bool:
        """Return whether a certificate is on record."""
        return bool(self.status.certificate_chain)

    @property
    def settled_at(self) -> datetime | None:
        """Return since when it is Ready, or is not."""
        ready = find_condition(self.status.conditions, ConditionType.READY)
        return ready.last_transition_time if ready is not None else None


def read_request(body: Mapping[str, Any]) -> RequestView:
    """Project an IntermediateCertificateRequest."""
    status = IntermediateCertificateRequestStatus.read(body.get("status"))
    try:
        spec = IntermediateCertificateRequestSpec.read(body.get("spec"), at="spec")
    except InvalidError as error:
        return RequestView(Meta.of(body), _NO_SPEC, error.message, status)
    return RequestView(Meta.of(body), spec, "", status)


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    """Everything one decision about a request depends on, read from the API server.

    ``registration`` is the FederatedCluster of that name, ``rival`` names an older one with its namespace;
    ``is_secondary`` and ``active_root`` (a CARoot) are of the CAConfiguration, ``root`` is the CARoot that
    ``authority`` names; ``successor_since`` is when a later request of the cluster was granted, if one was.
    """

    now: datetime
    request: RequestView
    registration: Secondary | None
    rival: str
    is_secondary: bool
    active_root: str
    authority: SigningRoot | None
    root: Root | None
    admission: Admission
    clocks_differ: bool
    successor_since: datetime | None = None
