"""Label selectors mean what they mean to Kubernetes."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.api.v1alpha1 import Selector
from meshca.errors import InvalidError

LABELS = {"team": "shop", "stage": "live"}


def _one(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"team": "shop"}}, True),
        ({"matchLabels": {"team": "shop", "stage": "test"}}, False),
        ({"matchLabels": {"gone": ""}}, False),
        (_one("team", "In", "shop", "bank"), True),
        (_one("team", "In", "bank"), False),
        (_one("gone", "In", "shop"), False),
        (_one("team", "NotIn", "bank"), True),
        (_one("team", "NotIn", "shop"), False),
        (_one("gone", "NotIn", "shop"), True),
        (_one("team", "Exists"), True),
        (_one("gone", "Exists"), False),
        (_one("team", "DoesNotExist"), False),
        (_one("gone", "DoesNotExist"), True),
        ({"matchLabels": {"team": "shop"}} | _one("stage", "In", "test"), False),
    ],
)
def test_selectors_match_as_in_kubernetes(selector: dict[str, Any], *, matches: bool) -> None:
    assert Selector.read(selector).matches(LABELS) is matches


@pytest.mark.parametrize(
    "selector",
    [_one("team", "In"), _one("team", "NotIn"), _one("team", "Exists", "x"), _one("team", "Like", "x")],
)
def test_selectors_that_mean_nothing_are_refused(selector: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        Selector.read(selector)
