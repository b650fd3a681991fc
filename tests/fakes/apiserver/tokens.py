"""TokenRequest: a token that says what a real one says, signed by nobody."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from tests.fakes.apiserver.status import invalid

if TYPE_CHECKING:
    from datetime import datetime

JSON = dict[str, Any]
SHORTEST = 600
DEFAULT = 3600
AUDIENCE = "https://kubernetes.default.svc"


def granted(account: JSON, asked: JSON, now: datetime) -> JSON:
    """Return the TokenRequest as answered."""
    spec = asked.get("spec") or {}
    seconds = int(spec.get("expirationSeconds", DEFAULT))
    metadata = account["metadata"]
    if seconds < SHORTEST:
        field = "spec.expirationSeconds"
        text = "Invalid value: may not specify a duration less than 10 minutes"
        raise invalid(names.TOKEN_REQUEST, metadata["name"], field, text)
    audiences = spec.get("audiences") or [AUDIENCE]
    expires = now + timedelta(seconds=seconds)
    claims = {
        "iss": AUDIENCE,
        "aud": audiences,
        "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
        "iat": int(now.timestamp()),
        "exp": int(expires.timestamp()),
        "kubernetes.io": {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        },
    }
    token = ".".join([_part({"alg": "none"}), _part(claims), ""])
    return {
        "apiVersion": names.TOKEN_REQUEST.api_version,
        "kind": names.TOKEN_REQUEST.kind,
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": {"audiences": audiences, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": format_time(expires)},
    }


def _part(value: JSON) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
