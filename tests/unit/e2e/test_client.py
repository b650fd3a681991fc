"""Where the scenario client looks for an object."""

from __future__ import annotations

import pytest

from e2e import client
from meshca.api import names


@pytest.mark.parametrize(
    ("path", "collection", "name"),
    [
        ("/api/v1/namespaces", "/api/v1/namespaces", ""),
        ("/api/v1/namespaces/shop", "/api/v1/namespaces", "shop"),
        ("/api/v1/namespaces/shop/secrets", "/api/v1/namespaces/shop/secrets", ""),
        ("/api/v1/namespaces/shop/secrets/a", "/api/v1/namespaces/shop/secrets", "a"),
        ("/apis/meshca.dev/v1alpha1/caroots", "/apis/meshca.dev/v1alpha1/caroots", ""),
        ("/apis/meshca.dev/v1alpha1/caroots/r", "/apis/meshca.dev/v1alpha1/caroots", "r"),
        (
            "/apis/apps/v1/namespaces/shop/deployments/d",
            "/apis/apps/v1/namespaces/shop/deployments",
            "d",
        ),
    ],
)
def test_an_object_is_watched_in_its_collection_by_name(path: str, collection: str, name: str) -> None:
    query = {"fieldSelector": f"metadata.name={name}"} if name else {}
    assert client.split_path(path) == (collection, query)


def test_a_query_in_the_path_is_kept() -> None:
    found = client.split_path("/api/v1/pods?labelSelector=app%3Dx")
    assert found == ("/api/v1/pods", {"labelSelector": "app=x"})


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (names.SECRET, ("shop", "a"), "/api/v1/namespaces/shop/secrets/a"),
        (names.CA_ROOT, ("", "r", "status"), "/apis/meshca.dev/v1alpha1/caroots/r/status"),
        (names.LEAF, (), "/apis/meshca.dev/v1alpha1/leafcertificaterequests"),
    ],
)
def test_paths_follow_group_and_scope(
    resource: names.Resource, arguments: tuple[str, ...], path: str
) -> None:
    assert client.path_of(resource, *arguments) == path
