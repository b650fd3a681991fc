"""PEM: what is taken out of a text, and what is refused before anything is parsed."""

from __future__ import annotations

import pytest

from meshca.errors import InvalidError
from meshca.pki import certificates, keys, pem
from tests.fakes.pki import authority, key

LIMIT = 10_000
ONE = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"
DER = b"0\x03\x02\x01\x01"


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        ONE.encode(),
        ONE.rstrip("\n"),
        ONE.replace("\n", "\r\n"),
        f"subject=somebody, Zürich\n# a comment\n{ONE}and a last word",
        "".join(f"  \t{line}  \n" for line in ONE.splitlines()),
        ONE.replace("MAMC", "Proc-Type: 4,CLEAR\nOriginator: somebody\n\nMAMC"),
        ONE.replace("MAMC", "MA\nMC"),
        ONE.replace("MAMCAQE=", "MAMC AQE=\n"),
        ONE.replace("MAMC", "\nMAMC"),
    ],
    ids=[
        "plain",
        "bytes",
        "no newline",
        "CRLF",
        "comments",
        "indented",
        "headers",
        "wrapped",
        "spaced",
        "gap",
    ],
)
def test_028_only_the_block_counts(text: str | bytes) -> None:
    assert pem.split(text, limit_bytes=LIMIT) == [DER]
    assert pem.split_one(text, limit_bytes=LIMIT) == DER
    assert pem.normalise(text, limit_bytes=LIMIT) == ONE


def test_028_equal_certificates_compare_equal_however_they_were_pasted() -> None:
    root = authority().root
    clean = certificates.to_pem(root)
    pasted = f"Bag Attributes\n    friendlyName: root\n{clean.replace(chr(10), chr(13) + chr(10))}\n\n"
    assert pasted != clean
    assert pem.normalise(pasted, limit_bytes=LIMIT) == clean
    assert certificates.load_one(pasted) == root


def test_blocks_keep_their_order() -> None:
    text = pem.encode(b"one", b"two", b"three")
    assert pem.split(text, limit_bytes=LIMIT) == [b"one", b"two", b"three"]


def test_encoded_text_has_64_characters_a_line_and_ends_in_a_newline() -> None:
    text = pem.encode(bytes(100))
    assert text.endswith("-----END CERTIFICATE-----\n")
    assert [len(line) for line in text.splitlines()[1:-1]] == [64, 64, 8]


def test_the_older_name_of_a_request_is_understood() -> None:
    text = pem.encode(DER, label="NEW CERTIFICATE REQUEST")
    assert pem.split_one(text, limit_bytes=LIMIT, label=pem.CERTIFICATE_REQUEST) == DER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no CERTIFICATE block found"),
        (" \n\t\n", "no CERTIFICATE block found"),
        ("MAMCAQE=", "no CERTIFICATE block found"),
        (ONE.replace("MAMCAQE=\n", ""), "is empty"),
        (ONE.replace("MAMC", "M*MC"), "is not base64"),
        (ONE.replace("MAMC", "MAM"), "is not base64"),
        (ONE.replace("MAMC", "MÄMC"), "is not base64"),
        (ONE.replace("MAMC", "Proc-Type: 4,CLEAR\nMAMC"), "is not base64"),
        (ONE.replace("-----END CERTIFICATE-----", ""), "has no END marker"),
        (ONE.replace("END CERT", "END OTHER CERT"), "does not end with its own END marker"),
        (ONE.replace("MAMC", "-----BEGIN CERTIFICATE-----\nMAMC"), "does not end with its own END marker"),
        (
            ONE.replace("-----BEGIN CERTIFICATE-----\n", ""),
            "an END marker of a CERTIFICATE block has no BEGIN",
        ),
        (ONE.replace("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE"), "marker .* is broken"),
        (ONE.replace("\n", ""), "does not end|another kind|no END"),
        (ONE.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), "a block of another kind"),
        (ONE.replace("CERTIFICATE", "X509 CRL"), "a block of another kind"),
        (ONE + ONE.replace("CERTIFICATE", "PUBLIC KEY"), "a block of another kind"),
    ],
)
def test_a_text_that_is_not_clean_pem_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=f"^PEM: .*({message})"):
        pem.split(text, limit_bytes=LIMIT)


@pytest.mark.parametrize("before", [True, False])
def test_226_a_private_key_beside_a_certificate_is_refused_and_not_quoted(*, before: bool) -> None:
    secret = keys.to_pem(key()).decode()
    with pytest.raises(InvalidError, match="a private key where only CERTIFICATE blocks belong") as caught:
        pem.split(secret + ONE if before else ONE + secret, limit_bytes=LIMIT)
    assert secret.splitlines()[1][:12] not in str(caught.value)


def test_one_means_one() -> None:
    with pytest.raises(InvalidError, match="2 CERTIFICATE blocks where exactly one is expected"):
        pem.split_one(ONE + ONE, limit_bytes=LIMIT)


@pytest.mark.parametrize(
    "text", [ONE, ONE.encode(), ONE + "ä"], ids=["characters", "bytes", "wide characters"]
)
def test_the_size_is_capped_before_parsing(text: str | bytes) -> None:
    size = len(text.encode() if isinstance(text, str) else text)
    assert pem.split(text, limit_bytes=size)
    with pytest.raises(InvalidError, match=f"longer than {size - 1} bytes"):
        pem.split(text, limit_bytes=size - 1)
