"""Who needs a root, by a consistent list of requests that nobody has looked at before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from meshca.engine.authorities import Authorities
from meshca.engine.castate import read_root
from meshca.engine.lookout import MOST_LISTED, Lookout
from meshca.engine.store import Store
from meshca.pki import certificates
from tests.fakes import pki
from tests.fakes.pki import NOW
from tests.fakes.planning import HOUR, chain_of

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

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
    """A cluster that holds some requests."""

    def __init__(self, *bodies: JSON) -> None:
        self.bodies = list(bodies)

    async def list(self, *_: object, **__: object) -> list[JSON]:
        return self.bodies


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
    lookout = Lookout(
        cluster=cast("Cluster", Listed(*bodies)),
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


async def test_the_first_to_end_are_named() -> None:
    lives = [chain_of(NOW - timedelta(hours=n))[1] for n in range(MOST_LISTED + 2)]
    found = await evidence(*(request(f"leaf-{n:02}", chain) for n, chain in enumerate(lives)))
    assert found.count == MOST_LISTED + 2
    assert found.blockers == tuple(f"shop/leaf-{n:02}" for n in range(MOST_LISTED + 1, 1, -1))
