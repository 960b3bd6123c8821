"""How it stands between a worker and its Redis: said once per change, and not for ever where Redis refuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from queueworker_worker.engine.link import LinkError, RefusedError
from queueworker_worker.errors import AccessRefusedError

_log = logging.getLogger(__name__)
_REPEAT_SECONDS = 30.0


class Contact:
    """Whether Redis answers; `ok` and `failed` are called with what the last command brought.

    `told` hears of every failure, the log of the first of each kind and then of one in 30 s.
    """

    def __init__(
        self,
        queue: str,
        *,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[LinkError], None] = lambda error: None,
    ) -> None:
        self._queue = queue
        self._told = told
        self._patience = patience
        self._clock = clock
        self._refused_since: float | None = None
        self._said_at: dict[type[LinkError], float] = {}
        self.connected = False

    def ok(self) -> None:
        """Redis did what it was asked."""
        if self.connected:
            return
        if self._said_at:
            _log.info("queue %s: Redis answers again", self._queue)
        self.connected, self._refused_since = True, None
        self._said_at.clear()

    def failed(self, error: LinkError) -> None:
        """A command failed; raises AccessRefusedError when Redis has been refusing us for too long."""
        now = self._clock()
        self.connected = False
        self._told(error)
        # By kind, for they may take turns: a connection that is lost, and then a password that is refused.
        said_at = self._said_at.get(type(error))
        if said_at is None or now - said_at >= _REPEAT_SECONDS:
            _log.error("queue %s: %s; trying again", self._queue, error)
            self._said_at[type(error)] = now
        if not isinstance(error, RefusedError):
            # An unreachable server says nothing about our rights: the patience starts anew.
            self._refused_since = None
            return
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since >= self._patience:
            raise AccessRefusedError(
                f"queue {self._queue}: refused for {self._patience:g} s: {error}; "
                "check the user, its password and its ACL, or whether this server is still the master"
            )
