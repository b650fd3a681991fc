"""Hears everything that a cluster says while it lives, and tells in the end whether a private key was in it.

One thread for each kind watches all namespaces: every state that an object ever had is kept in a file, and
every key that was ever in a Secret is kept apart. With them are searched: all log files of the operator and
of the servers, what was served as metrics, and every error that a caller got. Never looks into what may
hold keys: Secrets, and files of the harness itself.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
from typing import TYPE_CHECKING, Any, Self

from cryptography.exceptions import UnsupportedAlgorithm

from e2e import secrecy
from e2e.client import path_of
from e2e.errors import HarnessError
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from e2e.cluster import Cluster, Operator
    from meshca.api.names import Resource

JSON = dict[str, Any]
KINDS = (
    *names.OWN_RESOURCES,
    names.CONFIG_MAP,
    names.EVENT,
    names.CLUSTER_TRUST_BUNDLE,
    names.LEASE,
    names.VALIDATING_POLICY,
)
"""What anybody may read who may not read Secrets, and the operator writes."""
PAUSE = 1.0
"""Seconds before a watch is tried again that is refused: no such kind yet, or the server is away."""
WATCH_SECONDS = 3600.0
SHOWN = 120
"""Characters of a log line that are shown with a find, without what could be a key."""
_PASSING = (OSError, http.client.HTTPException, HarnessError, ValueError)
"""What becomes of a call while a scenario disturbs the server, or once the cluster is being ended."""


class Witness:
    """Listens to one running cluster from ``with`` on; leaving it fails when a key was anywhere."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # What else stands in somebody's own cluster is not ours to judge.
        self._kinds = names.OWN_RESOURCES if cluster.flavour == "kubeconfig" else KINDS
        self._notes = cluster.directory / "witness"
        self._keys: set[bytes] = set()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._notes.mkdir()
        for kind in (names.SECRET, *self._kinds):
            threading.Thread(target=self._listen, args=(kind,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        # An error here is one of setting up: pytest hands a fixture none of its tests.
        places = [] if error or self._cluster.kept else self.leaks()
        assert places == [], f"226: private keys in {self._cluster.name}: {', '.join(places)}"

    def hear_out(self, operator: Operator) -> None:
        """Note what the replicas serve and logged; to be called before they are stopped."""
        for replica in operator.replicas:
            try:
                self._note(f"metrics of {replica}", operator.get(replica, "/metrics")[1])
            except (OSError, http.client.HTTPException):
                # A scenario that failed may have left it frozen or on its way down.
                continue
            finally:
                self._note(f"log of {replica}", json.dumps(operator.logs(replica), ensure_ascii=False))

    def keys(self) -> set[bytes]:
        """Return every private key (PEM) that was in a Secret until now, and those that the run made."""
        for secret in self._read(names.SECRET):
            self._take_keys(secret)
        return {pem for pem in self._keys if _is_key(pem)} | secrecy.made()

    def leaks(self, *more: bytes) -> list[str]:
        """Return where a key is that was said anywhere until now; ``more`` are looked for besides (PEM)."""
        search = secrecy.Search({*self.keys(), *more})
        return sorted({place for place, text in self._said() if search.finds(text)})

    # --- what was said --------------------------------------------------------------------------

    def _said(self) -> Iterator[tuple[str, str]]:
        for kind in self._kinds:
            # A watch may be a moment behind.
            for item in self._read(kind):
                yield f"{kind.plural}: {_safe(_name(item))}", json.dumps(item, ensure_ascii=False)
        for file in (*self._notes.iterdir(), *self._logs()):
            with file.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    yield f"{file.relative_to(self._cluster.directory)}: {_shown(line)}", line
        for text in self._cluster.refusals():
            yield f"an answer to a caller: {_shown(text)}", text

    def _logs(self) -> Iterator[Path]:
        yield from self._cluster.directory.glob("*.log")
        yield from self._cluster.directory.glob("operator/*/log")

    # --- listening ------------------------------------------------------------------------------

    def _listen(self, kind: Resource) -> None:
        version = ""
        while not self._over.is_set():
            try:
                version = self._follow(kind, version or self._begin(kind))
            except _PASSING:
                # Not served yet either, or its history was compacted.
                version = ""
                self._over.wait(PAUSE)

    def _begin(self, kind: Resource) -> str:
        found = self._cluster.client().request("GET", path_of(kind))
        for item in found["items"]:
            self._hear(kind, item)
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, kind: Resource, version: str) -> str:
        asked = {"resourceVersion": version, "timeoutSeconds": f"{WATCH_SECONDS:.0f}"}
        for event in self._cluster.client().watch(path_of(kind), asked, WATCH_SECONDS):
            item = event["object"]
            if event["type"] == "ERROR":
                return ""
            version = item["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._hear(kind, item)
        return version

    def _hear(self, kind: Resource, item: JSON) -> None:
        if kind == names.SECRET:
            self._take_keys(item)
        else:
            self._note(kind.plural, json.dumps(item, ensure_ascii=False))

    def _take_keys(self, secret: JSON) -> None:
        for value in (secret.get("data") or {}).values():
            text = base64.b64decode(value)
            if secrecy.MARKER.encode() in text:
                self._keys.add(text)

    def _note(self, what: str, text: str) -> None:
        with (self._notes / what.replace("/", "-")).open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def _read(self, kind: Resource) -> list[JSON]:
        """Return what exists of a kind now; nothing where the server does not have it or is gone for good."""
        try:
            return list(self._cluster.request("GET", path_of(kind))["items"])
        except _PASSING:
            return []


def _name(item: JSON) -> str:
    return "/".join(filter(None, (item["metadata"].get("namespace"), item["metadata"]["name"])))


def _is_key(pem: bytes) -> bool:
    """Tell whether it can be read; what a scenario broke on purpose cannot."""
    try:
        secrecy.private_bytes(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _shown(line: str) -> str:
    """Return whose object a line is, or how it reads."""
    try:
        return _safe(_name(json.loads(line)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _safe(line)


def _safe(text: str) -> str:
    """Return the beginning of a text without anything that could be a key."""
    return secrecy.RUN.sub("...", text)[:SHOWN]
