"""What a line of the audit log says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from e2e import audit

if TYPE_CHECKING:
    from pathlib import Path


def line(**change: Any) -> str:
    event = {
        "auditID": "a1",
        "stage": "ResponseComplete",
        "verb": "update",
        "user": {"username": "jane"},
        "userAgent": "kubectl",
        "objectRef": {
            "resource": "leafcertificaterequests",
            "namespace": "shop",
            "name": "web",
            "apiGroup": "meshca.dev",
            "subresource": "status",
        },
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-11-23T07:00:00.100000Z",
        "stageTimestamp": "2026-11-23T07:00:00.123456Z",
    }
    return json.dumps({**event, **change}) + "\n"


def test_a_line_names_who_did_what_to_which_object() -> None:
    assert audit.parse(line()) == audit.AuditEvent(
        audit_id="a1",
        user="jane",
        verb="update",
        group="meshca.dev",
        resource="leafcertificaterequests",
        subresource="status",
        namespace="shop",
        name="web",
        code=200,
        stage="ResponseComplete",
        received=datetime(2026, 11, 23, 7, 0, 0, 100000, tzinfo=UTC),
        time=datetime(2026, 11, 23, 7, 0, 0, 123456, tzinfo=UTC),
        user_agent="kubectl",
    )


def test_a_write_without_object_or_answer_is_still_one() -> None:
    event = audit.parse(line(objectRef={}, responseStatus={}))
    assert (event.resource, event.name, event.code, event.succeeded) == ("", "", 0, False)


def test_reading_starts_where_told_and_leaves_a_half_line(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    first, second = line(auditID="one"), line(auditID="two")
    log.write_text(first + second + '{"half')
    assert [event.audit_id for event in audit.read(log)] == ["one", "two"]
    assert [event.audit_id for event in audit.read(log, len(first))] == ["two"]
    assert list(audit.read(tmp_path / "none")) == []


def test_what_came_before_a_mark_is_left_out_though_it_was_logged_after(tmp_path: Path) -> None:
    def at(second: int, name: str, agent: str = "kubectl") -> str:
        moment = f"2026-11-23T07:00:{second:02}.000000Z"
        return line(auditID=name, requestReceivedTimestamp=moment, userAgent=agent)

    log = tmp_path / "audit.log"
    first = at(1, "first")
    marked = at(3, "mark", audit.MARKER)
    log.write_text(first + marked + at(2, "slow") + at(4, "next") + at(5, "another mark", audit.MARKER))
    assert [event.audit_id for event in audit.since(log, len(first))] == ["next"]
    assert [event.audit_id for event in audit.since(log, 0)] == ["first", "slow", "next"]


def test_the_policy_logs_every_write_once_and_no_read() -> None:
    policy = yaml.safe_load(audit.POLICY)
    assert policy["omitStages"] == ["RequestReceived", "ResponseStarted"]
    writes, rest = policy["rules"]
    assert {*writes["verbs"]} == {"create", "update", "patch", "delete", "deletecollection"}
    assert rest == {"level": "None"}
