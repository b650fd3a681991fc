"""What may go wrong with a request, chosen by a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.api.names import Resource
    from tests.fakes.apiserver.status import ApiError


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request as authorisation, audit and faults see it; verbs as in RBAC, and ``apply`` is a patch."""

    user: str
    verb: str
    resource: Resource
    subresource: str
    namespace: str
    name: str
    apply: bool = False

    @property
    def is_write(self) -> bool:
        return self.verb not in {"get", "list", "watch"}


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One write that reached the server, and the code it was answered."""

    info: RequestInfo
    code: int


class UnreachableError(Exception):
    """The connection is refused: nothing happened."""


class AnswerLostError(Exception):
    """The connection breaks after the request was carried out."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """Strikes requests that match, ``times`` times (None: until removed).

    Exactly what happens: ``before`` is called; then ``delay`` seconds pass; then one of: refused
    connection, an error in place of the answer, the write done but the answer lost, or the write done
    ``late`` seconds after everybody stopped waiting. With none of these the request is carried out.
    """

    verb: str = ""
    resource: Resource | None = None
    subresource: str | None = None
    name: str = ""
    namespace: str = ""
    user: str = ""
    writes_only: bool = False
    times: int | None = 1
    before: Callable[[RequestInfo], None] | None = None
    delay: float = 0.0
    unreachable: bool = False
    error: ApiError | None = None
    lose_answer: bool = False
    late: float = 0.0
    hits: int = 0

    def strikes(self, info: RequestInfo) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        matches = (
            self.verb in {"", info.verb}
            and self.resource in {None, info.resource}
            and self.subresource in {None, info.subresource}
            and self.name in {"", info.name}
            and self.namespace in {"", info.namespace}
            and self.user in {"", info.user}
            and (info.is_write or not self.writes_only)
        )
        self.hits += matches
        return matches
