"""The proxy between two clusters: what each disturbance does to connections, old and new."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING

import pytest

from e2e.link import HOST, Link

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture
def link() -> Iterator[Link]:
    with _Server((HOST, 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with Link(f"https://{HOST}:{server.server_address[1]}") as made:
                yield made
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def connected(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, link.port), SECONDS) as client:
        yield client


def asks(client: socket.socket, data: bytes = b"hello") -> bytes:
    client.sendall(data)
    return client.recv(4096)


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_carries_both_ways_and_says_where_it_is(link: Link) -> None:
    assert link.url == f"https://127.0.0.1:{link.port}"
    with connected(link) as client:
        assert asks(client) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert ended(client)
    assert link.accepted == 1


def test_cut_ends_what_is_open_and_refuses_what_comes_until_it_is_healed(link: Link) -> None:
    with connected(link) as client:
        asks(client)
        assert link.connections == 1
        link.cut()
        assert ended(client)
    with pytest.raises(ConnectionRefusedError), connected(link):
        pass
    link.heal()
    with connected(link) as client:
        assert asks(client) == b"hello"


def test_reset_ends_what_is_open_and_no_more(link: Link) -> None:
    with connected(link) as client:
        asks(client)
        link.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connected(link) as client:
        assert asks(client) == b"hello"


def test_a_black_hole_accepts_and_swallows_and_what_it_swallowed_comes_later(link: Link) -> None:
    with connected(link) as old:
        asks(old)
        link.black_hole()
        with connected(link) as new:
            for client in (old, new):
                client.sendall(b"late")
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.recv(1)
            link.heal()
            for client in (old, new):
                client.settimeout(SECONDS)
                assert client.recv(4096) == b"late"


def test_a_black_hole_can_be_cut(link: Link) -> None:
    with connected(link) as client:
        asks(client)
        link.black_hole()
        client.sendall(b"never")
        link.cut()
        assert ended(client)


def test_a_flapping_link_ends_every_connection_until_it_is_healed(link: Link) -> None:
    link.flap(0.05)
    for _ in range(2):
        with connected(link) as client:
            assert ended(client)
    link.heal()
    with connected(link) as client:
        assert asks(client) == b"hello"
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_delay_holds_back_each_way(link: Link) -> None:
    link.delay(0.1)
    with connected(link) as client:
        started = time.monotonic()
        assert asks(client) == b"hello"
        assert time.monotonic() - started >= 0.2
        link.heal()
        assert asks(client) == b"hello"
