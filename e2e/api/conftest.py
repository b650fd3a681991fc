"""A control plane with the API of meshca and nothing that works on it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from e2e import flavours
from e2e.api import world
from e2e.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api() -> Iterator[Cluster]:
    """Return a control plane, whatever ``CLUSTER`` says, with CRDs and policies and no operator."""
    with flavours.make("controlplane", "api") as made, Witness(made):
        world.install(made)
        yield made


@pytest.fixture
def place(api: Cluster) -> str:
    """Return the name of a new namespace with the ServiceAccounts cart and payment."""
    name = f"place-{next(_numbers)}"
    world.make_namespace(api, name)
    for account in ("cart", "payment"):
        world.make_account(api, name, account)
    return name
