"""Who needs a root, by a consistent list of requests that nobody has looked at before."""

from __future__ import annotations

import weakref
from datetime import timedelta
from itertools import count, islice
from typing import TYPE_CHECKING, Any, cast

import pytest

from meshca.engine.authorities import Authorities
from meshca.engine.castate import read_root
from meshca.engine.lookout import MOST_LISTED, Lookout
from meshca.engine.ports import Page
from meshca.engine.store import Store
from meshca.errors import GoneError, TransientError
from meshca.pki import certificates
from tests.fakes import pki
from tests.fakes.pki import NOW
from tests.fakes.planning import HOUR, chain_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator
    from datetime import datetime

    from cryptography import x509

    from meshca.api.names import Resource
    from meshca.engine.ports import Cluster
    from meshca.engine.queue import WorkQueue
    from meshca.planning.ca import Evidence, Root

JSON = dict[str, Any]


class Clock:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class Listed:
    """A cluster that lists some requests, so many to a page, and may lose its history after some pages."""

    def __init__(self, bodies: Iterable[JSON], page_size: int = 500, gone_after: int | None = None) -> None:
        self.bodies, self.page_size, self.gone_after = bodies, page_size, gone_after

    async def pages(self, _resource: Resource) -> AsyncGenerator[Page, None]:
        bodies = iter(self.bodies)
        for number in count():
            if number == self.gone_after:
                raise GoneError("the page token has expired")
            items = list(islice(bodies, self.page_size))
            if not items:
                return
            yield Page(items, "1")
            del items


def request(name: str = "web", chain: str = "", configuration: str | None = None) -> JSON:
    spec = {"caConfigurationName": configuration} if configuration else {}
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": spec,
        "status": {"certificateChain": chain} if chain else {},
    }


def root_of(certificate: x509.Certificate) -> Root:
    pem = certificates.to_pem(certificate)
    found = read_root({"metadata": {"name": "default-1"}, "spec": {"certificate": pem}})
    assert found is not None
    return found


async def evidence(*bodies: JSON, root: Root | None = None) -> Evidence:
    return await evidence_of(Listed(bodies), root)


async def evidence_of(listed: Listed, root: Root | None = None) -> Evidence:
    lookout = Lookout(
        cluster=cast("Cluster", listed),
        store=Store(),
        authorities=Authorities(),
        queue=cast("WorkQueue", None),
        clock=Clock(),
    )
    return await lookout.evidence("default", root or root_of(pki.authority().root))


LIVE = chain_of()[1]
LEAF_ALONE = LIVE[: LIVE.index("-----END CERTIFICATE-----") + 26]


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        (request(chain=LIVE), True),
        (request(chain=LIVE, configuration="default"), True),
        (request(chain=LIVE, configuration="other"), False),
        (request(), False),
        (request(chain="no chain"), False),
        (request(chain=LEAF_ALONE), False),
        (request(chain=chain_of(NOW - 73 * HOUR)[1]), False),
    ],
    ids=["live", "by name", "another CA", "not issued", "garbage", "no signer", "expired"],
)
async def test_a_root_is_needed_by_live_leaves_of_its_configuration(body: JSON, *, needs: bool) -> None:
    found = await evidence(body)
    assert found.count == int(needs)
    assert found.blockers == (("shop/web",) if needs else ())
    end = certificates.facts(chain_of()[0]).not_after
    assert found.next_end == (end if needs else None)


async def test_a_leaf_of_another_root_needs_this_one_not() -> None:
    other = root_of(pki.make_root(pki.key(name="another root")))
    assert (await evidence(request(chain=LIVE), root=other)).count == 0


@pytest.mark.parametrize("page_size", [1, 5, 500])
async def test_the_first_to_end_are_named(page_size: int) -> None:
    lives = [chain_of(NOW - timedelta(hours=n))[1] for n in range(MOST_LISTED + 2)]
    bodies = [request(f"leaf-{n:02}", chain) for n, chain in enumerate(lives)]
    found = await evidence_of(Listed(bodies, page_size))
    assert found.count == MOST_LISTED + 2
    assert found.blockers == tuple(f"shop/leaf-{n:02}" for n in range(MOST_LISTED + 1, 1, -1))


class Body(dict[str, Any]):
    """A request of which can be told whether somebody keeps it."""

    __hash__ = object.__hash__  # type: ignore[assignment]


async def test_no_more_than_a_page_of_requests_is_kept_at_a_time() -> None:
    alive: weakref.WeakSet[Body] = weakref.WeakSet()
    most = 0

    def bodies() -> Iterator[JSON]:
        nonlocal most
        for n in range(100):
            body = Body(request(f"leaf-{n:02}", LIVE))
            alive.add(body)
            most = max(most, len(alive))
            yield body

    found = await evidence_of(Listed(bodies(), page_size=10))
    assert found.count == 100
    assert most <= 20, "the page that is looked at, and the next one as it comes"


async def test_a_listing_that_is_not_of_one_moment_is_no_evidence() -> None:
    bodies = [request(f"leaf-{n}", LIVE) for n in range(10)]
    with pytest.raises(TransientError, match="has expired"):
        await evidence_of(Listed(bodies, page_size=2, gone_after=3))
