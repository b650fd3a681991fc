"""What is written into the status of a LeafCertificateRequest, in the API's own words.

Decides only since when the Ready condition holds; what it says was decided before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from meshca.planning.leaf import FAILED, HOLDS

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.leaf import Report
    from meshca.planning.views import IssuedFacts, LeafView

JSON = dict[str, Any]


def issued_status(view: LeafView, facts: IssuedFacts, chain: str, renew_at: datetime, now: datetime) -> JSON:
    """Return the whole status of a leaf that has just got this chain (PEM)."""
    return {
        "observedGeneration": view.meta.generation,
        "state": HOLDS.state,
        "certificateChain": chain,
        "serialNumber": facts.serial,
        "spiffeID": facts.spiffe_id,
        "notBefore": format_time(facts.not_before),
        "notAfter": format_time(facts.not_after),
        "renewAt": format_time(renew_at),
        "root": names.ca_root(view.spec.configuration, facts.root),
        "conditions": [_ready_condition(view, HOLDS, now)],
    }


def reported_status(view: LeafView, report: Report, now: datetime) -> JSON:
    """Return the part of a status that a report changes."""
    return {
        "observedGeneration": view.meta.generation,
        "state": report.state,
        "conditions": [_ready_condition(view, report, now)],
    }


def _ready_condition(view: LeafView, report: Report, now: datetime) -> JSON:
    ready = str(report.ready)
    # A final refusal counts from its own moment on, since the request is removed a day after it.
    same = view.ready == ready and (view.state == FAILED) == (report.state == FAILED)
    since = view.reason_since if same and view.reason_since else now
    return {
        "type": "Ready",
        "status": ready,
        "reason": str(report.reason),
        "message": report.message,
        "observedGeneration": view.meta.generation,
        "lastTransitionTime": format_time(since),
    }
