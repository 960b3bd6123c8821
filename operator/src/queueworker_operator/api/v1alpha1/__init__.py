"""`queueworker.dev/v1alpha1`: the models are the single source of the CRD."""

from queueworker_operator.api.v1alpha1.autoscaling import (
    MOST_REPLICAS,
    Autoscaling,
    Policy,
    ScaleDown,
    ScaleUp,
    Schedule,
)
from queueworker_operator.api.v1alpha1.parsing import parse_spec
from queueworker_operator.api.v1alpha1.redis import Redis, RedisAuth, RedisTls
from queueworker_operator.api.v1alpha1.spec import Queue, QueueWorkerSpec, TargetRef
from queueworker_operator.api.v1alpha1.status import (
    Change,
    Condition,
    Inputs,
    Limit,
    Memory,
    QueueInputs,
    QueueWorkerStatus,
    Recommendation,
    ScaleEvent,
    Scaling,
    ServiceTime,
    Start,
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
    "MOST_REPLICAS",
    "PLURAL",
    "VERSION",
    "Autoscaling",
    "Change",
    "Condition",
    "EnvVar",
    "Inputs",
    "Limit",
    "Memory",
    "Policy",
    "Queue",
    "QueueInputs",
    "QueueWorkerSpec",
    "QueueWorkerStatus",
    "Recommendation",
    "Redis",
    "RedisAuth",
    "RedisTls",
    "ScaleDown",
    "ScaleEvent",
    "ScaleUp",
    "Scaling",
    "Schedule",
    "ServiceTime",
    "Start",
    "TargetRef",
    "Vote",
    "Worker",
    "parse_spec",
]
