"""The composition root: settings in, a running replica out.

``process`` is what every replica does (election, health, signals), ``leader`` what only the leader does,
``sources`` what it watches. Nothing else in meshca knows how the parts fit together.
"""

from meshca.runtime.process import run

__all__ = ["run"]
