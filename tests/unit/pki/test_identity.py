"""SPIFFE IDs and path templates, rule by rule."""

from __future__ import annotations

import pytest

from meshca.errors import InvalidError
from meshca.pki.identity import SPIFFEID, PathTemplate, TrustDomain, check_segment
from tests.fakes.pki import TEMPLATE, TRUST_DOMAIN

LONGEST_HOST = "a" * 255
LONGEST_ID = "spiffe://td/" + "a" * (2048 - len("spiffe://td/"))


@pytest.mark.parametrize(
    "text",
    ["example.org", "a", "a_b-c.d", "cluster.local", LONGEST_HOST, "10.0.0.1", "-", "a..b", "123"],
    ids=["DNS", "letter", "all characters", "mesh", "ID-13", "ID-14", "dash", "dots", "digits"],
)
def test_a_trust_domain_is_taken_as_it_is(text: str) -> None:
    domain = TrustDomain.parse(text)
    assert domain.name == str(domain) == text
    assert domain.uri == f"spiffe://{text}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "must not be empty", id="ID-02"),
        pytest.param("user@td", "may only contain", id="ID-03 user"),
        pytest.param("td:80", "may only contain", id="ID-03 port"),
        pytest.param("Example.org", "lower-case", id="ID-04 upper case"),
        pytest.param("exämple.org", "may only contain", id="ID-04 letters"),
        pytest.param("ex ample", "may only contain", id="ID-04 space"),
        pytest.param("td\n", "may only contain", id="ID-04 newline"),
        pytest.param("e%78ample", "percent-encoding", id="ID-05"),
        pytest.param("td/x", "may only contain", id="path"),
        pytest.param("spiffe://td", "no scheme", id="scheme"),
        pytest.param("a" * 256, "longer than 255 bytes", id="ID-13"),
    ],
)
def test_a_trust_domain_outside_the_rules_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=f"^trust domain: .*{message}"):
        TrustDomain.parse(text)


@pytest.mark.parametrize(
    ("text", "domain", "path"),
    [
        pytest.param("spiffe://td", "td", "", id="the trust domain itself"),
        pytest.param("SPIFFE://td/x", "td", "/x", id="ID-01"),
        pytest.param("spiffe://td/ns/a/sa/b", "td", "/ns/a/sa/b", id="path"),
        pytest.param("spiffe://td/aZ09.-_", "td", "/aZ09.-_", id="ID-07"),
        pytest.param("spiffe://td/...", "td", "/...", id="three dots"),
        pytest.param("spiffe://1.2.3.4/x", "1.2.3.4", "/x", id="ID-14"),
        pytest.param(LONGEST_ID, "td", LONGEST_ID.removeprefix("spiffe://td"), id="ID-11"),
    ],
)
def test_148_a_spiffe_id_is_split_into_trust_domain_and_path(text: str, domain: str, path: str) -> None:
    found = SPIFFEID.parse(text)
    assert (found.trust_domain.name, found.path) == (domain, path)
    assert found.uri == str(found) == f"spiffe://{domain}{path}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "does not start with spiffe://", id="empty"),
        pytest.param("https://td/x", "does not start with spiffe://", id="ID-01"),
        pytest.param("spiffe:/td/x", "does not start with spiffe://", id="one slash"),
        pytest.param("spiffe:///x", "trust domain: must not be empty", id="ID-02"),
        pytest.param("spiffe://u@td/x", "trust domain", id="ID-03 user"),
        pytest.param("spiffe://u:p@td/x", "trust domain", id="ID-03 password"),
        pytest.param("spiffe://td:80/x", "trust domain", id="ID-03 port"),
        pytest.param("spiffe://Td/x", "trust domain", id="ID-04"),
        pytest.param("spiffe://t%64/x", "trust domain", id="ID-05"),
        pytest.param("spiffe://td?x", "trust domain", id="ID-06 query"),
        pytest.param("spiffe://td#x", "trust domain", id="ID-06 fragment"),
        pytest.param("spiffe://td/x?y", "path segment 'x\\?y'", id="ID-06 query in the path"),
        pytest.param("spiffe://td/x#y", "path segment 'x#y'", id="ID-06 fragment in the path"),
        pytest.param("spiffe://td/x y", "path segment", id="ID-07 space"),
        pytest.param("spiffe://td/ä", "path segment", id="ID-07 letters"),
        pytest.param("spiffe://td/x\n", "path segment", id="ID-07 newline"),
        pytest.param("spiffe://td/x%41", "percent-encoding", id="ID-08"),
        pytest.param("spiffe://td/x//y", "empty segment", id="ID-09 empty"),
        pytest.param("spiffe://td//y", "empty segment", id="ID-09 empty first"),
        pytest.param("spiffe://td/./y", "relative segment", id="ID-09 dot"),
        pytest.param("spiffe://td/x/..", "relative segment", id="ID-09 two dots"),
        pytest.param("spiffe://td/", "not end with", id="ID-10 root"),
        pytest.param("spiffe://td/x/", "not end with", id="ID-10"),
        pytest.param(LONGEST_ID + "a", "longer than 2048 bytes", id="ID-12"),
    ],
)
def test_148_a_spiffe_id_outside_the_rules_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        SPIFFEID.parse(text)


def test_texts_of_errors_stay_short() -> None:
    with pytest.raises(InvalidError) as caught:
        SPIFFEID.parse("x" * 100_000)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("path", ["x", "/x/", "/", "/a b"])
def test_no_spiffe_id_can_be_built_around_the_rules(path: str) -> None:
    with pytest.raises(InvalidError):
        SPIFFEID(TRUST_DOMAIN, path)


@pytest.mark.parametrize(
    ("uri", "same"),
    [
        ("spiffe://example.org/ns/a/sa/b", True),
        ("SPIFFE://EXAMPLE.org/ns/a/sa/b", True),
        ("spiffe://example.org/ns/A/sa/b", False),
        ("spiffe://example.org/ns/a/sa/b/", False),
        ("spiffe://example.org/ns/a/sa/b?x", False),
        ("spiffe://example.org", False),
        ("spiffe://example.com/ns/a/sa/b", False),
        ("https://example.org/ns/a/sa/b", False),
        ("spiffe://example.or\u212a/ns/a/sa/b", False),
        ("", False),
    ],
)
def test_149_id_15_scheme_and_trust_domain_compare_in_any_case_and_the_path_exactly(
    uri: str, *, same: bool
) -> None:
    assert SPIFFEID.parse("spiffe://example.org/ns/a/sa/b").matches(uri) is same


def test_a_letter_that_folds_to_ascii_is_another_name() -> None:
    assert not SPIFFEID.parse("spiffe://k.example/x").matches("spiffe://\u212a.example/x")


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/ns/{namespace}/sa/{serviceAccount}", "/ns/shop/sa/web"),
        ("/{serviceAccount}/{namespace}", "/web/shop"),
        ("/ns/{namespace}/dc/{clusterName}/svc/{serviceAccount}", "/ns/shop/dc/east/svc/web"),
        ("/{namespace}/{serviceAccount}/c-{clusterName}.x", "/shop/web/c-east.x"),
    ],
)
def test_a_template_gives_each_account_its_path(template: str, path: str) -> None:
    found = PathTemplate.parse(template).render(
        TRUST_DOMAIN, namespace="shop", service_account="web", cluster_name="east"
    )
    assert found.uri == f"spiffe://example.org{path}"


def test_a_template_of_2048_bytes_is_the_longest() -> None:
    longest = "/{namespace}/{serviceAccount}/".ljust(2048, "a")
    assert PathTemplate.parse(longest).text == longest
    with pytest.raises(InvalidError, match="longer than 2048 bytes"):
        PathTemplate.parse(longest + "a")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "must start with '/'"),
        ("ns/{namespace}/sa/{serviceAccount}", "must start with '/'"),
        ("/ns/sa/{serviceAccount}", "{namespace} must stand once, as a whole segment"),
        ("/ns/{namespace}/sa", "{serviceAccount} must stand once, as a whole segment"),
        ("/ns/x{namespace}/sa/{serviceAccount}", "{namespace} must stand once, as a whole segment"),
        ("/{namespace}-{serviceAccount}", "{namespace} must stand once, as a whole segment"),
        ("/{namespace}/{namespace}/{serviceAccount}", "{namespace} must stand once"),
        ("/{namespace}/{serviceAccount}/x{serviceAccount}", "{serviceAccount} must stand once"),
        ("/{namespace}/{serviceAccount}/{pod}", "'pod' in braces is unknown"),
        ("/{namespace}/{serviceAccount}/{}", "'' in braces is unknown"),
        ("/{namespace}/{serviceAccount}/{clusterName", "may only contain"),
        ("/{namespace}/{serviceAccount}/{{clusterName}}", "may only contain"),
        ("/{namespace}/{serviceAccount}/", "empty segment"),
        ("/{namespace}//{serviceAccount}", "empty segment"),
        ("/{namespace}/../{serviceAccount}", "relative segment"),
        ("/{namespace}/{serviceAccount}/a%20b", "may only contain"),
        ("/{namespace}/{serviceAccount}/" + "a" * 2048, "longer than 2048 bytes"),
    ],
)
def test_a_template_outside_the_rules_is_refused(template: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        PathTemplate.parse(template)
    assert caught.value.message.startswith("pathTemplate: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("namespace", "account", "message"),
    [
        ("shop/sa/admin", "web", "namespace 'shop/sa/admin' must not contain '/'"),
        ("shop", "a/b", "serviceAccount 'a/b' must not contain '/'"),
        ("..", "web", "relative segment"),
        ("shop", "", "not end with"),
        ("", "web", "empty segment"),
        ("{serviceAccount}", "web", "may only contain"),
        ("shop", "w%65b", "may only contain"),
    ],
)
def test_no_value_can_reach_the_path_of_another_account(namespace: str, account: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        TEMPLATE.render(TRUST_DOMAIN, namespace=namespace, service_account=account, cluster_name="c")
    assert message in caught.value.message


def test_a_name_of_a_cluster_cannot_break_out_either() -> None:
    template = PathTemplate.parse("/{namespace}/{serviceAccount}/{clusterName}")
    with pytest.raises(InvalidError, match="clusterName 'a/b' must not contain"):
        template.render(TRUST_DOMAIN, namespace="n", service_account="s", cluster_name="a/b")


def test_id_12_no_id_longer_than_2048_bytes_is_made() -> None:
    template = PathTemplate.parse("/{namespace}/{serviceAccount}/" + "a" * 1900)
    with pytest.raises(InvalidError, match="longer than 2048 bytes"):
        template.render(TRUST_DOMAIN, namespace="n" * 63, service_account="s" * 253, cluster_name="c")


def test_a_segment_is_checked_alone_too() -> None:
    check_segment("web.v1_a-B")
    with pytest.raises(InvalidError, match="empty segment"):
        check_segment("")
