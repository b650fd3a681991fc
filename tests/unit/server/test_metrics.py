"""Metric names and labels are a contract; the page that documents them is generated."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import generate_latest

from meshca.engine import telemetry
from meshca.engine.work import Urgency
from meshca.server import metrics_doc
from meshca.server.metrics import Metrics

END = datetime(2030, 1, 1, tzinfo=UTC)
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def shown(metrics: Metrics) -> list[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return [line for line in lines if line.startswith("meshca_") and not line.startswith("meshca_build")]


def test_names_and_labels_are_as_documented() -> None:
    metrics = Metrics()
    told: telemetry.Telemetry = metrics
    told.leaf_issued("default", "csr", 0.02)
    told.leaf_issued("default", "managed", -1)
    told.issue_failed("Denied")
    told.leaves("default", {"Issued": 3})
    told.root_expiry("default", "abc", END)
    told.signer_expiry("default", END)
    told.rotation_phase("default", "Reissue")
    told.queue({Urgency.FIRST: 7}, 1.5)
    told.api_write("LeafCertificateRequest", "patch")
    told.leader(leading=True)
    told.loop_lag(0.002)
    lines = shown(metrics)
    for line in [
        'meshca_leaf_issue_duration_seconds_bucket{configuration="default",kind="csr",le="0.025"} 1.0',
        'meshca_leaf_issue_duration_seconds_sum{configuration="default",kind="managed"} 0.0',
        'meshca_issue_failures_total{reason="Denied"} 1.0',
        'meshca_leaves{configuration="default",state="Issued"} 3.0',
        'meshca_leaves{configuration="default",state="Pending"} 0.0',
        f'meshca_root_expiry_timestamp_seconds{{configuration="default",root="abc"}} {END.timestamp()}',
        f'meshca_signer_expiry_timestamp_seconds{{configuration="default"}} {END.timestamp()}',
        'meshca_rotation_phase{configuration="default",phase="Reissue"} 1.0',
        'meshca_rotation_phase{configuration="default",phase="None"} 0.0',
        'meshca_queue_depth{urgency="first"} 7.0',
        'meshca_queue_depth{urgency="control"} 0.0',
        "meshca_queue_age_seconds 1.5",
        'meshca_api_writes_total{kind="LeafCertificateRequest",verb="patch"} 1.0',
        "meshca_leader 1.0",
        'meshca_loop_lag_seconds_bucket{le="0.005"} 1.0',
    ]:
        # Large numbers are shown in the exponent form of Go; compare names and values apart.
        name, value = line.rsplit(" ", 1)
        assert (name, float(value)) in {(n, float(v)) for n, v in (entry.rsplit(" ", 1) for entry in lines)}
    assert not [line for line in lines if "_created" in line]


def test_what_is_gone_leaves_no_series_behind() -> None:
    metrics = Metrics()
    before = shown(metrics)
    metrics.root_expiry("default", "old", END)
    metrics.root_expiry("default", "old", None)
    metrics.root_expiry("default", "old", None)
    metrics.signer_expiry("default", END)
    metrics.signer_expiry("default", None)
    metrics.signer_expiry("never", None)
    metrics.federated_cluster_seen("never", "west", None)
    metrics.primary("default", reachable=True, last_contact=1.5)
    metrics.primary("other", reachable=False, last_contact=None)
    metrics.no_primary("default")
    metrics.no_primary("other")
    assert shown(metrics) == before
    metrics.root_expiry("default", "new", END)
    metrics.signer_expiry("default", END)
    metrics.federated_cluster_seen("default", "west", END)
    metrics.primary("default", reachable=True, last_contact=1.5)
    metrics.rotation_phase("default", "")
    metrics.leaf_issued("default", "csr", 1)
    metrics.leaves("default", {})
    metrics.leaves("other", {})
    metrics.forget_configuration("default")
    left = [line for line in shown(metrics) if "configuration=" in line]
    assert left
    assert all('configuration="other"' in line for line in left)


def test_every_word_of_the_engine_is_understood() -> None:
    words = {name for name in vars(telemetry.Telemetry) if not name.startswith("_")}
    assert words <= {name for name in vars(Metrics) if not name.startswith("_")}
    assert len(words) == 14


def test_two_replicas_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics(), Metrics()
    one.leader(leading=True)
    assert "meshca_leader 0.0" in shown(other)


def test_the_page_is_current(tmp_path: Path) -> None:
    assert metrics_doc.main([str(tmp_path / "metrics.md")]) == 0
    assert (tmp_path / "metrics.md").read_text() == PAGE.read_text(), (
        "run python -m meshca.server.metrics_doc docs/metrics.md"
    )


def test_the_page_names_every_metric_of_a_live_registry() -> None:
    metrics = Metrics()
    names = {family.name for family in metrics.registry.collect() if family.name.startswith("meshca_")}
    documented = {name.removesuffix("_total").removesuffix("_info") for name, *_ in metrics_doc.rows()}
    assert names == documented
