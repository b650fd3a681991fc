"""Two Pods that know each other by their certificates alone: mutual TLS with what the operator keeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e import image, installation, workload
from e2e.node.test_node import RESTRICTED

if TYPE_CHECKING:
    from e2e.node.cluster import NodeCluster

pytestmark = pytest.mark.node

JSON = dict[str, Any]

# Both sides demand a certificate of the other and take its name from it, never from the network.
COMMON = """
import json, socket, ssl, sys
def context(purpose):
    made = ssl.create_default_context(purpose, cafile="/tls/ca.crt")
    made.check_hostname = False
    made.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    return made
def tell(connection):
    names = [value for kind, value in connection.getpeercert()["subjectAltName"] if kind == "URI"]
    print(json.dumps({"version": connection.version(), "peer": names}), flush=True)
"""
# The readiness probe connects and says nothing, which is no reason to end.
SERVER = f"""{COMMON}
with socket.create_server(("", 8443)) as listener:
    while True:
        plain, _ = listener.accept()
        try:
            with context(ssl.Purpose.CLIENT_AUTH).wrap_socket(plain, server_side=True) as connection:
                connection.sendall(connection.recv(64))
                tell(connection)
        except OSError:
            plain.close()
"""
CLIENT = f"""{COMMON}
made = context(ssl.Purpose.SERVER_AUTH)
with socket.create_connection((sys.argv[1], 8443), 10) as plain, made.wrap_socket(plain) as connection:
    connection.sendall(b"hello")
    assert connection.recv(64) == b"hello"
    tell(connection)
"""


def pod(name: str, account: str, command: list[str]) -> JSON:
    container = {
        "name": "main",
        "image": image.reference(),
        "command": command,
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}],
    }
    if name == "server":
        container["readinessProbe"] = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    return {
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"fsGroup": image.USER},
            "containers": [container],
            "volumes": [{"name": "tls", "secret": {"secretName": f"{account}-tls", "defaultMode": 0o440}}],
        },
    }


@pytest.mark.usefixtures("release")
def test_two_pods_do_mutual_tls_with_their_managed_certificates(node: NodeCluster, place: str) -> None:
    for account in ("cart", "payment"):
        node.request("POST", f"/api/v1/namespaces/{place}/serviceaccounts", {"metadata": {"name": account}})
        leaf = workload.leaf(place, account, account=account, secretName=f"{account}-tls")
        workload.create(node, leaf)
    pods = f"/api/v1/namespaces/{place}/pods"
    # Started at once: a Pod waits for the Secret that its volume names.
    node.request("POST", pods, pod("server", "payment", ["python3", "-c", SERVER]))
    address = node.wait(f"{pods}/server")["status"]["podIP"]
    node.request("POST", pods, pod("client", "cart", ["python3", "-c", CLIENT, address]))
    node.wait_for(
        lambda found: any(item["status"]["phase"] == "Succeeded" for item in found), f"{pods}/client"
    )
    (client,), (server,) = (node.pod_logs(place, name) for name in ("client", "server"))
    domain = installation.DEFAULT["spec"]["trustDomain"]
    names = {account: f"spiffe://{domain}/ns/{place}/sa/{account}" for account in ("cart", "payment")}
    assert json.loads(client) == {"version": "TLSv1.3", "peer": [names["payment"]]}
    assert json.loads(server) == {"version": "TLSv1.3", "peer": [names["cart"]]}
