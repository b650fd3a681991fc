"""An API server in memory: routing, lists, watches, errors, audit and faults.

Held to the real one by tests/contract: wherever the two differ, this one must be the stricter.
What it has not: RBAC (a hook instead), CEL, strategic-merge and JSON patches, tables, streaming lists.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import math
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.clock import SystemClock
from tests.fakes.apiserver import deadlines, selectors, status, tokens, watching, wire
from tests.fakes.apiserver import kinds as known_kinds
from tests.fakes.apiserver.controllers import Controllers
from tests.fakes.apiserver.faults import AnswerLostError, AuditEntry, Fault, RequestInfo, UnreachableError
from tests.fakes.apiserver.routing import route
from tests.fakes.apiserver.store import Store
from tests.fakes.apiserver.wire import ADMIN, Answer, Request
from tests.fakes.apiserver.writes import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.api.names import Resource
    from meshca.clock import Clock
    from tests.fakes.apiserver.kinds import Kind

JSON = dict[str, Any]
_PATCHES = {"application/merge-patch+json", "application/apply-patch+yaml"}


class ApiServer:
    """The server; tests may also look and write directly, as ``ADMIN``, with the methods below."""

    def __init__(self, clock: Clock | None = None, *, settle_after: float | None = 0.05) -> None:
        self.clock = clock or SystemClock()
        self.store = Store()
        self.writer = Writer(self.store, self.clock)
        self.kinds: dict[Resource, Kind] = {}
        self.controllers = Controllers(self.writer, self.kinds, settle_after)
        self.audit: list[AuditEntry] = []
        self.faults: list[Fault] = []
        self.down = False
        # Returns why not, or None; the answer is 403.
        self.authorize: Callable[[RequestInfo], str | None] = lambda _info: None
        self._pages: dict[str, tuple[str, list[JSON]]] = {}
        self.register(*known_kinds.built_in(), *(known_kinds.custom(own) for own in names.OWN_RESOURCES))
        for name in ("default", "kube-system"):
            self.create(names.NAMESPACE, {"metadata": {"name": name}})
        self.audit.clear()

    def register(self, *found: Kind) -> None:
        """Serve more kinds; a kind that is there already is replaced."""
        for kind in found:
            self.kinds[kind.resource] = kind

    # --- for tests: look and write without HTTP ------------------------------------------------

    def create(self, resource: Resource, body: JSON, user: str = ADMIN) -> JSON:
        typed: JSON = {"apiVersion": resource.api_version, "kind": resource.kind, **copy.deepcopy(body)}
        namespace = typed["metadata"].get("namespace", "")
        return copy.deepcopy(
            self.writer.create(self.kinds[resource], namespace, typed, user=user, manager=user)
        )

    def merge(
        self, resource: Resource, name: str, namespace: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        return copy.deepcopy(
            self.writer.merge_patch(
                self.kinds[resource],
                namespace,
                name,
                copy.deepcopy(patch),
                subresource=subresource,
                user=ADMIN,
                manager=ADMIN,
            )
        )

    def delete(self, resource: Resource, name: str, namespace: str = "") -> None:
        self.writer.delete(self.kinds[resource], namespace, name, {}, user=ADMIN)

    def find(self, resource: Resource, name: str, namespace: str = "") -> JSON | None:
        return copy.deepcopy(self.store.get(resource, (namespace, name)))

    def all(self, resource: Resource, namespace: str = "") -> list[JSON]:
        return [
            copy.deepcopy(item)
            for item in self.store.items(resource)
            if namespace in {"", item["metadata"].get("namespace", "")}
        ]

    def fault(self, **chosen: Any) -> Fault:
        """Add a Fault and return it; its ``hits`` tell whether it struck."""
        fault = Fault(**chosen)
        self.faults.append(fault)
        return fault

    def writes(self, *resources: Resource, user: str = "") -> list[AuditEntry]:
        """Return the audited writes, of some kinds and one user if given."""
        return [
            entry
            for entry in self.audit
            if (not resources or entry.info.resource in resources) and user in {"", entry.info.user}
        ]

    def cut_watches(self, *resources: Resource, half_line: bool = False) -> int:
        """Break open watches (of all kinds by default) and return how many there were."""
        feeds = [feed for kind in resources or self.store.feeds for feed in self.store.feeds.get(kind, ())]
        for feed in feeds:
            feed.end(half_line=half_line)
        return len(feeds)

    def silence_watches(self, *resources: Resource) -> int:
        """Let open watches hang as if the network had swallowed the connection."""
        feeds = [feed for kind in resources or self.store.feeds for feed in self.store.feeds.get(kind, ())]
        for feed in feeds:
            feed.silent = True
        return len(feeds)

    def compact(self) -> None:
        """Forget history: older watches and page tokens get 410."""
        self.store.compact()
        self._pages.clear()

    # --- HTTP ----------------------------------------------------------------------------------

    async def handle(self, request: Request) -> Answer:
        """Answer one request; raises UnreachableError or AnswerLostError as faults demand."""
        if self.down:
            raise UnreachableError
        try:
            info, kind = route(request, self.kinds)
            deadlines.seconds(info, request.params)
        except status.PlainError as error:
            return self._answer(error.code, error.text.encode(), content_type="text/plain; charset=utf-8")
        except status.ApiError as error:
            return self._refusal(error)
        for fault in list(self.faults):
            if fault.strikes(info):
                return await self._strike(fault, request, info, kind)
        return self._perform(request, info, kind)

    async def _strike(self, fault: Fault, request: Request, info: RequestInfo, kind: Kind) -> Answer:
        if fault.before is not None:
            fault.before(info)
        if fault.unreachable:
            raise UnreachableError
        patience = deadlines.seconds(info, request.params)
        await asyncio.sleep(min(fault.delay, patience))
        error = fault.error if fault.delay <= patience else status.timed_out()
        if error is not None:
            if info.is_write:
                self.audit.append(AuditEntry(info, error.code))
            return self._refusal(error)
        if fault.late:
            loop = asyncio.get_running_loop()
            loop.call_later(fault.late, self._perform, request, info, kind)
            await asyncio.sleep(math.inf)
        answer = self._perform(request, info, kind)
        if fault.lose_answer:
            raise AnswerLostError
        return answer

    def _perform(self, request: Request, info: RequestInfo, kind: Kind) -> Answer:
        try:
            if deadlines.seconds(info, request.params) < deadlines.SHORTEST:
                raise status.timed_out()
            if why := self.authorize(info):
                raise status.forbidden(info.resource, info.name, why)
            self.store.actor = info.user
            answer = self._dispatch(request, info, kind)
        except status.ApiError as error:
            answer = self._refusal(error)
        finally:
            self.store.actor = ""
        if info.is_write:
            self.audit.append(AuditEntry(info, answer.status))
        return answer

    def _dispatch(self, request: Request, info: RequestInfo, kind: Kind) -> Answer:
        if info.verb in {"list", "watch"}:
            found = self._list if info.verb == "list" else self._watch
            return found(request, info, kind)
        if info.subresource == "token":
            return self._token(request, info, kind)
        if (info.verb == "create") == bool(info.name):
            raise status.method_not_allowed()
        if info.verb == "delete":
            return self._delete(request, info, kind)
        change = {"get": self._get, "create": self._create, "update": self._replace, "patch": self._patch}
        existed = self.store.get(kind.resource, (info.namespace, info.name)) is not None
        item = change[info.verb](request, info, kind)
        code = 200 if existed else 201
        form = wire.as_partial(item) if wire.partial(request.accept, "PartialObjectMetadata") else item
        return self._json(code, form)

    def _token(self, request: Request, info: RequestInfo, kind: Kind) -> Answer:
        if info.verb != "create":
            raise status.method_not_allowed()
        account = self._get(request, info, kind)
        asked = wire.parsed(request, {"application/json"})
        return self._json(201, tokens.granted(account, asked, self.clock.now()))

    def _get(self, _request: Request, info: RequestInfo, kind: Kind) -> JSON:
        found = self.store.get(kind.resource, (info.namespace, info.name))
        if found is None:
            raise status.not_found(kind.resource, info.name)
        return found

    def _create(self, request: Request, info: RequestInfo, kind: Kind) -> JSON:
        body = wire.parsed(request, {"application/json"})
        return self.writer.create(
            kind, info.namespace, body, user=info.user, manager=request.agent.split("/")[0]
        )

    def _replace(self, request: Request, info: RequestInfo, kind: Kind) -> JSON:
        return self.writer.replace(
            kind,
            info.namespace,
            info.name,
            wire.parsed(request, {"application/json"}),
            subresource=info.subresource,
            user=info.user,
            manager=request.agent.split("/")[0],
        )

    def _patch(self, request: Request, info: RequestInfo, kind: Kind) -> JSON:
        body = wire.parsed(request, _PATCHES)
        if not info.apply:
            return self.writer.merge_patch(
                kind,
                info.namespace,
                info.name,
                body,
                subresource=info.subresource,
                user=info.user,
                manager=request.agent.split("/")[0],
            )
        manager = request.params.get("fieldManager", "")
        if not manager:
            raise status.bad_request(
                "PatchOptions is invalid: fieldManager: Required value: is required for apply"
            )
        return self.writer.apply(
            kind,
            info.namespace,
            info.name,
            body,
            manager=manager,
            force=request.params.get("force") == "true",
            user=info.user,
        )

    def _delete(self, request: Request, info: RequestInfo, kind: Kind) -> Answer:
        options = wire.parsed(request, {"application/json"}) if request.body else {}
        item, gone = self.writer.delete(kind, info.namespace, info.name, options, user=info.user)
        if not gone:
            return self._json(200, item)
        done = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {"name": info.name, "kind": kind.resource.plural, "uid": item["metadata"]["uid"]},
        }
        return self._json(200, done)

    def _list(self, request: Request, info: RequestInfo, kind: Kind) -> Answer:
        params = request.params
        if token := params.get("continue"):
            if token not in self._pages:
                raise status.expired("The provided continue parameter is too old")
            version, items = self._pages[token]
        else:
            version = str(self.store.version)
            selects = self._predicate(info, kind, params)
            items = [item for item in self.store.items(kind.resource) if selects(item)]
        metadata: JSON = {"resourceVersion": version}
        limit = int(params.get("limit") or 0)
        if limit and len(items) > limit:
            rest = items[limit:]
            token = base64.urlsafe_b64encode(f"{version}:{len(self._pages)}".encode()).decode()
            self._pages[token] = (version, rest)
            metadata["continue"] = token
            items = items[:limit]
        partial = wire.partial(request.accept, "PartialObjectMetadataList")
        render = wire.as_partial if partial else wire.listed(kind)
        kind_name, api = ("PartialObjectMetadataList", "meta.k8s.io/v1") if partial else (
            f"{kind.resource.kind}List", kind.resource.api_version)  # fmt: skip
        return self._json(
            200,
            {"kind": kind_name, "apiVersion": api, "metadata": metadata, "items": [render(i) for i in items]},
        )

    def _watch(self, request: Request, info: RequestInfo, kind: Kind) -> Answer:
        version = request.params.get("resourceVersion", "")
        if version and not version.isdigit():
            raise status.internal(f'resourceVersion: Invalid value: "{version}"')
        options = watching.WatchOptions(
            kind.resource,
            int(version) if version not in {"", "0"} else None,
            self._predicate(info, kind, request.params),
            wire.as_partial if wire.partial(request.accept, "PartialObjectMetadata") else dict,
            request.params.get("allowWatchBookmarks") in {"1", "true"},
            float(request.params.get("timeoutSeconds") or 1800),
        )
        return Answer(200, b"", self._headers(), watching.lines(self.store, options))

    def _predicate(self, info: RequestInfo, kind: Kind, params: dict[str, str]) -> Callable[[JSON], bool]:
        labels = selectors.label_predicate(params.get("labelSelector", ""))
        fields = selectors.field_predicate(params.get("fieldSelector", ""), kind.selectable)
        # GET of a collection with watch=1 and a name in the path is the old single-object watch.
        wanted = {info.namespace, ""}

        def selects(item: JSON) -> bool:
            metadata = item["metadata"]
            within = not info.namespace or metadata.get("namespace", "") in wanted - {""}
            return within and info.name in {"", metadata["name"]} and labels(item) and fields(item)

        return selects

    def _refusal(self, error: status.ApiError) -> Answer:
        if error.text:
            answer = self._answer(error.code, error.text.encode(), content_type="text/plain; charset=utf-8")
        else:
            answer = self._json(error.code, error.body())
        return Answer(answer.status, answer.body, answer.headers | error.headers)

    def _json(self, code: int, body: JSON) -> Answer:
        return self._answer(code, json.dumps(body, separators=(",", ":")).encode())

    def _answer(self, code: int, body: bytes, content_type: str = "application/json") -> Answer:
        return Answer(code, body, self._headers() | {"Content-Type": content_type})

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "Date": format_datetime(self.clock.now().replace(microsecond=0), usegmt=True),
        }
