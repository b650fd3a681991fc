"""Log lines: their form, their fields, and that no key ever gets into one."""

from __future__ import annotations

import base64
import io
import json
import logging
import warnings
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshca import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
LEGACY = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
log = logging.getLogger("meshca.test")


def fail(text: str) -> None:
    raise ValueError(text)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "kopf", "asyncio", "aiohttp")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def json_lines() -> Callable[[], list[dict[str, Any]]]:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_fields_flattened(
    json_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    due = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    extra = {
        "namespace": "shop",
        "ttl": 3600.5,
        "due": due,
        "roots": ("a", "b"),
        "who": object,
        "time": "mine",
    }
    log.info("leaf %s\nissued", "a", extra=extra)
    (line,) = json_lines()
    assert line["message"] == "leaf a\nissued"
    assert (line["level"], line["logger"], line["namespace"]) == ("info", "meshca.test", "shop")
    assert (line["ttl"], line["due"], line["roots"]) == (3600.5, "2030-01-02T03:04:05+00:00", ["a", "b"])
    assert line["who"] == "<class 'object'>"
    assert line["time_"] == "mine"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(line["time"])).total_seconds()) < 60
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2030-01-02T03:04:05.678Z")


def test_console_lines_are_for_people() -> None:
    stream = io.StringIO()
    logs.configure("console", "debug", stream)
    log.debug("two\nlines", extra={"namespace": "shop", "why": "a b", "count": 3})
    assert (
        stream.getvalue()
        .rstrip()
        .endswith(r'DEBUG   meshca.test: two\nlines namespace=shop why="a b" count=3')
    )
    try:
        fail(PEM)
    except ValueError:
        log.exception("failed", stack_info=True)
    assert "ValueError: [redacted]" in stream.getvalue()
    assert "Stack (most recent call last)" in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "secret",
    [
        PEM,
        LEGACY,
        repr(PEM),
        PEM[:120],
        base64.b64encode(PEM.encode()).decode(),
        TOKEN,
        f"Bearer {TOKEN}",
    ],
    ids=["pkcs8", "sec1", "escaped", "cut-off", "base64", "token", "bearer"],
)
def test_key_material_is_replaced_wherever_it_stands(form: Any, secret: str) -> None:
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    log.info("message %s", secret)
    log.info("argument", extra={"data": secret, "nested": {"tls.key": [secret], secret: 1}})
    log.info("object", extra={"error": ValueError(secret)})
    try:
        fail(secret)
    except ValueError:
        log.exception("raised")
    written = stream.getvalue()
    assert written.count(logs.REDACTED) >= 6
    body = PEM.splitlines()[1]
    for leak in (body[:40], LEGACY.splitlines()[1][:40], base64.b64encode(PEM.encode()).decode()[20:60]):
        assert leak not in written
    assert TOKEN not in written


def test_a_certificate_and_plain_words_are_shown() -> None:
    text = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE----- eyJ is no token"
    assert logs.redact(text) == text


def test_text_around_a_key_survives() -> None:
    assert (
        logs.redact(f"before {PEM} between {PEM} after") == "before [redacted]\n between [redacted]\n after"
    )


def test_libraries_are_quiet_and_go_the_same_way(json_lines: Callable[[], list[dict[str, Any]]]) -> None:
    logging.getLogger("kopf.objects").info("handled")
    # Kopf's own handler on this logger, there once Kopf was imported, looks into its settings.
    settings = SimpleNamespace(posting=SimpleNamespace(enabled=False, loggers=False, level=logging.INFO))
    logging.getLogger("kopf.objects").warning(
        "patching failed", extra={"settings": settings, "k8s_skip": True, "k8s_ref": {"name": "a"}}
    )
    logging.getLogger("asyncio").error("never retrieved")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    lines = json_lines()
    assert [line["logger"] for line in lines] == ["kopf.objects", "asyncio", "py.warnings"]
    assert lines[0]["k8s_ref"] == {"name": "a"}
    assert "settings" not in lines[0]


def test_debug_opens_the_libraries_too() -> None:
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    logging.getLogger("kopf.objects").debug("handled")
    assert "handled" in stream.getvalue()


def test_configuring_again_does_not_double_the_lines(json_lines: Callable[[], list[dict[str, Any]]]) -> None:
    stream = io.StringIO()
    logs.configure("json", "error", stream)
    log.error("once")
    assert len(stream.getvalue().splitlines()) == 1
    assert json_lines() == []
