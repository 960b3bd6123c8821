"""Our decision on a trace, beside KEDA with its HPA and beside the optimum that knows the future."""

from dataclasses import dataclass

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.simulation import keda
from queueworker_operator.simulation.figures import Outcome, figures_of
from queueworker_operator.simulation.keda import Keda, KedaSettings
from queueworker_operator.simulation.operator import Operator
from queueworker_operator.simulation.optimum import Optimum, optimum
from queueworker_operator.simulation.plant import Plant
from queueworker_operator.simulation.trace import Trace
from queueworker_operator.simulation.tuning import best_keda
from queueworker_operator.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All scalers on one trace."""

    ours: Outcome
    keda: Outcome
    """With KEDA's defaults, on the length of `wait`."""
    keda_with_active: Outcome
    """The same, with a formula that counts active jobs too."""
    keda_tuned: Outcome | None
    """The best of a grid; None where it was not asked for, or none is as cheap as ours."""
    optimum: Optimum

    @property
    def times_optimum(self) -> float:
        """Our pod-seconds over those of the optimum at our p95 wait."""
        return self.ours.figures.pod_seconds / self.optimum.pod_seconds if self.optimum.pod_seconds else 1.0


def compare(trace: Trace, spec: QueueWorkerSpec, plant: Plant, *, tune: bool) -> Comparison:
    """Run a trace under every scaler. `tune` searches KEDA's best settings too, some 200 runs more.

    The spec needs `autoscaling`; raises ValueError without it.
    """
    autoscaling = spec.autoscaling
    if autoscaling is None:
        raise ValueError("spec.autoscaling: there is none, a fixed number needs no simulation")
    max_wait = float(autoscaling.target.max_wait_seconds)
    window = float(autoscaling.behavior.scale_down.stabilization_window_seconds)

    def ran(world: World, settings: KedaSettings | None = None) -> Outcome:
        figures = figures_of(world.run(), max_wait=max_wait, window=window)
        return Outcome(figures=figures, world=world, settings=settings)

    def rival(settings: KedaSettings) -> Outcome:
        return ran(World(trace, plant, Keda(settings)), settings)

    ours = ran(World(trace, plant, Operator(spec, epoch=trace.started)))
    most, pod_seconds = autoscaling.max_replicas, ours.figures.pod_seconds
    plain = keda.defaults(min_replicas=autoscaling.min_replicas, max_replicas=most)
    by_length = rival(plain)
    by_demand = rival(keda.with_formula(plain, slots=min(queue.slots for queue in plant.queues)))
    tuned = None
    if tune:
        tuned = best_keda(trace, plant, max_replicas=most, pod_seconds=pod_seconds, max_wait=max_wait, window=window)
    beside = [one.world for one in (ours, by_length, by_demand, tuned) if one is not None]
    return Comparison(
        ours=ours,
        keda=by_length,
        keda_with_active=by_demand,
        keda_tuned=tuned,
        optimum=optimum(trace, plant, p95=ours.figures.waits.p95, beside=beside),
    )
