"""The operator as processes of this machine, where there is no kubelet to run its Pods.

Reads the Deployment that Helm installed and does for its one container what a kubelet does: resolves
the environment, mounts a ServiceAccount token from TokenRequest (and renews it), restarts what exits,
probes readiness. Never gives the operator any other credentials. What a kubelet would do beyond that
(liveness probes, resource limits, security contexts) is the node flavour's to show.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from e2e import podspec, processes
from e2e.errors import HarnessError
from e2e.processes import Process

if TYPE_CHECKING:
    from e2e.cluster import Cluster

JSON = dict[str, Any]

TOKEN_SECONDS = 3607
"""What a kubelet asks for in the default token volume."""
KEPT_SECONDS = 7 * 24 * 3600
"""Life of the tokens of a kept operator, which nobody renews."""
RENEW_AT = 0.8
"""Part of a token's life after which a kubelet renews it."""
BACKOFF = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each restart of a process that exited; a kubelet's own pauses are ten times longer."""

HOPELESS = 3
"""How often a replica may end before anybody stops waiting for it to become ready."""


class Replica:
    """One process and its token directory, under a name and address that last over restarts."""

    def __init__(self, name: str, address: str, process: Process, tokens: Path) -> None:
        self.name = name
        self.address = address
        self.process = process
        self.tokens = tokens
        self.exits: list[int] = []
        self.down = threading.Event()
        self._turn = threading.Lock()

    def start(self) -> None:
        """Start the process and watch over it."""
        self.down = threading.Event()
        self.process.start()
        threading.Thread(target=self._supervise, args=(self.down,), daemon=True).start()

    def end(self, *, kill: bool, grace: float) -> None:
        """End the process for good, by SIGKILL or cleanly within ``grace`` seconds."""
        with self._turn:
            self.down.set()
        if self.process.alive:
            self.exits.append(self.process.kill() if kill else self.process.stop(grace))

    def _supervise(self, down: threading.Event) -> None:
        for attempt in range(sys.maxsize):
            code = self.process.join()
            if down.wait(BACKOFF[min(attempt, len(BACKOFF) - 1)]):
                return
            with self._turn:
                if down.is_set():
                    return
                self.exits.append(code)
                self.process.start()


class OperatorProcesses:
    """The replicas of one Deployment; see ``e2e.cluster.Operator``."""

    def __init__(self, cluster: Cluster, namespace: str, deployment: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._deployment = deployment
        self._replicas: dict[str, Replica] = {}
        self._container: podspec.Container | None = None
        self._over = threading.Event()
        self.extra_environment: dict[str, str] = {}
        """What the processes of the next start get besides, for scenarios that disturb them."""
        self.anchor = ""
        """Secret that tokens made from now on are bound to: with it they end; "" for none."""

    # --- life cycle -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start as many replicas as the Deployment says, beside those that run."""
        path = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{self._deployment}"
        container = podspec.read(self._cluster.request("GET", path))
        self._container = container
        self._over.clear()
        for _ in range(container.replicas - len(self.replicas)):
            replica = self._make(container)
            self._replicas[replica.name] = replica
            replica.start()
        threading.Thread(target=self._renew_tokens, daemon=True).start()

    def stop(self) -> None:
        """End every replica cleanly, all at once; their logs stay, the next start makes new replicas."""
        self._over.set()
        grace = self._grace()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda replica: replica.end(kill=False, grace=grace), self._replicas.values()))

    def restart(self, replica: str) -> None:
        """End one replica cleanly if it runs and start it under the same name and address."""
        found = self._replicas[replica]
        found.end(kill=False, grace=self._grace())
        found.start()

    def kill(self, replica: str) -> None:
        """End one replica without warning; it stays down until ``restart``."""
        self._replicas[replica].end(kill=True, grace=0)

    def keep(self) -> list[Process]:
        """Return the processes, to be left running: nobody restarts them, their tokens last a week."""
        self._over.set()
        running = [replica for replica in self._replicas.values() if replica.process.alive]
        for replica in running:
            replica.down.set()
        self.renew_tokens(KEPT_SECONDS)
        return [replica.process for replica in running]

    def pause(self, replica: str) -> None:
        """Freeze one replica (SIGSTOP), as a stalled machine would."""
        self._replicas[replica].process.send(signal.SIGSTOP)

    def resume(self, replica: str) -> None:
        """Let a frozen replica go on (SIGCONT)."""
        self._replicas[replica].process.send(signal.SIGCONT)

    # --- what can be seen -----------------------------------------------------------------------

    @property
    def replicas(self) -> list[str]:
        """Return the names of the replicas whose process runs now."""
        return [name for name, replica in self._replicas.items() if replica.process.alive]

    def pid(self, replica: str) -> int:
        """Return the process id of a replica, for measurements."""
        return self._replicas[replica].process.pid

    def exits(self, replica: str) -> list[int]:
        """Return the exit codes of a replica's earlier processes, in order; negative = signal."""
        return list(self._replicas[replica].exits)

    def environment(self, replica: str) -> dict[str, str]:
        """Return the whole environment of a replica's process."""
        return dict(self._replicas[replica].process.env)

    def credential(self, replica: str) -> str:
        """Return what the audit log calls the token that a replica was given last."""
        payload = self.token(replica).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return f"JTI={claims['jti']}"

    def token(self, replica: str) -> str:
        """Return the token that a replica was given last."""
        return (self._replicas[replica].tokens / "token").read_text()

    def logs(self, replica: str) -> list[JSON]:
        """Return a replica's log lines over all its starts; ``{"text": ...}`` for one that is no JSON."""
        lines = self._replicas[replica].process.log.read_text(errors="replace").splitlines()
        return [_parsed(line) for line in lines if line]

    def get(self, replica: str, path: str) -> tuple[int, str]:
        """Ask the replica's HTTP server; status code and text, ``OSError`` when it does not answer."""
        probe = self._current().readiness
        connection = http.client.HTTPConnection(
            self._replicas[replica].address, probe.port, timeout=probe.timeout
        )
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def ready(self, replica: str) -> bool:
        """Tell whether the replica passes the Deployment's readiness probe now."""
        try:
            return 200 <= self.get(replica, self._current().readiness.path)[0] < 400
        except (OSError, http.client.HTTPException):
            return False

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return once every replica that is meant to run is ready; else ``HarnessError`` with its log."""
        deadline = time.monotonic() + timeout
        exits = {name: len(replica.exits) for name, replica in self._replicas.items()}
        for name, replica in self._replicas.items():
            while not (replica.down.is_set() or self.ready(name)):
                ended = len(replica.exits) - exits[name]
                if ended >= HOPELESS or time.monotonic() > deadline:
                    text = f"{name} not ready in {timeout:g} s, ended {ended} times meanwhile"
                    raise HarnessError(f"{text}\n{replica.process.tail()}")
                # A probe is asked again and again by its nature; a kubelet does so more seldom.
                time.sleep(0.05)

    # --- what a kubelet prepares ----------------------------------------------------------------

    def _make(self, container: podspec.Container) -> Replica:
        name = f"{self._deployment}-{container.template_hash}-{secrets.token_hex(3)}"
        address = processes.free_address(container.readiness.port)
        directory = self._cluster.directory / "operator" / name
        tokens = directory / "token"
        tokens.mkdir(parents=True, mode=0o700)
        (tokens / "namespace").write_text(self._namespace)
        shutil.copy(self._cluster.ca_file, tokens / "ca.crt")
        self._write_token(tokens, container.service_account)
        fields = {
            "metadata.name": name,
            "metadata.namespace": self._namespace,
            "spec.serviceAccountName": container.service_account,
            "status.podIP": address,
        }
        declared = container.environment(fields)
        server = urlsplit(self._cluster.server)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "HOME": str(directory),
            "KUBERNETES_SERVICE_HOST": str(server.hostname),
            "KUBERNETES_SERVICE_PORT": str(server.port),
            **declared,
            "MESHCA_TOKEN_DIR": str(tokens),
            **self.extra_environment,
        }
        command = container.arguments(environment)
        command[0] = shutil.which(command[0], path=environment["PATH"]) or command[0]
        return Replica(name, address, Process(name, command, directory / "log", env=environment), tokens)

    def _write_token(self, tokens: Path, account: str, seconds: int = TOKEN_SECONDS) -> None:
        token = self._cluster.token(self._namespace, account, seconds=seconds, anchor=self.anchor)
        fresh = tokens / ".token"
        fresh.touch(mode=0o600)
        fresh.write_text(token)
        fresh.replace(tokens / "token")

    def renew_tokens(self, seconds: int = TOKEN_SECONDS) -> None:
        """Replace the token of every replica now by one that lasts ``seconds``."""
        for replica in list(self._replicas.values()):
            self._write_token(replica.tokens, self._current().service_account, seconds)

    def _renew_tokens(self) -> None:
        pause = TOKEN_SECONDS * RENEW_AT
        while not self._over.wait(pause):
            try:
                self.renew_tokens()
            except (OSError, http.client.HTTPException, HarnessError):
                pause = 1.0
            else:
                pause = TOKEN_SECONDS * RENEW_AT

    def _current(self) -> podspec.Container:
        if self._container is None:
            raise HarnessError("the operator has not been started")
        return self._container

    def _grace(self) -> float:
        return self._container.grace if self._container else podspec.GRACE_SECONDS


def _parsed(line: str) -> JSON:
    try:
        value = json.loads(line)
    except ValueError:
        return {"text": line}
    return value if isinstance(value, dict) else {"text": line}
