"""A small JSON client of the API server for scenarios, because kubectl costs 0.1 s a call.

Hand-written on ``http.client``: scenarios are synchronous, each identity needs its own credentials,
and what is tested is the API server's own answer, which a library would translate. Verifies the
server's certificate always; retries nothing.
"""

from __future__ import annotations

import base64
import http.client
import json
import select
import ssl
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import yaml

from e2e.errors import ApiError, HarnessError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    from meshca.api.names import Resource

    Dial = Callable[[str, int, float], socket.socket]

JSON = dict[str, Any]
T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds that one call may take."""
USER_AGENT = "meshca-e2e"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Response:
    """What the API server answered; ``body`` holds ``message`` alone when it sent no JSON object."""

    status: int
    headers: Mapping[str, str]
    body: JSON
    text: str


def path_of(resource: Resource, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Return the URL path of a collection, an object or a subresource."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    parts = [root]
    if namespace:
        parts.append(f"namespaces/{namespace}")
    parts += [part for part in (resource.plural, name, subresource) if part]
    return "/".join(parts)


class _Connection(http.client.HTTPSConnection):
    """HTTPS over a socket that the flavour opened."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, dial: Dial, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._context_used = context
        self._dial = dial
        self._seconds = timeout

    def connect(self) -> None:
        """Open the connection through the flavour and verify the server's name."""
        plain = self._dial(self.host, self.port, self._seconds)
        self.sock = self._context_used.wrap_socket(plain, server_hostname=self.host)


class Client:
    """Calls one API server as one identity; safe to use from several threads."""

    def __init__(
        self,
        server: str,
        ca_file: Path,
        *,
        dial: Dial,
        token: str = "",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        parts = urlsplit(server)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 443
        self._context = ssl.create_default_context(cafile=ca_file)
        if certificate:
            self._context.load_cert_chain(*certificate)
        self._token = token
        self._dial = dial
        self._idle: list[_Connection] = []
        self.refusals: set[str] = set()
        """What the API server answered when it refused something."""
        self._lock = threading.Lock()

    @classmethod
    def from_kubeconfig(cls, file: Path, *, dial: Dial) -> Client:
        """Read server, CA and credentials of the current context; runs no credential plugin."""
        config = yaml.safe_load(file.read_text())
        current = {c["name"]: c["context"] for c in config["contexts"]}[config["current-context"]]
        cluster = {c["name"]: c["cluster"] for c in config["clusters"]}[current["cluster"]]
        user = {u["name"]: u["user"] for u in config["users"]}[current["user"]]
        with tempfile.TemporaryDirectory() as scratch:

            def path(entry: Mapping[str, str], key: str) -> Path | None:
                if data := entry.get(f"{key}-data"):
                    target = Path(scratch, key)
                    target.write_bytes(base64.b64decode(data))
                    return target
                return file.parent / entry[key] if key in entry else None

            ca_file = path(cluster, "certificate-authority")
            certificate, key = path(user, "client-certificate"), path(user, "client-key")
            token = user.get("token", "")
            if ca_file is None or not (token or (certificate and key)):
                raise HarnessError(f"{file}: needs a CA and a client certificate or a token")
            pair = (certificate, key) if certificate and key else None
            return cls(cluster["server"], ca_file, dial=dial, token=token, certificate=pair)

    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "",
        user_agent: str = USER_AGENT,
        timeout: float = TIMEOUT,
    ) -> Response:
        """Make one call and return the answer whatever its status; ``OSError`` when there is none."""
        connection = self._kept(timeout) or self._open(timeout)
        try:
            headers = {**self._headers(method, content_type), "User-Agent": user_agent}
            answer = _send(connection, method, _url(path, query), body, headers)
            text = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        said = text.decode(errors="replace")
        if answer.status >= 400:
            self.refusals.add(said)
        return Response(answer.status, dict(answer.headers), _object(text), said)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "",
        timeout: float = TIMEOUT,
    ) -> JSON:
        """Make one call and return the object; ``ApiError`` on 4xx and 5xx."""
        answer = self.exchange(method, path, body, query=query, content_type=content_type, timeout=timeout)
        if answer.status >= 400:
            raise ApiError(answer.status, answer.body, f"{method} {path}")
        return answer.body

    def watch(self, path: str, query: Mapping[str, str], timeout: float) -> Iterator[JSON]:
        """Yield watch events of a collection; ends when the server does, ``TimeoutError`` after seconds."""
        connection = self._open(timeout)
        try:
            watching = {**query, "watch": "true", "allowWatchBookmarks": "true"}
            answer = _send(connection, "GET", _url(path, watching), None, self._headers("GET", ""))
            if answer.status >= 400:
                raise ApiError(answer.status, _object(answer.read()), f"watch {path}")
            deadline = time.monotonic() + timeout
            while line := answer.readline():
                yield json.loads(line)
                connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
        finally:
            connection.close()

    def wait_for(self, predicate: Callable[[list[JSON]], T | None], path: str, timeout: float = 60.0) -> T:
        """Watch a collection or one object until ``predicate(objects)`` is truthy and return its value.

        The list is read once, then kept up to date by a watch; when the watch breaks off (410, the API
        server restarted) it starts over. ``TimeoutError`` after ``timeout`` seconds, with the objects'
        last state in its text.
        """
        collection, query = split_path(path)
        deadline = time.monotonic() + timeout
        seen: dict[str, JSON] = {}
        while (left := deadline - time.monotonic()) > 0:
            try:
                found = self._follow(predicate, collection, query, seen, left)
            except TimeoutError:
                break
            except (OSError, http.client.HTTPException, ApiError) as error:
                if isinstance(error, ApiError) and error.status not in _PASSING:
                    raise
                # There is nothing to watch while the server is away; this only paces the next attempt.
                time.sleep(min(0.1, left))
                continue
            if found:
                return found
        state = json.dumps([_brief(item) for item in seen.values()], indent=1)[:4000]
        raise TimeoutError(f"{path}: not so after {timeout:g} s; last seen: {state}")

    def _follow(
        self,
        predicate: Callable[[list[JSON]], T | None],
        path: str,
        query: dict[str, str],
        seen: dict[str, JSON],
        seconds: float,
    ) -> T | None:
        deadline = time.monotonic() + seconds
        answer = self.request("GET", path, query=query, timeout=seconds)
        seen.clear()
        seen.update({item["metadata"]["uid"]: item for item in answer["items"]})
        if found := predicate(list(seen.values())):
            return found
        version = {"resourceVersion": answer["metadata"]["resourceVersion"]}
        for event in self.watch(path, {**query, **version}, max(0.001, deadline - time.monotonic())):
            item = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(item.get("code", 500), item, f"watch {path}")
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                seen.pop(item["metadata"]["uid"], None)
            else:
                seen[item["metadata"]["uid"]] = item
            if found := predicate(list(seen.values())):
                return found
        return None

    def _open(self, timeout: float) -> _Connection:
        return _Connection(self._host, self._port, self._context, self._dial, timeout)

    def _kept(self, timeout: float) -> _Connection | None:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None or connection.sock is None:
            return None
        if select.select([connection.sock], [], [], 0)[0]:
            # Readable between two calls means that the server has closed it.
            connection.close()
            return self._kept(timeout)
        connection.sock.settimeout(timeout)
        return connection

    def close(self) -> None:
        """Close the idle connections; the client may be used again."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _headers(self, method: str, content_type: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        headers["Content-Type"] = content_type or (MERGE_PATCH if method == "PATCH" else "application/json")
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


_PASSING = frozenset({404, 410, 429, 500, 503, 504})
"""Answers after which waiting goes on: expired watch, kind not served yet, server starting."""


def _send(
    connection: _Connection, method: str, url: str, body: Any, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    connection.request(method, url, None if body is None else json.dumps(body), dict(headers))
    return connection.getresponse()


def _url(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _object(text: bytes) -> JSON:
    try:
        value = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace")}
    return value if isinstance(value, dict) else {"value": value}


def split_path(path: str) -> tuple[str, dict[str, str]]:
    """Split an object's path into its collection and a field selector for its name."""
    path, _, text = path.partition("?")
    query = dict(parse_qsl(text))
    head, rest = (path.split("/")[:3], path.split("/")[3:])
    if head[1] == "apis":
        head, rest = [*head, rest[0]], rest[1:]
    if rest[0] == "namespaces" and len(rest) >= 3:
        head, rest = [*head, *rest[:2]], rest[2:]
    if len(rest) == 2:
        query["fieldSelector"] = f"metadata.name={rest[1]}"
    return "/".join([*head, rest[0]]), query


def _brief(item: JSON) -> JSON:
    metadata = item["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "name", "deletionTimestamp") if key in metadata}
    return {**kept, "status": item.get("status", {})}
