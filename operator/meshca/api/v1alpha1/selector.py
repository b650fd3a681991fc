"""Label selectors over namespaces, with the meaning Kubernetes gives them.

Decides whether labels match. Hand-written because no Kubernetes client for Python evaluates them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self, assert_never

from pydantic import Field, StringConstraints, model_validator

from meshca.api.v1alpha1.base import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]


class Operator(StrEnum):
    """How a requirement compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(Model):
    """One expression of a selector."""

    key: LabelKey = Field(description="Label key.")
    operator: Operator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: tuple[LabelValue, ...] = Field(
        default=(), max_length=64, description="Values for In and NotIn; empty for the others."
    )

    @model_validator(mode="after")
    def _values_fit_operator(self) -> Self:
        if bool(self.values) != (self.operator in {Operator.IN, Operator.NOT_IN}):
            raise ValueError(
                f"values do not fit operator {self.operator}: In and NotIn need some, others none"
            )
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels meet this requirement; NotIn holds for an absent key."""
        match self.operator:
            case Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels
            case _ as never:
                assert_never(never)


class Selector(Model):
    """All of ``matchLabels`` and ``matchExpressions`` must hold; the empty selector matches everything."""

    match_labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that must be there with these values."
    )
    match_expressions: tuple[Requirement, ...] = Field(
        default=(), max_length=32, description="Further requirements, all of which must hold."
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
