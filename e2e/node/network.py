"""Sockets in the network namespace of another process.

Decides nothing about what goes over them. By ctypes because ``os.setns`` came with Python 3.12.
"""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000


def enter(pid: int) -> None:
    """Move the calling thread into the network namespace of ``pid``; ``OSError`` if that cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:  # noqa: PTH123  no path to work with
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"setns: {os.strerror(code)}")


def connect(pid: int, host: str, port: int, timeout: float) -> socket.socket:
    """Open a TCP connection from the network of ``pid``; ``timeout`` in seconds.

    A socket belongs to the namespace that its thread was in when it was made, so a thread that ends right
    after goes there and this process stays where it is.
    """

    def dial() -> socket.socket:
        enter(pid)
        return socket.create_connection((host, port), timeout)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(dial).result()
