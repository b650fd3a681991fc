"""The part of ``metadata`` that meshca reads, and what every object of ours has in common.

Decides nothing: it only carries. What it does not name is not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator

from meshca.api.names import Resource
from meshca.api.v1alpha1.base import Model, StatusModel
from meshca.api.v1alpha1.conditions import (
    Condition,
    ConditionStatus,
    find_condition,
    is_true,
    set_condition,
)
from meshca.api.v1alpha1.scalars import Time
from meshca.errors import InvalidError

if TYPE_CHECKING:
    from datetime import datetime


class OwnerReference(StatusModel):
    """Who an object belongs to."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(StatusModel):
    """Names, versions, labels and annotations of an object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class Status(StatusModel):
    """What every status has."""

    observed_generation: int = Field(
        default=0, ge=0, description="Generation of the spec that this status speaks about."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=16, description="Observations, one for each type."
    )

    @field_validator("conditions")
    @classmethod
    def _drop_nonsense(cls, conditions: tuple[Condition, ...], info: ValidationInfo) -> tuple[Condition, ...]:
        if not info.context:
            return conditions
        return tuple(c for c in conditions if c.type and c.last_transition_time is not None)

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type, or ``None``."""
        return find_condition(self.conditions, kind)

    def is_true(self, kind: str) -> bool:
        """Tell whether the condition of that type is there and True."""
        return is_true(self.conditions, kind)

    def with_condition(
        self,
        kind: str,
        status: ConditionStatus,
        reason: str,
        message: str,
        *,
        observed_generation: int,
        now: datetime,
    ) -> Self:
        """Return a copy with that condition set (see ``set_condition``)."""
        conditions = set_condition(
            self.conditions, kind, status, reason, message, observed_generation=observed_generation, now=now
        )
        return self.model_copy(update={"conditions": conditions})


class Object(Model):
    """One object of one of our kinds."""

    resource: ClassVar[Resource]

    metadata: Metadata = Field(default_factory=Metadata)

    @classmethod
    def from_object(cls, data: Any) -> Self:
        """Read one object as the API server sent it.

        Its spec and status may come from an untrusted user: an invalid spec raises ``InvalidError``
        naming field, value and bound; an invalid status counts as absent, field by field.
        """
        if not isinstance(data, dict):
            raise InvalidError(f"a {cls.__name__} must be an object, not {type(data).__name__}")
        known = {key: data[key] for key in ("metadata", "spec", "status") if data.get(key) is not None}
        known["metadata"] = Metadata.read(known.get("metadata"))
        if "status" in known:
            status = cls.model_fields["status"].annotation
            assert isinstance(status, type)
            assert issubclass(status, Status)
            known["status"] = status.read(known["status"])
        return cls.read(known)
