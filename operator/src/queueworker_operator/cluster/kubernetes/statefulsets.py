"""How far the rollout of a StatefulSet is: pure."""

from queueworker_operator.cluster.port import JsonObject


def is_set_rolled_out(found: JsonObject) -> bool | None:
    """Whether the present template has been rolled out as far as the StatefulSet asks for it.

    None while its controller has not looked yet. With OnDelete it replaces no pod by itself, and with a partition only
    those from that ordinal on (`kubectl rollout status` judges likewise, kubectl pkg/polymorphichelpers).
    """
    spec, status = found["spec"], found.get("status") or {}
    if found["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return None
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete" or status.get("currentRevision") == status.get("updateRevision"):
        return True
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    return bool(status.get("updatedReplicas", 0) >= min(spec.get("replicas", 1), status.get("replicas", 0)) - partition)
