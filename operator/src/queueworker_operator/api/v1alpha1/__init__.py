"""`queueworker.dev/v1alpha1`: the models are the single source of the CRD."""

from queueworker_operator.api.v1alpha1.parsing import parse_spec
from queueworker_operator.api.v1alpha1.redis import Redis, RedisAuth, RedisTls
from queueworker_operator.api.v1alpha1.spec import Autoscaling, Queue, QueueWorkerSpec
from queueworker_operator.api.v1alpha1.status import (
    Change,
    Condition,
    Inputs,
    Limit,
    Memory,
    QueueWorkerStatus,
    Recommendation,
    Scaling,
    Vote,
)
from queueworker_operator.api.v1alpha1.worker import EnvVar, Worker

GROUP = "queueworker.dev"
VERSION = "v1alpha1"
KIND = "QueueWorker"
PLURAL = "queueworkers"

__all__ = [
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "Autoscaling",
    "Change",
    "Condition",
    "EnvVar",
    "Inputs",
    "Limit",
    "Memory",
    "Queue",
    "QueueWorkerSpec",
    "QueueWorkerStatus",
    "Recommendation",
    "Redis",
    "RedisAuth",
    "RedisTls",
    "Scaling",
    "Vote",
    "Worker",
    "parse_spec",
]
