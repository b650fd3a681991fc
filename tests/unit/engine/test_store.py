"""Leaves are handed out in the order in which they came, which is the same in each process."""

from __future__ import annotations

from meshca.engine.store import Index

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
