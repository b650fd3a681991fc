"""``meshca status`` and ``meshca roots``: reads, and lays out what ``overview`` found.

Decides the order of what is shown; never what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.caroot import CARootStatus
from meshca.api.v1alpha1.scalars import format_time
from meshca.cli.advice import Weight
from meshca.cli.overview import Leaves, Overview, count_leaf, overview
from meshca.cli.reading import configuration_of, configurations, fold, leaf_selector, name_of, roots
from meshca.cli.screen import moment
from meshca.errors import InvalidError
from meshca.pki.certificates import facts, load_one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from meshca.api.v1alpha1.castatus import RotationStatus
    from meshca.cli.screen import Screen
    from meshca.kube.gateway import Gateway

JSON = dict[str, Any]
_STYLES = {Weight.WRONG: "bold red", Weight.NOTE: "yellow", Weight.FINE: ""}


async def look(gateway: Gateway, name: str, now: datetime) -> list[Overview]:
    """Read what ``status`` shows: one configuration, or all; leaves page by page."""
    found = await configurations(gateway, name)
    trusted = await roots(gateway, name)
    counted: dict[str, Leaves] = await fold(
        gateway,
        names.LEAF,
        dict,
        lambda total, item: count_leaf(total, item, now),
        leaf_selector(name) if name else None,
    )
    return [overview(item, trusted, counted.get(name_of(item), Leaves()), now) for item in found]


def show(screen: Screen, overviews: list[Overview], now: datetime) -> None:
    """Lay the overviews out on one screen."""
    for one in overviews:
        screen.line(f"{one.name}: {'fine' if one.fine else 'NOT FINE'}", "green" if one.fine else "bold red")
        screen.pairs(_facts(one, now))
        screen.line()
    if not overviews:
        screen.line("there is no CAConfiguration")


def _facts(one: Overview, now: datetime) -> Iterator[tuple[str, str, str]]:
    status = one.status
    yield "trust domain", status.trust_domain or "-", ""
    yield (
        "active root",
        f"{status.active_root or '-'}, {one.root_state}, expires {moment(one.root_not_after, now)}",
        "",
    )
    if status.signer is not None:
        until = f"expires {moment(status.signer.not_after, now)}"
        yield "signer", f"{until}, renewed {moment(status.signer.renew_at, now)}", ""
    targets = status.bundle.targets
    yield "bundle", f"{len(status.bundle.roots)} roots, in {targets.current} of {targets.total} places", ""
    turning = status.condition("RotationInProgress")
    yield "rotation", _rotation(turning.reason if turning else "None", status.rotation, now), ""
    for straggler in status.rotation.stragglers if status.rotation else ():
        yield "", f"left: {straggler}", ""
    states = ", ".join(f"{count} {state}" for state, count in sorted(one.leaves.states.items()))
    yield "leaves", f"{one.leaves.states.total()}{f': {states}' if states else ''}", ""
    for text in one.leaves.listed:
        yield "", text, "red"
    if one.leaves.failing > len(one.leaves.listed):
        yield "", f"and {one.leaves.failing - len(one.leaves.listed)} more", "red"
    for remark in one.remarks:
        label = "WRONG" if remark.weight is Weight.WRONG else "note"
        yield label, remark.text, _STYLES[remark.weight]
        if remark.todo:
            yield "", f"to do: {remark.todo}", ""


def _rotation(reason: str, rotation: RotationStatus | None, now: datetime) -> str:
    if rotation is None or reason == "None":
        return "none"
    parts = [reason, f"from {rotation.from_ or '-'} to {rotation.to or '-'}"]
    if rotation.leaves:
        parts.append(f"{rotation.percent} % ({rotation.reissued} of {rotation.leaves} leaves)")
    if rotation.estimated_end is not None:
        parts.append(f"ends about {moment(rotation.estimated_end, now)}")
    if rotation.deadline is not None and rotation.percent < 100:  # noqa: PLR2004  per cent
        parts.append(f"deadline {moment(rotation.deadline, now)}")
    return ", ".join(parts)


ROOT_HEADINGS = (
    "NAME",
    "CONFIGURATION",
    "STATE",
    "SOURCE",
    "KEY",
    "FINGERPRINT",
    "EXPIRES",
    "ACTIVATED",
    "PRUNABLE AFTER",
    "LEAVES",
    "CROSS",
)


def root_row(item: JSON) -> JSON:
    """Return what there is to say about one CARoot, as JSON."""
    spec, status = item.get("spec") or {}, CARootStatus.read(item.get("status"))
    try:
        found = facts(load_one(str(spec.get("certificate", ""))))
    except InvalidError as error:
        found, problem = None, error.message
    else:
        problem = ""
    return {
        "name": name_of(item),
        "configuration": configuration_of(item),
        "state": str(status.state or ""),
        "source": str(spec.get("source", "")),
        "key": str(found.key_spec) if found else "",
        "fingerprint": found.fingerprint if found else "",
        "notAfter": format_time(found.not_after) if found else None,
        "activatedAt": format_time(status.activated_at) if status.activated_at else None,
        "rotatedOutAt": format_time(status.rotated_out_at) if status.rotated_out_at else None,
        "prunableAfter": format_time(status.prunable_after) if status.prunable_after else None,
        "leaves": status.leaves,
        "crossCertificates": len(status.cross_certificates),
        "problem": problem,
    }


def show_roots(screen: Screen, rows: list[JSON]) -> None:
    """Lay CARoots out as a table."""
    if not rows:
        screen.line("there is no CARoot")
        return
    keys = (
        "name",
        "configuration",
        "state",
        "source",
        "key",
        "fingerprint",
        "notAfter",
        "activatedAt",
        "prunableAfter",
        "leaves",
        "crossCertificates",
    )
    shown = [row | {"fingerprint": row["fingerprint"][:10]} for row in rows]
    screen.table(
        ROOT_HEADINGS, [["-" if row[key] in (None, "") else str(row[key]) for key in keys] for row in shown]
    )
    for row in rows:
        if row["problem"]:
            screen.line(f"{row['name']}: {row['problem']}", "red")
