"""How a job ended and what becomes of it: completed, failed, tried again, postponed (pure)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from queueworker_worker.engine.jobs import ActiveJob, traces_of
from queueworker_worker.engine.options import BackoffStrategy, EngineOptions, Keep
from queueworker_worker.errors import (
    DelayedError,
    RateLimitError,
    UnrecoverableError,
    WaitingChildrenError,
    milliseconds,
)
from queueworker_worker.job import storable
from queueworker_worker.raised import message_of, trace_of

FALLBACK_BACKOFF_MS = 1_000
LONGEST_BACKOFF_MS = 30 * 86_400_000
_LONGEST_TRACE = 8_000
_LONGEST_REASON = 2_000


@dataclass(frozen=True, slots=True)
class Completed:
    """The processor returned; `value` is its result as JSON text."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The job failed for good."""

    reason: str
    stacktrace: str
    """JSON list of the traces of its attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The attempt failed; the job runs again after `delay_ms`."""

    reason: str
    stacktrace: str
    delay_ms: int
    warning: str | None = None
    """What is wrong with the job's backoff, where it had to be replaced."""


@dataclass(frozen=True, slots=True)
class Delayed:
    """The processor wants the job run again at `until_ms` (Unix ms); no attempt is used."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class WaitsForChildren:
    """The processor wants the job run again when its children have ended; no attempt is used."""


@dataclass(frozen=True, slots=True)
class RateLimited:
    """The processor puts the job back and holds the queue for `limit_ms`; no attempt is used."""

    limit_ms: int


Verdict = Completed | Failed | Retried | Delayed | WaitsForChildren | RateLimited


_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def completed(value: Any) -> Completed:
    """Return the verdict of a result; raises ValueError, TypeError or RecursionError where it is not JSON."""
    return _NO_RESULT if value is None else Completed(_dumps(value))


_NO_RESULT = Completed("null")


def postponed(error: BaseException, *, now_ms: int) -> Delayed | WaitsForChildren | RateLimited | None:
    """Return the verdict of an error by which a processor asks to be run again later; None for all others."""
    try:
        match error:
            case DelayedError(until_ms=None):
                return Delayed(now_ms + milliseconds(error.delay_ms or 0, "delay_ms"))
            case DelayedError():
                return Delayed(milliseconds(error.until_ms or 0, "until_ms"))
            case WaitingChildrenError():
                return WaitsForChildren()
            case RateLimitError():
                return RateLimited(max(1, milliseconds(error.limit_ms, "limit_ms")))
    except (AttributeError, ValueError):
        # A class of its own that does not call the __init__ of ours: an error like any other.
        pass
    return None


def failed(
    active: ActiveJob,
    error: BaseException,
    *,
    options: EngineOptions,
    uniform: Callable[[], float] = random.random,
) -> Failed | Retried:
    """Return the verdict of an error; `uniform` gives the jitter, from 0 to 1."""
    reason = reason_of(error)
    stacktrace = _stacktrace(active, error, limit=options.stack_trace_limit)
    job = active.job
    attempt = job.attempts_made + 1
    if isinstance(error, UnrecoverableError) or job.discarded or attempt >= job.attempts:
        return Failed(reason=reason, stacktrace=stacktrace)
    backoff, warning = job.opts.get("backoff"), None
    strategy = options.backoff_strategies.get(str(backoff.get("type"))) if isinstance(backoff, dict) else None
    if strategy is None:
        delay, warning = backoff_ms(backoff, attempt=attempt, uniform=uniform)
    else:
        delay, warning = _by_strategy(strategy, active, error, uniform=uniform)
    if delay < 0:
        return Failed(reason=reason, stacktrace=stacktrace)
    return Retried(reason=reason, stacktrace=stacktrace, delay_ms=delay, warning=warning)


def reason_of(error: BaseException) -> str:
    """Return the line that becomes `failedReason`: the message, with the error's name where that says too little."""
    message = message_of(error)
    if isinstance(error, BaseExceptionGroup):
        # What a group says of itself is only how many errors it holds.
        first = error.exceptions[0]
        message = f"{message}: {type(first).__name__}: {message_of(first)}"
    if message and (isinstance(error, KeyError) or not isinstance(error, Exception)):
        message = f"{type(error).__name__}: {message}"
    return _cut(storable(message), _LONGEST_REASON) or type(error).__name__


def backoff_ms(backoff: Any, *, attempt: int, uniform: Callable[[], float] = random.random) -> tuple[int, str | None]:
    """Return the delay before the next attempt (attempt 1 has just failed) and a warning where the option is wrong.

    As BullMQ counts: `fixed` is always the delay, `exponential` doubles it from the second retry on; `jitter` (0 to 1)
    draws the delay from that part of it. An unknown type is taken for exponential.
    """
    if not backoff:
        return 0, None
    warning = None
    if isinstance(backoff, int | float):
        backoff = {"type": "fixed", "delay": backoff}
    if not isinstance(backoff, dict):
        backoff, warning = {"type": "exponential"}, f"backoff {backoff!r} is not an option of BullMQ"
    kind, delay = backoff.get("type"), backoff.get("delay")
    if kind not in {"fixed", "exponential"}:
        warning = warning or f"unknown backoff type {kind!r}: exponential is used"
    if not _is_number(delay) or delay < 0:
        delay = FALLBACK_BACKOFF_MS
    if kind != "fixed":
        delay *= 2 ** min(attempt - 1, 40)
    delay = min(delay, LONGEST_BACKOFF_MS)
    jitter = backoff.get("jitter")
    if _is_number(jitter) and 0 < jitter <= 1:
        delay = delay * (1 - jitter) + delay * jitter * uniform()
    return round(delay), warning


def _by_strategy(
    strategy: BackoffStrategy, active: ActiveJob, error: BaseException, *, uniform: Callable[[], float]
) -> tuple[int, str | None]:
    attempt = active.job.attempts_made + 1
    try:
        return min(int(strategy(attempt, error, active.job)), LONGEST_BACKOFF_MS), None
    except BaseException as wrong:  # noqa: BLE001 - a strategy is foreign code
        delay, _ = backoff_ms({"type": "exponential"}, attempt=attempt, uniform=uniform)
        return delay, f"its backoff strategy raised {type(wrong).__name__}: {wrong}; exponential is used"


def keep_of(option: Any, default: Keep) -> dict[str, int]:
    """Return how many finished jobs to keep: `removeOnComplete` or `removeOnFail` as the scripts want it."""
    if option is True:
        return {"count": 0}
    if option is False:
        return {"count": -1}
    if _is_number(option):
        return {"count": int(option)}
    if isinstance(option, dict):
        kept = {key: int(option[key]) for key in ("age", "count", "limit") if _is_number(option.get(key))}
        if kept:
            return kept
    return {"count": default.count, "age": default.age}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 2**63


def _stacktrace(active: ActiveJob, error: BaseException, *, limit: int) -> str:
    wanted = active.job.opts.get("stackTraceLimit")
    limit = min(limit, wanted) if isinstance(wanted, int) and wanted >= 0 else limit
    trace = _cut(trace_of(error), _LONGEST_TRACE)
    return json.dumps([*traces_of(active.stacktrace), trace][-limit:] if limit else [])


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
