"""Carries TCP connections from a loopback port of the machine to an address inside the sandbox.

Started as ``python -m e2e.node.relay PORT PID HOST PORT``: listens in the machine's network namespace and
connects from that of PID, so that kubectl, Helm and tests run unchanged outside; ends with PID. Never
looks into what it carries.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from e2e.node import network

CHUNK = 1 << 16


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy one direction until its end, then say so to the other side."""
    try:
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
        target.write_eof()
    except OSError:
        target.transport.abort()


async def serve(listener: socket.socket, pid: int, host: str, port: int) -> None:
    """Accept connections until ``pid`` is gone."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(os.pidfd_open(pid), over.set)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            # The caller sees the end of the connection where it would be refused without a relay.
            writer.close()
            return
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(accepted, sock=listener)
    await over.wait()
    server.close()


def main() -> None:
    """Listen outside, then move in and serve."""
    own, pid, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    listener = socket.create_server(("127.0.0.1", own), backlog=128)
    network.enter(pid)
    asyncio.run(serve(listener, pid, host, port))


if __name__ == "__main__":
    main()
