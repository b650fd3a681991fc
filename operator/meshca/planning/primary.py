"""What a secondary and its primary tell each other: the view that a link has, and the wish it is to fulfil.

Decides nothing; holds certificates, public facts and texts. A token is held, too, and never shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cryptography import x509

    from meshca.planning.joining import Join
    from meshca.planning.situation import Problem


@dataclass(frozen=True, slots=True)
class PrimaryRoot:
    """A root in the primary's bundle; ``state`` is its CARoot's, ``cross`` its cross-certificates there."""

    fingerprint: str
    certificate: x509.Certificate
    state: str
    cross: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the primary says to one request for a signer; ``chain`` is PEM, "" while there is none."""

    name: str
    reason: str = ""
    message: str = ""
    chain: str = ""


@dataclass(frozen=True, slots=True)
class PrimaryFacts:
    """The primary's CAConfiguration and its roots, read together and found consistent.

    ``active_root`` is the fingerprint of the root that is active there and whose CARoot says so, or "".
    """

    uid: str
    trust_domain: str
    active_root: str
    digest: str
    sequence: int
    roots: tuple[PrimaryRoot, ...]
    uncrossed: bool = False
    """Whether its next root may come without cross-certificates, since its owner permits that."""

    def root(self, fingerprint: str) -> PrimaryRoot | None:
        """Return the root of a fingerprint, or None."""
        return next((item for item in self.roots if item.fingerprint == fingerprint), None)


@dataclass(frozen=True, slots=True)
class Need:
    """A root that is not active here and still needed: live leaves, and until when at most (UTC)."""

    root: str
    leaves: int
    last_not_after: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What the primary is told of this cluster; ``roots`` are the fingerprints that all places hold."""

    digest: str
    roots: tuple[str, ...]
    active_root: str
    signer_not_after: datetime | None
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class FreshToken:
    """A token that takes the place of the one whose digest it names; hidden from every text."""

    text: str = field(repr=False)
    replaces: str

    def __str__(self) -> str:
        return "FreshToken"


@dataclass(frozen=True, slots=True)
class PrimaryView:
    """What a link knows at this moment.

    ``source`` says of which primary. ``trouble`` is why it does not answer now; what it told before stays.
    ``waits`` says what is missing in the primary while there are no ``facts``. ``refusal`` is why it does
    not take what this cluster writes; ``registered`` is None while nobody has looked. ``rival`` tells that
    somebody else reports under this cluster's name.
    """

    source: str
    trouble: Problem | None = None
    facts: PrimaryFacts | None = None
    waits: str = ""
    answers: tuple[Answer, ...] = ()
    refusal: str = ""
    registered: bool | None = None
    intermediate_ttl: timedelta | None = None
    reported: Report | None = None
    rival: bool = False
    token: FreshToken | None = None

    def answer(self, name: str) -> Answer | None:
        """Return the answer to a request, or None."""
        return next((item for item in self.answers if item.name == name), None)


@dataclass(frozen=True, slots=True)
class SignerWish:
    """A request for a signer that is to exist in the primary; ``request`` is a PKCS #10 request, PEM."""

    name: str
    request: str


@dataclass(frozen=True, slots=True)
class PrimaryWish:
    """What a link is to do: read this primary, and make it show the request and the report.

    ``reporter`` is the uid of the CAConfiguration here, by which two clusters of one name are told apart.
    """

    join: Join
    configuration: str
    cluster: str
    reporter: str
    signer: SignerWish | None = None
    report: Report | None = None

    @property
    def source(self) -> str:
        """Name the primary that this is about."""
        return source_of(self.join, self.configuration, self.cluster)


def source_of(join: Join, configuration: str, cluster: str) -> str:
    """Name a primary: where it is, which of its configurations is followed, and as whom."""
    return f"{join.source} {configuration} {cluster}"
