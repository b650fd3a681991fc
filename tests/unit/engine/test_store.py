"""What is told of leaves, and in which order: that in which they came, the same in each process."""

from __future__ import annotations

from typing import Any

from meshca.engine.store import Index, Leaves
from meshca.planning.views import LeafView, leaf_view

NAMES = [("shop", f"leaf-{number}") for number in (7, 3, 9, 1, 8, 2, 6, 4, 5, 0)]


def test_an_index_keeps_the_order_in_which_leaves_came() -> None:
    index: Index[str] = Index()
    for name in (*NAMES, *NAMES[:3]):
        index.add("default", name)
    assert index.get("default") == tuple(NAMES)


def test_a_leaf_that_comes_again_comes_last() -> None:
    index: Index[str] = Index()
    for name in NAMES:
        index.add("default", name)
    index.discard("default", NAMES[0])
    index.discard("default", ("shop", "never there"))
    index.add("default", NAMES[0])
    assert index.get("default") == (*NAMES[1:], NAMES[0])
    assert index.size("default") == len(NAMES)


def test_an_entry_without_leaves_is_gone() -> None:
    index: Index[str] = Index()
    index.add("default", NAMES[0])
    index.discard("default", NAMES[0])
    index.discard("default", NAMES[0])
    assert index.entries() == ()
    assert index.get("default") == ()


def view(chain: str, configuration: str = "default", name: str = "web") -> LeafView:
    metadata = {"name": name, "namespace": "shop", "uid": "1", "resourceVersion": "1"}
    body: dict[str, Any] = {"metadata": metadata, "spec": {"caConfigurationName": configuration}}
    return leaf_view(body | {"status": {"certificateChain": chain}}, None)


def test_a_leaf_is_told_of_with_its_first_certificate_and_its_last() -> None:
    leaves, told = Leaves({}), list[tuple[str, str]]()
    leaves.put(view("a chain"))
    leaves.on_life = lambda namespace, configuration: told.append((namespace, configuration))
    leaves.put(view("another"))
    assert told == []
    leaves.put(view("another", "second"))
    assert told == [("shop", "default"), ("shop", "second")]
    leaves.put(view("", "second"))
    leaves.put(view("", "second"))
    leaves.remove(("shop", "web"))
    assert told[2:] == [("shop", "second")]
    leaves.put(view("a chain"))
    leaves.remove(("shop", "web"))
    assert told[3:] == [("shop", "default")] * 2


def test_of_many_leaves_in_a_namespace_only_the_first_and_the_last_are_told_of() -> None:
    leaves, told = Leaves({}), list[tuple[str, str]]()
    leaves.on_life = lambda namespace, configuration: told.append((namespace, configuration))
    for name in ("web", "db", "cache"):
        leaves.put(view("a chain", name=name))
        assert leaves.live_in("shop", "default")
    assert told == [("shop", "default")]
    assert not leaves.live_in("shop", "second")
    assert not leaves.live_in("bank", "default")
    leaves.put(view("", name="web"))
    leaves.remove(("shop", "cache"))
    assert leaves.live_in("shop", "default")
    assert told == [("shop", "default")]
    leaves.remove(("shop", "db"))
    assert not leaves.live_in("shop", "default")
    assert told == [("shop", "default")] * 2
