"""What the operator tells Prometheus."""

from queueworker_operator.metrics.metrics import Metrics

__all__ = ["Metrics"]
