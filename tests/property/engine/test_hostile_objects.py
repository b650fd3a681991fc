"""Whatever users write into objects and Secrets, the engine says what is wrong and goes on for the others.

Each example is a history of hostile writes against the whole engine on the in-process API server, which
takes and refuses by the same schemas as the real one. Afterwards an honest request is issued under the same
root, no item of work died of a defect, every request has been answered, and no key was said.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from e2e.secrecy import Search
from meshca.api import names
from meshca.pki import certificates, keys
from tests.fakes.apiserver.status import ApiError
from tests.fakes.engine import NAMESPACE, Cluster, ready
from tests.fakes.pki import NOW, authority, imported_root, key, request

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]
STRANGER = key("ECDSA 256", "stranger")
KEY = keys.to_pem(STRANGER).decode()
ROOT = certificates.to_pem(imported_root(STRANGER))
EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What RFC 5280 has written where a certificate has no end."""
LONG_AGO = datetime(1950, 1, 1, tzinfo=UTC)
ROOTS = {
    "plain": imported_root(STRANGER, uris=()),
    "for ever": imported_root(STRANGER, uris=(), not_after=EVER),
    "since ever": imported_root(
        STRANGER, uris=(), not_before=datetime(1950, 1, 1, tzinfo=UTC), not_after=EVER
    ),
    "not yet": imported_root(STRANGER, uris=(), not_before=datetime(9999, 1, 1, tzinfo=UTC), not_after=EVER),
    "over": imported_root(STRANGER, uris=(), not_after=NOW - timedelta(minutes=1)),
    "of another": imported_root(STRANGER, uris=("spiffe://example.org",)),
    "of two": imported_root(STRANGER, uris=("spiffe://a", "spiffe://b")),
    "of a path": imported_root(STRANGER, uris=("spiffe://a/b",)),
    "no children": imported_root(STRANGER, uris=(), path_length=0),
    "weak": imported_root(STRANGER, uris=(), algorithm=hashes.SHA224()),
}
LEAF = certificates.to_pem(authority().leaf(), authority().signer)
PEM = request()
BODY = "".join(PEM.splitlines()[1:-1])

TEXTS = st.sampled_from(
    [
        "",
        "web",
        "default",
        "-",
        "..",
        "ä\u0000",
        "\U0001f511" * 50,
        "{namespace}",
        "x" * 300,
        "true",
        "null",
        "0",
        "-1h",
        "1h",
        "72h",
        "999999h",
        "spiffe://example.org/ns/shop/sa/web",
        "2026-13-45T99:99:99Z",
        "9999-12-31T23:59:59Z",
        PEM,
        PEM * 2,
        PEM.replace("REQUEST", "reQuest"),
        PEM.replace("\n", "\r\n"),
        PEM.replace(BODY[10:14], "AAAA"),
        PEM.replace(BODY[:8], "MIIBIjCC"),
        f"-----BEGIN CERTIFICATE REQUEST-----\n{'A' * 4000}\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
        ROOT,
        LEAF,
    ]
) | st.text(max_size=40)
DOCUMENTS = TEXTS | st.sampled_from([KEY, ROOT + KEY, PEM + KEY])
"""What stands where nobody is asked for a name: the schemas keep a key out of everything shorter."""


def encode(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()


def pair(root: str) -> JSON:
    """Return what a Secret holds of a root that somebody brings along, with its key."""
    return {"tls.crt": encode(certificates.to_pem(ROOTS[root])), "tls.key": encode(KEY)}


ENTRIES = DOCUMENTS.map(encode)
DATA = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("tls.crt", "tls.key", "ca.crt", "cross.crt", "chain.crt"), ENTRIES)
)
PAIRS = st.sampled_from(sorted(ROOTS)).map(pair)
BUNDLES = st.dictionaries(st.just("ca.crt"), DOCUMENTS)
NOTES = st.dictionaries(
    st.sampled_from(
        [
            names.ANNOTATION_PRUNE_NOW,
            names.ANNOTATION_DELETE_KEYS,
            names.ANNOTATION_IDENTITY,
            names.ANNOTATION_RENEWAL,
            names.ANNOTATION_ACTIVATED_AT,
            names.ANNOTATION_PUBLISHED_AT,
        ]
    ),
    TEXTS,
    max_size=3,
)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        names.LABEL_CONFIGURATION: st.sampled_from(["default", "other", "x"]),
        names.LABEL_KEY_ROLE: st.sampled_from(["root", "signer", "x"]),
        names.LABEL_LEAF: st.just("true"),
        names.LABEL_TRUST_BUNDLE: st.sampled_from(["default", "x"]),
    },
)
METADATA = st.fixed_dictionaries({}, optional={"annotations": NOTES, "labels": LABELS})
LEAF_SPECS = st.fixed_dictionaries(
    {"serviceAccountName": st.just("web") | TEXTS},
    optional={
        "request": DOCUMENTS,
        "secretName": st.sampled_from(["web-tls", "meshca-x", "Ä"]) | TEXTS,
        "caConfigurationName": st.just("default") | TEXTS,
        "ttl": TEXTS,
        "dnsNames": st.lists(TEXTS, max_size=3),
        "ipAddresses": st.lists(st.sampled_from(["10.0.0.1", "::", "fe80::1%1", "1"]) | TEXTS, max_size=3),
        "renewal": st.sampled_from(["Automatic", "Manual", "x"]),
        "privateKey": st.fixed_dictionaries(
            {"algorithm": st.sampled_from(["ECDSA", "RSA", "Ed25519", "DSA"])},
            optional={"size": st.sampled_from([0, 256, 257, 521, 2048, 2**40])},
        ),
        "requester": TEXTS,
    },
)
CONFIGURATIONS = st.fixed_dictionaries(
    {},
    optional={
        "trustDomain": st.sampled_from(["other.example", "example.org"]) | TEXTS,
        "clusterName": TEXTS,
        "provider": st.fixed_dictionaries(
            {"builtin": st.fixed_dictionaries({"rootSecretName": st.sampled_from(["mine", "none"])})}
        ),
        "leaf": st.fixed_dictionaries({"ttl": TEXTS}),
        "root": st.fixed_dictionaries({"ttl": TEXTS}, optional={"renewBefore": TEXTS}),
        "rotation": st.fixed_dictionaries({"trigger": TEXTS}, optional={"deadline": TEXTS}),
        "identity": st.fixed_dictionaries(
            {},
            optional={
                "pathTemplate": TEXTS,
                "dnsNames": st.lists(TEXTS, max_size=2),
                "ipAddresses": st.lists(TEXTS, max_size=2),
            },
        ),
        "trustBundle": st.fixed_dictionaries({"configMapName": st.sampled_from(["mine", "Ä", ""]) | TEXTS}),
    },
)


@dataclass(frozen=True)
class Write:
    """One object that somebody creates, or writes over one of that name."""

    resource: names.Resource
    namespace: str
    name: str
    metadata: JSON = field(default_factory=dict)
    more: JSON = field(default_factory=dict)

    @property
    def body(self) -> JSON:
        place = {"namespace": self.namespace} if self.namespace else {}
        return {"metadata": {"name": self.name, **place, **self.metadata}, **self.more}


def writes(
    resource: names.Resource, namespace: str, called: list[str], **more: Any
) -> st.SearchStrategy[Write]:
    return st.builds(
        Write,
        st.just(resource),
        st.just(namespace),
        st.sampled_from(called),
        METADATA,
        st.fixed_dictionaries(more),
    )


WRITES = st.one_of(
    writes(names.LEAF, "shop", ["a", "b", "c"], spec=LEAF_SPECS),
    writes(names.LEAF, NAMESPACE, ["a"], spec=LEAF_SPECS),
    writes(
        names.SECRET, "shop", ["web-tls"], data=DATA, type=st.just("kubernetes.io/tls") | st.just("Opaque")
    ),
    writes(names.SECRET, NAMESPACE, ["mine", "meshca-root-other-0123456789"], data=DATA | PAIRS),
    writes(
        names.CONFIG_MAP,
        "shop",
        ["meshca-trust-bundle", "mine"],
        data=st.dictionaries(st.just("ca.crt"), DOCUMENTS),
    ),
    writes(names.CA_CONFIGURATION, "", ["other"], spec=CONFIGURATIONS),
    writes(
        names.CA_ROOT,
        "",
        ["other-0123456789"],
        spec=st.fixed_dictionaries(
            {
                "caConfigurationName": st.sampled_from(["other", "default"]),
                "certificate": DOCUMENTS,
                "source": st.sampled_from(["Generated", "Imported"]),
                "keySecretName": st.just("mine"),
            }
        ),
    ),
)


class Ears(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.defects: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + str(vars(record)))
        # A watch that complains was stopped by what it delivered: nobody disturbs the server here.
        if record.levelno >= (logging.WARNING if record.name == "meshca.kube.watch" else logging.ERROR):
            self.defects.append(self.format(record))


@contextlib.contextmanager
def listening() -> Iterator[Ears]:
    ears, ours = Ears(), logging.getLogger("meshca")
    before = ours.level
    ours.addHandler(ears)
    ours.setLevel(logging.DEBUG)
    try:
        yield ears
    finally:
        ours.removeHandler(ears)
        ours.setLevel(before)


def put(cluster: Cluster, write: Write) -> bool:
    """Write an object as its user; tell whether the API server took it."""
    server, place = cluster.server, (write.name, write.namespace)
    exists = server.find(write.resource, *place) is not None
    try:
        if exists and write.resource != names.LEAF:
            server.merge(write.resource, *place, write.body)
            return True
        if exists:
            server.delete(write.resource, *place)  # its spec cannot be changed
        server.create(write.resource, write.body)
    except ApiError:
        return False
    return True


def everything(cluster: Cluster) -> list[JSON]:
    """Return all that can be read by those who may not read Secrets, without what users wrote themselves."""
    kinds = (names.CA_CONFIGURATION, names.CA_ROOT, names.LEAF, names.EVENT)
    return [
        {key: value for key, value in item.items() if key not in {"spec", "metadata"}}
        for kind in kinds
        for item in cluster.server.all(kind)
    ]


def leaf(**spec: Any) -> Write:
    return Write(names.LEAF, "shop", "a", more={"spec": {"serviceAccountName": "web", **spec}})


def secret(name: str, namespace: str, labels: JSON, **data: str) -> Write:
    encoded = {entry.replace("_", "."): encode(text) for entry, text in data.items()}
    return Write(names.SECRET, namespace, name, {"labels": labels}, {"data": encoded})


def imports(root: str) -> list[Write]:
    """Return a second CA that is to use a root that somebody brings along, and a request of it."""
    spec = {"trustDomain": "other.example", "provider": {"builtin": {"rootSecretName": "mine"}}}
    spec |= {"trustBundle": {"configMapName": "mine"}}
    return [
        Write(names.SECRET, NAMESPACE, "mine", more={"data": pair(root)}),
        Write(names.CA_CONFIGURATION, "", "other", more={"spec": spec}),
        leaf(request=PEM, caConfigurationName="other"),
    ]


OURS = {names.LABEL_CONFIGURATION: "default", names.LABEL_KEY_ROLE: "signer"}


@example([leaf(request=KEY)])
@example([leaf(request=PEM + KEY)])
@example([leaf(request=PEM.replace(BODY[10:14], "AAAA"))])
@example([leaf(request=PEM, ttl="999999h"), leaf(request=PEM, dnsNames=["*", "xn--0"])])
@example([leaf(secretName="web-tls"), secret("web-tls", "shop", {}, tls_crt=LEAF, tls_key=KEY, ca_crt=ROOT)])
@example([secret("web-tls", "shop", {names.LABEL_LEAF: "true"}, tls_crt=ROOT), leaf(secretName="web-tls")])
@example([secret("mine", NAMESPACE, OURS, tls_crt=ROOT, tls_key=KEY)])
@example([secret("mine", NAMESPACE, OURS | {names.LABEL_KEY_ROLE: "root"}, tls_crt=ROOT, tls_key="x")])
@example(imports("plain"))
@example(imports("for ever"))
@example(imports("since ever"))
@example(imports("not yet"))
@example(imports("over"))
@example(imports("weak"))
@example([*imports("plain"), Write(names.SECRET, NAMESPACE, "mine", more={"data": pair("for ever")})])
@given(history=st.lists(WRITES, min_size=1, max_size=8))
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
async def test_hostile_objects_stop_nobody_else(history: list[Write]) -> None:
    with listening() as ears:
        async with ready() as cluster:
            root = cluster.server.find(names.CA_CONFIGURATION, "default")["status"]["activeRoot"]  # type: ignore[index]
            for write in history:
                put(cluster, write)
                await asyncio.sleep(2)
            cluster.leaf("honest")
            await cluster.until_said("Issued", "honest")
            await cluster.until(lambda: all(cluster.ready(*place(item))[1] for item in cluster.leaves()))
            assert cluster.condition()[0] == "True"
            found = cluster.server.find(names.CA_CONFIGURATION, "default") or {}
            assert found["status"]["activeRoot"] == root
            assert ears.defects == []
            held = [
                base64.b64decode(item["data"]["tls.key"])
                for item in cluster.server.all(names.SECRET)
                if names.LABEL_KEY_ROLE in item["metadata"].get("labels", {}) and "tls.key" in item["data"]
            ]
            search = Search([KEY.encode(), *(pem for pem in held if readable(pem))])
            said = [*ears.lines, *(json.dumps(item) for item in everything(cluster))]
            assert not [text for text in said if search.finds(text)]


def place(item: JSON) -> tuple[str, str]:
    return item["metadata"]["name"], item["metadata"]["namespace"]


def readable(pem: bytes) -> bool:
    try:
        keys.load_trusted(pem)
    except Exception:  # noqa: BLE001  what a history wrote there is of no interest
        return False
    return True
