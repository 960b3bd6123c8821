"""What `simulate` is asked for: the spec out of a file, and the load, recorded or made up."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

from queueworker.cli.values import grouped
from queueworker.errors import SettingsError
from queueworker_operator.api.v1alpha1 import Autoscaling, QueueWorkerSpec
from queueworker_operator.documents import read_queueworker
from queueworker_operator.simulation import patterns, tracefile
from queueworker_operator.simulation.randomness import Uniform
from queueworker_operator.simulation.trace import DEFAULT_SERVICE_SECONDS, Trace, with_service_times
from queueworker_operator.simulation.world import PATIENCE_SECONDS

_LEAST_PATTERN_SECONDS = 60.0
_SHOWN = 3
_SHOWN_CHARACTERS = 128
"""How many names a message lists, and how much of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The load as the command line names it; seconds."""

    trace: Path | None
    pattern: str | None
    rate: float | None
    """Jobs per second and queue at the peak of a pattern."""
    service: float | None
    duration: float | None
    seed: int


def uniform(seed: int) -> Uniform:
    """Return the source of all that is drawn."""
    return random.Random(seed).random  # noqa: S311 - load, no secret


def read_spec(file: Path, name: str | None) -> tuple[QueueWorkerSpec, Autoscaling]:
    """Return the spec that is meant, and its autoscaling; raises SettingsError with what to do."""
    resource = read_queueworker(file, name)
    spec = resource.spec
    if spec is None:
        raise SettingsError(f"{file}: {resource.spec_error}")
    if spec.autoscaling is None:
        raise SettingsError(f"{file}: spec.replicas fixes the number, so there is nothing to simulate: set autoscaling")
    return spec, spec.autoscaling


def load_of(wish: Wish, spec: QueueWorkerSpec, autoscaling: Autoscaling) -> Trace:
    """Return the jobs, each with the time it takes; raises SettingsError with what to do."""
    expected = autoscaling.target.expected_job_milliseconds
    mean = wish.service if wish.service is not None or expected is None else expected / 1000
    if wish.trace is not None and wish.pattern is not None:
        raise SettingsError("--trace and --pattern exclude each other: what was recorded, or a made-up load")
    if wish.trace is not None:
        if wish.rate is not None:
            raise SettingsError("--rate belongs to --pattern: a trace has its own")
        load = _recorded(spec, wish.trace, duration=wish.duration)
    elif wish.pattern is not None:
        mean = DEFAULT_SERVICE_SECONDS if mean is None else mean
        load = _made_up(spec, patterns.Pattern(wish.pattern), wish, service=mean)
    else:
        raise SettingsError("one of --trace and --pattern is needed: what was recorded, or a made-up load")
    load = load.without_late(PATIENCE_SECONDS)
    if not load.jobs:
        raise SettingsError("the load has no jobs: record or simulate for longer")
    return with_service_times(load, uniform(wish.seed), mean=mean)


def _recorded(spec: QueueWorkerSpec, file: Path, *, duration: float | None) -> Trace:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            load = tracefile.load(tracefile.lines_of(opened), within=math.inf if duration is None else duration)
    except tracefile.TraceError as error:
        raise SettingsError(f"{file}, {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is no trace: it is not UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    strange = sorted(set(load.queues) - {queue.name for queue in spec.queues})
    if strange:
        shown = ", ".join(name[:_SHOWN_CHARACTERS] for name in strange[:_SHOWN])
        more = f" and {len(strange) - _SHOWN} more queues" if len(strange) > _SHOWN else ""
        raise SettingsError(f"{file} has jobs of {shown}{more}, which spec.queues does not name")
    return load if duration is None else load.cut(duration)


def _made_up(spec: QueueWorkerSpec, pattern: patterns.Pattern, wish: Wish, *, service: float) -> Trace:
    seconds = wish.duration if wish.duration is not None else patterns.DEFAULT_SECONDS[pattern]
    if seconds < _LEAST_PATTERN_SECONDS:
        raise SettingsError(f"--duration: a pattern takes at least {_LEAST_PATTERN_SECONDS:.0f}s")
    peak = wish.rate if wish.rate is not None else patterns.fitting_rate(spec, service)
    if seconds > tracefile.MOST_DAYS * 86_400:
        raise SettingsError(f"--duration: a pattern takes at most {tracefile.MOST_DAYS}d")
    if peak * seconds * len(spec.queues) > tracefile.MOST_JOBS:
        raise SettingsError(f"that makes more than {grouped(tracefile.MOST_JOBS)} jobs: lower --rate or --duration")
    queues = tuple(queue.name for queue in spec.queues)
    shape = patterns.Shape(queues=queues, service=service, seconds=seconds, jobs_per_second=peak / 5)
    return patterns.make(pattern, shape, uniform(wish.seed))
