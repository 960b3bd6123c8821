"""`autoscaling.behavior`: how fast the number moves, as in a HorizontalPodAutoscaler (KEP-853).

A policy counts from the number at the start of its period: what was added and taken away meanwhile is taken back
first. Of several policies the one that allows most counts, or least with selectPolicy Min.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from queueworker_operator.api.v1alpha1.autoscaling import Autoscaling, Policy, ScaleDown, ScaleUp
from queueworker_operator.scaling.decision import ScaleEvent
from queueworker_operator.scaling.demand import ceil
from queueworker_operator.scaling.votes import Ballot

MAX_EVENTS = 64
"""As many as the status holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """How far the policies let the number go."""

    replicas: int
    until: float | None = None
    """Unix seconds when they allow more."""


def highest(scale_up: ScaleUp, events: Sequence[ScaleEvent], *, current: int, now: float) -> Allowed | None:
    """Return the highest number that is allowed now; None where nothing limits it."""
    if scale_up.select_policy == "Disabled":
        return Allowed(replicas=current)
    if not scale_up.policies:
        return None
    chosen = max if scale_up.select_policy == "Max" else min
    most = chosen(_up_to(policy, _at_start(policy, events, current=current, now=now)) for policy in scale_up.policies)
    return Allowed(replicas=max(current, most), until=_first_end(scale_up.policies, events, now))


def lowest(scale_down: ScaleDown, events: Sequence[ScaleEvent], *, current: int, now: float) -> Allowed | None:
    """Return the lowest number that is allowed now; None where nothing limits it."""
    if scale_down.select_policy == "Disabled":
        return Allowed(replicas=current)
    if not scale_down.policies:
        return None
    chosen = min if scale_down.select_policy == "Max" else max
    least = chosen(
        _down_to(policy, _at_start(policy, events, current=current, now=now)) for policy in scale_down.policies
    )
    return Allowed(replicas=min(current, max(0, least)), until=_first_end(scale_down.policies, events, now))


def tolerated(ballots: Sequence[Ballot], *, number: int, current: int, autoscaling: Autoscaling) -> int:
    """Return what the tolerance makes of a number that the highest of the ballots asks for.

    Fewer pods must leave the tolerance unneeded, or what comes a little faster next would take the step back at once:
    pods are whole, so that by itself the number would change both ways at the same demand. An HPA holds the number
    where demand lies within the tolerance of it; this does too, and stops a fall short of it.
    """
    behavior = autoscaling.behavior
    if number > current:
        return current if is_tolerable(number, current, autoscaling) else number
    percent = behavior.scale_down.tolerance_percent
    if number == current or percent == 0:
        return number
    wanted = [ballot.with_headroom(percent) for ballot in ballots]
    return max(number, min(current, max(current if one is None else one for one in wanted)))


def is_tolerable(number: int, current: int, autoscaling: Autoscaling) -> bool:
    """Whether a number is so little above the current one that the change is not worth it."""
    return 100 * (number - current) < autoscaling.behavior.scale_up.tolerance_percent * current


def remembered(
    events: Sequence[ScaleEvent], autoscaling: Autoscaling, *, change: int, now: float
) -> tuple[ScaleEvent, ...]:
    """Return the changes that a policy may still count, with this one."""
    longest = _longest_period(autoscaling)
    kept = [event for event in events if event.at <= now < event.at + longest]
    if change and longest:
        kept.append(ScaleEvent(at=now, change=change))
    if len(kept) > MAX_EVENTS:
        # The two oldest become one, at the time of the later: so they count for longer, never for too short.
        first, second = kept[: -MAX_EVENTS + 1], kept[-MAX_EVENTS + 1 :]
        kept = [ScaleEvent(at=first[-1].at, change=sum(event.change for event in first)), *second]
    return tuple(kept)


def _longest_period(autoscaling: Autoscaling) -> int:
    behavior = autoscaling.behavior
    policies = [*(behavior.scale_up.policies or ()), *(behavior.scale_down.policies or ())]
    return max((policy.period_seconds for policy in policies), default=0)


def _at_start(policy: Policy, events: Sequence[ScaleEvent], *, current: int, now: float) -> int:
    return current - sum(event.change for event in events if event.at <= now < event.at + policy.period_seconds)


def _up_to(policy: Policy, start: int) -> int:
    if policy.type == "Pods":
        return start + policy.value
    # From zero a percentage leads nowhere, and the first worker is not to wait for ever.
    return ceil(max(1, start) * (1 + policy.value / 100))


def _down_to(policy: Policy, start: int) -> int:
    if policy.type == "Pods":
        return start - policy.value
    return int(start * (100 - policy.value) / 100)


def _first_end(policies: Sequence[Policy], events: Sequence[ScaleEvent], now: float) -> float | None:
    ends = (event.at + policy.period_seconds for policy in policies for event in events if event.at <= now)
    return min((end for end in ends if end > now), default=None)
