"""An etcd that is put back to what it was some time ago, as ``etcdutl snapshot restore`` does it."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from tests.simulation.events import Events

if TYPE_CHECKING:
    from tests.fakes.apiserver.store import Backup

BUMP = 1_000_000_000
"""What the manual tells to add to the revision, so that no watch goes on as if nothing had happened."""
AWAY = (20, 60, 300)
"""Seconds without an API server: none is restored within the time that a leader holds its Lease for."""
SETTLES_AFTER = 0.05


class Restores(Events):
    """Events of ``Chaos``."""

    backup: Backup | None = None

    def do_backup(self) -> str:
        self.backup = self.server.store.backup()
        return str(self.backup.version)

    def do_restore(self) -> str:
        """Have everything as it was, under a revision that jumps ahead, or else goes back as well."""
        if self.backup is None:
            return f"not yet, but a backup at {self.do_backup()}"
        store = self.server.store
        bump = self.rng.random() < 0.5
        before = store.version
        self.restoring += 1
        self.server.down = True
        store.restore(self.backup, self.backup.version + BUMP if bump else self.backup.version)
        self.server.compact()  # tokens of pages, too
        self.cluster.judge.restored()
        seconds = self.rng.choice(AWAY)
        self._later(seconds, self._back)
        return f"from {before} to {self.backup.version}, now at {store.version}, {seconds} s"

    def _back(self) -> None:
        self.restoring -= 1
        self.server.down = self.restoring > 0
        # The moment that is back may be one at which somebody had these deleted.
        self.cluster.policy()
        self._apply_again()
        # Whatever was underway when the snapshot was taken goes on.
        asyncio.get_running_loop().call_later(
            SETTLES_AFTER, self.server.controllers.settle, context=Context()
        )
