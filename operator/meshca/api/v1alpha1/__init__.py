"""Version v1alpha1 of the five kinds, as pydantic models."""

from __future__ import annotations

from typing import Final

from meshca.api.v1alpha1.base import Model, StatusModel
from meshca.api.v1alpha1.caconfiguration import CAConfiguration, CAConfigurationSpec
from meshca.api.v1alpha1.caroot import CARoot, CARootSpec, CARootStatus, RootSource, RootState
from meshca.api.v1alpha1.castatus import CAConfigurationStatus, RotationPhase
from meshca.api.v1alpha1.conditions import Condition, ConditionType, Reason, set_condition
from meshca.api.v1alpha1.federation import FederatedCluster, IntermediateCertificateRequest
from meshca.api.v1alpha1.leaf import (
    LeafCertificateRequest,
    LeafCertificateRequestSpec,
    LeafCertificateRequestStatus,
    LeafState,
    Renewal,
)
from meshca.api.v1alpha1.metadata import Metadata, Object, Status
from meshca.api.v1alpha1.scalars import format_duration, format_time, parse_duration, parse_time
from meshca.api.v1alpha1.selector import Selector

KINDS: Final[tuple[type[Object], ...]] = (
    CAConfiguration,
    CARoot,
    LeafCertificateRequest,
    IntermediateCertificateRequest,
    FederatedCluster,
)

__all__ = [
    "KINDS",
    "CAConfiguration",
    "CAConfigurationSpec",
    "CAConfigurationStatus",
    "CARoot",
    "CARootSpec",
    "CARootStatus",
    "Condition",
    "ConditionType",
    "FederatedCluster",
    "IntermediateCertificateRequest",
    "LeafCertificateRequest",
    "LeafCertificateRequestSpec",
    "LeafCertificateRequestStatus",
    "LeafState",
    "Metadata",
    "Model",
    "Object",
    "Reason",
    "Renewal",
    "RootSource",
    "RootState",
    "RotationPhase",
    "Selector",
    "Status",
    "StatusModel",
    "format_duration",
    "format_time",
    "parse_duration",
    "parse_time",
    "set_condition",
]
