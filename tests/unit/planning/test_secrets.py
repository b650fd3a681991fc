"""How Secrets are read, whoever wrote them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates, keys
from meshca.planning import secrets
from meshca.planning.secrets import encode, load_ca_secret, owner_uid, secret_view
from meshca.planning.views import chain_digest
from tests.fakes import pki

PAIR = pki.authority()
OTHER = pki.authority(name=" other")
LEAF_KEY = pki.key("ECDSA 256", "leaf")
SHORT_KEY = pki.rfc8410_key(112, b"x" * 31)
"""The library answers it with an error of its own kind."""
CHAIN = certificates.to_pem(PAIR.leaf(LEAF_KEY.public_key()), PAIR.signer)
OWNER = {"apiVersion": names.API_VERSION, "kind": "LeafCertificateRequest", "name": "web", "uid": "u1"}


def ca_secret(data: Any = None, **metadata: Any) -> dict[str, Any]:
    sound = {"tls.crt": encode(certificates.to_pem(PAIR.root)), "tls.key": encode(keys.to_pem(PAIR.root_key))}
    return {
        "metadata": {
            "name": "meshca-root-default-0123456789",
            "labels": {names.LABEL_KEY_ROLE: "root"},
            "annotations": {names.ANNOTATION_IDENTITY: "base", names.ANNOTATION_RENEWAL: "3"},
        }
        | metadata,
        "data": sound | data if isinstance(data, dict) else sound if data is None else data,
    }


def managed(**data: str) -> dict[str, Any]:
    sound = {
        "tls.crt": encode(CHAIN),
        "tls.key": encode(keys.to_pem(LEAF_KEY)),
        "ca.crt": encode(certificates.to_pem(PAIR.root)),
    }
    metadata = {"name": "web-tls", "uid": "s1", "resourceVersion": "5", "ownerReferences": [OWNER]}
    return {"metadata": metadata, "data": sound | data}


def test_ca_secret_is_read_with_its_key() -> None:
    loaded = load_ca_secret(ca_secret())
    assert loaded.view.usable
    assert loaded.view.certificate == PAIR.root
    assert (loaded.view.identity, loaded.view.base, loaded.view.renewal) == ("0123456789", "base", 3)
    assert loaded.role == "root"
    assert loaded.key is not None
    assert keys.matches(loaded.key, PAIR.root)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param({"tls.crt": ""}, "entry 'tls.crt' is missing", id="no certificate"),
        pytest.param({"tls.key": None}, "entry 'tls.key' is missing", id="no key"),
        pytest.param({"tls.key": "%%%"}, "entry 'tls.key' is not base64", id="no base64"),
        pytest.param({"tls.key": "é"}, "entry 'tls.key' is not base64", id="no ASCII"),
        pytest.param({"tls.crt": "QQ" * 40000}, "larger than 65536 bytes", id="too large"),
        pytest.param({"tls.crt": encode("hello")}, "PEM", id="no PEM"),
        pytest.param({"tls.key": encode("hello")}, "private key", id="no key PEM"),
        pytest.param(
            {"tls.key": encode(keys.to_pem(OTHER.root_key))},
            "its key does not belong to its certificate",
            id="another key",
        ),
        pytest.param("odd", "entry 'tls.crt' is missing", id="no data at all"),
    ],
)
def test_ca_secret_that_cannot_be_used_says_why_and_hands_out_no_key(data: Any, problem: str) -> None:
    loaded = load_ca_secret(ca_secret(data))
    assert not loaded.view.usable
    assert problem in loaded.view.problem
    assert loaded.key is None


@pytest.mark.parametrize("text", ["", "x", "-1", "²", "9" * 10, "9" * 5000])
def test_renewal_number_that_is_none_counts_as_the_first(text: str) -> None:
    notes = {names.ANNOTATION_RENEWAL: text}
    assert load_ca_secret(ca_secret(annotations=notes)).view.renewal == 0


def test_i5_key_is_in_no_text() -> None:
    loaded = load_ca_secret(ca_secret())
    assert repr(loaded) == "LoadedSecret(meshca-root-default-0123456789)"
    secret = base64.b64decode(ca_secret()["data"]["tls.key"]).decode().splitlines()[1]
    assert secret not in repr(loaded.view)


def test_sound_managed_secret() -> None:
    view = secret_view(managed())
    assert view.consistent
    assert view.owner_uid == "u1"
    assert (view.uid, view.resource_version) == ("s1", "5")
    assert view.chain_digest == chain_digest(CHAIN)
    assert view.serial == certificates.facts(certificates.load_all(CHAIN)[0]).serial


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"tls.crt": encode("hello")}, id="certificate"),
        pytest.param({"tls.crt": encode(CHAIN.split("\n-----BEGIN")[0])}, id="signer cut off"),
        pytest.param({"tls.key": encode("hello")}, id="key"),
        pytest.param({"tls.key": encode(SHORT_KEY)}, id="key of a wrong length"),
        pytest.param({"tls.key": encode(keys.to_pem(OTHER.root_key))}, id="another key"),
        pytest.param({"ca.crt": ""}, id="bundle emptied"),
        pytest.param({"ca.crt": encode("hello")}, id="bundle garbage"),
        pytest.param({"ca.crt": encode(certificates.to_pem(OTHER.root))}, id="bundle of another CA"),
    ],
)
def test_edited_managed_secret_is_not_consistent(data: dict[str, str]) -> None:
    assert not secret_view(managed(**data)).consistent


def test_bundle_that_is_not_the_one_that_was_written_is_not_consistent() -> None:
    body = managed()
    written = hashlib.sha256(certificates.to_pem(PAIR.root).encode()).hexdigest()
    body["metadata"]["annotations"] = {names.ANNOTATION_BUNDLE_DIGEST: written}
    assert secret_view(body).consistent
    body["data"]["ca.crt"] = encode(certificates.to_pem(PAIR.root, OTHER.root))
    assert not secret_view(body).consistent


def test_bundle_with_one_more_root_is_fine_as_in_a_rotation() -> None:
    both = certificates.to_pem(OTHER.root, PAIR.root)
    assert secret_view(managed(**{"ca.crt": encode(both)})).consistent


@pytest.mark.parametrize(
    ("owners", "wanted"),
    [
        pytest.param([OWNER], "u1", id="ours"),
        pytest.param([{"kind": "Pod", "uid": "p"}, OWNER], "u1", id="among others"),
        pytest.param([OWNER | {"apiVersion": "other.dev/v1"}], "", id="same kind of another group"),
        pytest.param([], "", id="nobody"),
        pytest.param("odd", "", id="garbage"),
        pytest.param(["odd"], "", id="garbage inside"),
    ],
)
def test_owner_is_a_request_of_ours(owners: Any, wanted: str) -> None:
    assert owner_uid({"metadata": {"ownerReferences": owners}}) == wanted


def test_object_without_metadata_has_no_owner() -> None:
    assert owner_uid({"metadata": "odd"}) == ""


def test_entry_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidError, match=r"entry 'tls\.key' is missing"):
        secrets.data_of({}, "tls.key")


@given(
    st.dictionaries(
        st.sampled_from(["tls.crt", "tls.key", "ca.crt"]),
        st.text()
        | st.binary().map(encode)
        | st.sampled_from([encode(CHAIN), encode(keys.to_pem(LEAF_KEY)), encode(SHORT_KEY)]),
    )
)
def test_no_data_that_anybody_writes_raises(data: dict[str, str]) -> None:
    secret_view({"metadata": {"name": "x"}, "data": data})
    load_ca_secret({"metadata": {"name": "x"}, "data": data})
