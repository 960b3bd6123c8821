"""Addresses for pods: 127.66.x.y, where x belongs to one node agent of this host at a time."""

from __future__ import annotations

import random
import socket
from collections import deque
from contextlib import suppress

# The kubelet's port. Bound, never listened on: it marks the block as taken by this process.
_MARK_PORT = 10250
_MARK_HOST = 255


class AddressesExhaustedError(Exception):
    """All blocks or all addresses of the block are in use."""


class Addresses:
    """A block of 254 loopback addresses. The one longest free is given first."""

    def __init__(self) -> None:
        self._mark, self._block = _take_block()
        self._free = deque(f"127.66.{self._block}.{host}" for host in range(1, _MARK_HOST))

    def take(self) -> str:
        """Return a free address."""
        if not self._free:
            raise AddressesExhaustedError(f"all {_MARK_HOST - 1} addresses of 127.66.{self._block}.0/24 are in use")
        return self._free.popleft()

    def give_back(self, address: str) -> None:
        """Take an address back."""
        self._free.append(address)

    def close(self) -> None:
        """Leave the block to others."""
        self._mark.close()


def _take_block() -> tuple[socket.socket, int]:
    for block in random.sample(range(256), 256):
        mark = socket.socket()
        with suppress(OSError):
            mark.bind((f"127.66.{block}.{_MARK_HOST}", _MARK_PORT))
            return mark, block
        mark.close()
    raise AddressesExhaustedError("every block of 127.66.0.0/16 is taken by another process node, or cannot be bound")
