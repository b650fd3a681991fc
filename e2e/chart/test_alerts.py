"""The alerts: every one with a runbook, about this installation, on metrics that exist. Needs Helm only."""

from __future__ import annotations

import re
from typing import Any

from e2e.chart import render
from e2e.chart.render import one

JSON = dict[str, Any]
ROOT = render.CHART.parents[1]


def alerts(objects: list[JSON]) -> list[JSON]:
    return [rule for group in one(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]


def test_every_alert_has_a_runbook_that_exists_and_back() -> None:
    rules = alerts(render.objects("--set=metrics.prometheusRule.enabled=true"))
    named = {rule["annotations"]["runbook_url"] for rule in rules}
    assert named == {f"docs/runbooks/{rule['alert']}.md" for rule in rules}
    assert named == {str(file.relative_to(ROOT)) for file in (ROOT / "docs" / "runbooks").glob("Meshca*.md")}


def test_alerts_speak_of_this_installation_only(full: list[JSON]) -> None:
    for rule in alerts(full):
        selectors = re.findall(r"meshca_\w+(\{[^}]*\})?", rule["expr"])
        assert selectors, rule["alert"]
        for selector in selectors:
            assert 'namespace="meshca-system"' in selector, rule["alert"]
            assert 'job="mesh-ca-metrics"' in selector, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}


def test_alerts_ask_for_metrics_that_are_documented(full: list[JSON]) -> None:
    documented = set(re.findall(r"`(meshca_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    used = {name for rule in alerts(full) for name in re.findall(r"\bmeshca_\w+", rule["expr"])}
    assert {name.removesuffix("_total").removesuffix("_count") for name in used} <= {
        name.removesuffix("_total") for name in documented
    }
