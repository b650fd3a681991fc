"""Volumes of Secrets and ConfigMaps on a machine without a kubelet, written as a kubelet writes them.

Decides when a change in the API server reaches the files of a workload, and that all files of a volume
change in one instant. Never decides what is in them.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from e2e.cluster import Cluster

JSON = dict[str, Any]

_DATA = "..data"
_SLICE = 0.5
"""Seconds after which a watch looks whether it is still wanted."""


class Volume:
    """One directory: each file is a link into ``..data``, which is a link to a directory of one write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: dict[str, bytes] = {}
        directory.mkdir(parents=True, mode=0o700)

    def write(self, files: Mapping[str, bytes]) -> bool:
        """Replace all files in one instant and tell whether that was needed.

        The files of the write before are gone at once, so whoever still holds their path loses.
        """
        if files == self._files:
            return False
        fresh = Path(tempfile.mkdtemp(prefix="..", dir=self.directory))
        for name, data in files.items():
            (fresh / name).touch(mode=0o600)
            (fresh / name).write_bytes(data)
        current = self.directory / _DATA
        before = current.readlink() if current.is_symlink() else None
        link = self.directory / f"{_DATA}_tmp"
        link.symlink_to(fresh.name)
        link.replace(current)
        for name in files.keys() - self._files.keys():
            (self.directory / name).symlink_to(f"{_DATA}/{name}")
        for name in self._files.keys() - files.keys():
            (self.directory / name).unlink()
        if before:
            shutil.rmtree(self.directory / before)
        self._files = dict(files)
        return True

    def read(self, name: str) -> bytes:
        """Return what a file holds now; empty before the first write."""
        return self._files.get(name, b"")

    @property
    def files(self) -> dict[str, bytes]:
        """Return what all files hold now."""
        return dict(self._files)


class Projector:
    """Keeps a volume like the Secret or ConfigMap at a URL path; a context manager.

    ``withhold`` stops delivery, as a kubelet that lags behind does; ``release`` brings what was missed.
    """

    def __init__(self, cluster: Cluster, path: str, directory: Path) -> None:
        self.volume = Volume(directory)
        self.path = path
        self._cluster = cluster
        self._thread = threading.Thread(target=self._run, name=f"projector {path}", daemon=True)
        self._over = threading.Event()
        self._lock = threading.Condition()
        self._held = False
        self._latest: JSON | None = None

    def __enter__(self) -> Self:
        """Begin to watch; returns when the volume is filled, as a Pod waits for its volumes."""
        self._thread.start()
        try:
            self.wait(bool)
        except TimeoutError:
            self._over.set()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def wait(self, met: Callable[[dict[str, bytes]], bool], timeout: float = 30.0) -> None:
        """Return once the files of the volume are such; ``TimeoutError`` after seconds."""
        with self._lock:
            if not self._lock.wait_for(lambda: met(self.volume.files), timeout):
                raise TimeoutError(f"{self.path}: the volume is not so after {timeout:g} s")

    def withhold(self) -> None:
        """Deliver no further change until ``release``."""
        with self._lock:
            self._held = True

    def release(self) -> None:
        """Deliver the newest state, and every change from now on."""
        with self._lock:
            self._held = False
            self._deliver()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._cluster.wait_for(self._take, self.path, _SLICE)
            except TimeoutError:
                continue

    def _take(self, objects: list[JSON]) -> bool:
        with self._lock:
            # An object that is gone leaves the files as they are.
            if objects:
                self._latest = objects[0]
                self._deliver()
        return self._over.is_set()

    def _deliver(self) -> None:
        if self._latest is not None and not self._held:
            self.volume.write(entries(self._latest))
            self._lock.notify_all()


def entries(body: JSON) -> dict[str, bytes]:
    """Return the files that a Secret or a ConfigMap makes in a volume."""
    data: dict[str, str] = body.get("data") or {}
    if body.get("kind") == "Secret" or "type" in body:
        return {name: base64.b64decode(text) for name, text in data.items()}
    return {name: text.encode() for name, text in data.items()}
