"""What one Envoy beside a workload is told: mutual TLS 1.3, peers known by SPIFFE ID, files that change.

Decides Envoy's configuration, as plain data; starts nothing. Certificate and roots come by file SDS from
two volumes, which Envoy watches as directories, because a swapped link is no change of a file.
Every request is a connection of its own: no connection is used twice and no session is resumed, so
that each one shows a whole handshake with what both sides hold at that moment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import PurePath

JSON = dict[str, Any]

_TYPES = "type.googleapis.com/envoy.extensions"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = f"{_TYPES}.transport_sockets.tls.v3"
_REPLY = "%LOCAL_REPLY_BODY% (%UPSTREAM_TRANSPORT_FAILURE_REASON%)"
SECONDS = "5s"
"""After which a connection or a request counts as failed; long for a busy machine."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where, as Envoy sees it, the volumes are and its own files go."""

    leaf: PurePath
    roots: PurePath
    own: PurePath


def command(program: PurePath, own: PurePath) -> list[str]:
    """Return how an Envoy is started whose files are in ``own``; one worker is enough for one stream."""
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    options += ["--file-flush-interval-msec", "50"]
    return [str(program), "--config-path", str(own / "envoy.json"), *options]


def config_files(bootstrap: JSON, files: Files) -> dict[str, str]:
    """Return the files that Envoy's own directory must hold, by name."""
    return {
        "envoy.json": json.dumps(bootstrap),
        "leaf.json": json.dumps(_secret("leaf", tls_certificate=_certificate(files.leaf))),
        "roots.json": json.dumps(_secret("roots", validation_context=_validation(files.roots))),
    }


def server(address: tuple[str, int], admin: tuple[str, int], files: Files, peer: str) -> JSON:
    """Return the bootstrap of a server that answers 200 to ``peer`` (a SPIFFE ID) and tells what it saw."""
    context = {
        "@type": f"{_TLS}.DownstreamTlsContext",
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "disable_stateful_session_resumption": True,
        "common_tls_context": _common(files, peer),
    }
    seen = {
        "x-client-uri": "%DOWNSTREAM_PEER_URI_SAN%",
        "x-client-cert": "%DOWNSTREAM_PEER_CERT%",
        "x-tls": "%DOWNSTREAM_TLS_VERSION%",
    }
    answer = {"direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
    return _bootstrap(admin, listeners=[_listener(address, answer, seen, _tls(context))])


def client(
    address: tuple[str, int], admin: tuple[str, int], files: Files, peer: str, upstream: tuple[str, int]
) -> JSON:
    """Return the bootstrap of a client side: plain HTTP in, mutual TLS out to ``peer`` at ``upstream``."""
    context = {
        "@type": f"{_TLS}.UpstreamTlsContext",
        "max_session_keys": 0,
        "common_tls_context": _common(files, peer),
    }
    seen = {"x-server-uri": "%UPSTREAM_PEER_URI_SAN%", "x-server-cert": "%UPSTREAM_PEER_CERT%"}
    endpoint = {"endpoint": {"address": _socket(upstream)}}
    options = {
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    cluster = {
        "name": "peer",
        "type": "STATIC",
        "connect_timeout": SECONDS,
        "load_assignment": {"cluster_name": "peer", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
        "transport_socket": _tls(context),
    }
    route = {"route": {"cluster": "peer", "timeout": SECONDS}}
    return _bootstrap(admin, listeners=[_listener(address, route, seen)], clusters=[cluster])


def _bootstrap(admin: tuple[str, int], **resources: list[JSON]) -> JSON:
    node = {"id": "mesh", "cluster": "mesh"}
    return {"node": node, "admin": {"address": _socket(admin)}, "static_resources": resources}


def _socket(address: tuple[str, int]) -> JSON:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}


def _listener(
    address: tuple[str, int], action: JSON, headers: dict[str, str], transport: JSON | None = None
) -> JSON:
    route = {"match": {"prefix": "/"}, **action}
    added = [{"header": {"key": key, "value": value}} for key, value in headers.items()]
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "mesh",
        "codec_type": "HTTP1",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [route], "response_headers_to_add": added}
            ]
        },
        "local_reply_config": {"body_format": {"text_format_source": {"inline_string": _REPLY}}},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    chain: JSON = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    if transport:
        chain["transport_socket"] = transport
    return {
        "name": "mesh",
        "address": _socket(address),
        "filter_chains": [chain],
        "access_log": [_refusals()] if transport else [],
    }


def _refusals() -> JSON:
    """Return a log that says of each connection why its handshake failed, or ``-``."""
    reason = "refused: %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"text_format_source": {"inline_string": reason}},
        },
    }


def _tls(context: JSON) -> JSON:
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _common(files: Files, peer: str) -> JSON:
    match = [{"san_type": "URI", "matcher": {"exact": peer}}]
    return {
        # Of an upstream the maximum is 1.2 unless it is set.
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [{"name": "leaf", "sds_config": _source(files, "leaf")}],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": match},
            "validation_context_sds_secret_config": {
                "name": "roots",
                "sds_config": _source(files, "roots"),
            },
        },
    }


def _source(files: Files, name: str) -> JSON:
    return {
        "path_config_source": {"path": str(files.own / f"{name}.json")},
        "resource_api_version": "V3",
    }


def _secret(name: str, **content: JSON) -> JSON:
    return {"resources": [{"@type": f"{_TLS}.Secret", "name": name, **content}]}


def _certificate(volume: PurePath) -> JSON:
    return {
        "certificate_chain": {"filename": str(volume / "tls.crt")},
        "private_key": {"filename": str(volume / "tls.key")},
        "watched_directory": {"path": str(volume)},
    }


def _validation(volume: PurePath) -> JSON:
    return {
        "trusted_ca": {"filename": str(volume / "ca.crt")},
        "watched_directory": {"path": str(volume)},
    }
