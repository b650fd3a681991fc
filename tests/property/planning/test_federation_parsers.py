"""Whatever stands in a join Secret or in the primary's objects: a typed error or an answer, never a crash."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import InvalidError
from meshca.planning.joining import Join, claims_of, read_join
from meshca.planning.primary import PrimaryFacts
from meshca.planning.primaryfacts import read_answer, read_crosses, read_facts, read_report, read_ttl, rival
from meshca.planning.requested import read_requested
from tests.fakes.clock import START

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
WORDS = st.sampled_from(
    [
        "current-context",
        "contexts",
        "clusters",
        "users",
        "name",
        "context",
        "cluster",
        "user",
        "server",
        "token",
        "certificate-authority-data",
        "metadata",
        "spec",
        "status",
        "bundle",
        "roots",
        "digest",
        "sequence",
        "trustDomain",
        "activeRoot",
        "certificate",
        "caConfigurationName",
        "crossCertificates",
        "conditions",
        "type",
        "certificateChain",
        "leaves",
        "lastNotAfter",
        "reporter",
        "lastSeen",
        "intermediateTTL",
        "state",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=20,
)
BODIES = st.dictionaries(WORDS, VALUES, max_size=6)


def join(text: bytes) -> None:
    body = {"metadata": {"name": "join"}, "data": {"kubeconfig": base64.b64encode(text).decode()}}
    said = "Secret 'join': "
    try:
        found = read_join(body)
    except InvalidError as error:
        said = error.message
    else:
        assert isinstance(found, Join)
    assert said.startswith("Secret 'join': ")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_join_or_invalid(text: bytes) -> None:
    join(text)


@given(st.text(max_size=300))
def test_any_text_is_a_join_or_invalid(text: str) -> None:
    join(text.encode("utf-8", "surrogatepass"))


@given(VALUES)
def test_any_document_is_a_join_or_invalid(value: Any) -> None:
    join(json.dumps(value).encode())


@given(BODIES)
def test_any_secret_is_a_join_or_invalid(body: dict[str, Any]) -> None:
    for read in (read_join, read_requested):
        try:
            read(body)
        except InvalidError:
            continue


@given(st.text())
def test_any_token_says_something_or_nothing(text: str) -> None:
    assert isinstance(claims_of(text), dict)


@given(BODIES, st.lists(BODIES, max_size=3))
def test_any_objects_are_facts_or_a_sentence(
    configuration: dict[str, Any], roots: list[dict[str, Any]]
) -> None:
    found = read_facts(configuration, roots)
    assert isinstance(found, PrimaryFacts | str)


@given(BODIES)
def test_any_answer_and_registration_is_read(body: dict[str, Any]) -> None:
    read_answer(body)
    read_report(body)
    read_ttl(body)
    rival(body, "me", START)
    read_crosses(body.get("status"))
