"""Events by which other namespaces are owed a bundle than before."""

from __future__ import annotations

from typing import Any

from meshca.api import names
from tests.simulation.cluster import NAMESPACES
from tests.simulation.events import Events

JSON = dict[str, Any]
LABEL = "mesh"
EVERYBODY: JSON = {"matchLabels": None, "matchExpressions": None}
LABELLED: JSON = {"matchLabels": {LABEL: "in"}, "matchExpressions": None}
OTHERS: JSON = {"matchLabels": None, "matchExpressions": [{"key": LABEL, "operator": "DoesNotExist"}]}


class Selection(Events):
    """Events of ``Chaos``."""

    def wish(self, **spec: Any) -> None:
        """Change what the configuration asks for."""
        raise NotImplementedError

    def do_selector(self) -> str:
        chosen = self.rng.choice((EVERYBODY, LABELLED, OTHERS))
        self.wish(trustBundle={"namespaceSelector": chosen})
        return str(chosen)

    def do_label(self) -> str:
        """Put the label on a namespace that the selector may ask for, or take it off."""
        name = self.rng.choice(NAMESPACES)
        found = self.server.find(names.NAMESPACE, name) or {"metadata": {}}
        here = LABEL in (found["metadata"].get("labels") or {})
        self.server.merge(
            names.NAMESPACE, name, "", {"metadata": {"labels": {LABEL: None if here else "in"}}}
        )
        return f"{name} {'off' if here else 'on'}"
