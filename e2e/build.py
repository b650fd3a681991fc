"""Builds and fetches everything the scenarios need, into the cache; ``make test`` starts it first.

Decides the order only: what is needed soonest comes first. What this machine cannot run is left out with
a line that says why.
"""

from __future__ import annotations

import sys

from e2e import binaries, cache, envoy, gnutls, image, released, tools
from e2e.errors import CannotRunError, HarnessError
from e2e.node import tools as node


def main() -> int:
    """Build everything; exit code 1 when something that should have worked did not."""
    failed = False
    for name, build in (
        ("Kubernetes", binaries.assets),
        ("Helm 3", tools.helm3),
        ("Envoy", envoy.install),
        ("GnuTLS", gnutls.certtool),
        ("node tools", node.check),
        ("node packages", node.debs),
        ("pause image", node.pause),
        ("operator image", image.operator),
        ("image of the last release", _last_release),
    ):
        try:
            build()
        except CannotRunError as error:
            cache.say(f"{name}: left out: {error}")
            if build is node.check:
                break
        except HarnessError as error:
            cache.say(f"{name}: FAILED: {error}")
            failed = True
    return int(failed)


def _last_release() -> None:
    image.operator(image.Source(released.tree()))


if __name__ == "__main__":
    sys.exit(main())
