"""Names of the sides and processes, as they stand in the figures."""

from __future__ import annotations

OPERATOR = "operator"
BARE = "bare"
SERVER = "kube-apiserver"
ETCD = "etcd"
