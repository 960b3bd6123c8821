"""The options that go along with every script call, packed as the scripts unpack them; what repeats is packed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.outcome import keep_of

_FLAGS = ("fpof", "cpof", "idof", "rdof")
_MOST = 512


class PackedOptions:
    """The packed options of one worker's calls; a job's own part of them is much the same for all jobs of a queue."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._whole: dict[str, bytes] = {}
        self._heads: dict[str, bytes] = {}
        self._tails: dict[tuple[Any, ...], bytes] = {}
        self._maximum = options.max_data_points or ""

    def to_take(self, token: str) -> bytes:
        """Return the options of `moveToActive`, and of `moveToDelayed` that takes the next job."""
        packed = self._whole.get(token)
        if packed is None:
            packed = self._whole[token] = bytes(msgpack.packb(self._options.for_script(token)))
        return packed

    def to_finish(self, token: str, target: str, *, attempts: tuple[int, int], opts: Mapping[str, Any]) -> bytes:
        """Return the options of `moveToFinished`; `attempts` are all of the job's and those made before."""
        option = opts.get("removeOnComplete" if target == "completed" else "removeOnFail")
        keep = tuple(option.items()) if isinstance(option, dict) else option
        # True and 1 are one key but not one meaning.
        parts = (target, attempts, keep, type(option), *map(opts.get, _FLAGS))
        try:
            tail = self._tails.get(parts)
        except TypeError:
            # A list somewhere in options that another producer wrote.
            return self._head(token) + self._tail(target, attempts, option, opts)
        if tail is None:
            if len(self._tails) >= _MOST:
                self._tails.clear()
            tail = self._tails[parts] = self._tail(target, attempts, option, opts)
        return self._head(token) + tail

    def _head(self, token: str) -> bytes:
        head = self._heads.get(token)
        if head is None:
            fields = self._options.for_script(token)
            # The size of the whole map, then its first half.
            packed = msgpack.Packer().pack_map_header(len(fields) + 4 + len(_FLAGS))
            head = self._heads[token] = bytes(packed) + _pairs(fields)
        return head

    def _tail(self, target: str, attempts: tuple[int, int], option: Any, opts: Mapping[str, Any]) -> bytes:
        default = self._options.remove_on_complete if target == "completed" else self._options.remove_on_fail
        fields = {
            "keepJobs": keep_of(option, default),
            "attempts": attempts[0],
            "attemptsMade": attempts[1],
            "maxMetricsSize": self._maximum,
            **{flag: bool(opts.get(flag)) for flag in _FLAGS},
        }
        return _pairs(fields)


def _pairs(fields: Mapping[str, Any]) -> bytes:
    return b"".join(bytes(msgpack.packb(word)) for pair in fields.items() for word in pair)
