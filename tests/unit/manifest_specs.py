"""QueueWorker specs that the tests of the manifests share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.manifests import Owner

OWNER = Owner(namespace="killboard", name="killmail", uid="6f1c1d2e-0000-4000-8000-000000000001")


@dataclass(frozen=True)
class StoredSecret:
    name: str
    data: dict[str, bytes]
    uid: str = "0d9f8e7c-0000-4000-8000-000000000002"


def spec_of(**changes: Any) -> QueueWorkerSpec:
    """Return the smallest spec with parts replaced; `worker` is laid over the worker."""
    document: dict[str, Any] = {
        "queues": [{"name": "killmail"}],
        "redis": {"host": "redis.killboard.svc"},
        "replicas": 1,
        **changes,
    }
    document["worker"] = {"image": "example/worker:1", **changes.get("worker", {})}
    return QueueWorkerSpec.model_validate(document)


SECRETS = {
    secret.name: secret
    for secret in (
        StoredSecret("redis", {"password": b"hunter2", "operator": b"hunter3", "unused": b"hunter4"}),
        StoredSecret("sentinel", {"password": b"hunter5"}, uid="0d9f8e7c-0000-4000-8000-000000000003"),
        StoredSecret("redis-ca", {"ca.pem": b"-----BEGIN CA"}, uid="0d9f8e7c-0000-4000-8000-000000000004"),
        StoredSecret(
            "redis-client",
            {"tls.crt": b"-----BEGIN CRT", "tls.key": b"-----BEGIN KEY"},
            uid="0d9f8e7c-0000-4000-8000-000000000005",
        ),
    )
}
PASSWORD = {"passwordSecretRef": {"name": "redis", "key": "password"}}
TLS = {
    "caSecretRef": {"name": "redis-ca", "key": "ca.pem"},
    "clientCertificateSecretRef": {"name": "redis-client"},
    "serverName": "redis.example.com",
}

SPECS: dict[str, QueueWorkerSpec] = {
    "minimal": spec_of(),
    "health-and-password": spec_of(
        queues=[{"name": "killmail", "concurrency": 10}, {"name": "price"}],
        redis={"host": "redis", "port": 6380, "db": 2, "auth": {"username": "worker", **PASSWORD}},
        worker={"healthPort": 8080, "drainTimeoutSeconds": 600, "redisEnvPrefix": "REDIS_"},
    ),
    "sentinel-tls": spec_of(
        redis={
            "sentinel": {
                "masterName": "mymaster",
                "nodes": [{"host": "s1"}, {"host": "s2", "port": 26380}],
                "auth": {"passwordSecretRef": {"name": "sentinel", "key": "password"}},
            },
            "auth": PASSWORD,
            "operatorAuth": {"username": "operator", "passwordSecretRef": {"name": "redis", "key": "operator"}},
            "tls": TLS,
        },
    ),
    "cluster": spec_of(
        prefix="{bull}",
        redis={
            "cluster": {"nodes": [{"host": "c1"}, {"host": "2001:db8::1", "port": 7000}]},
            "tls": {"insecureSkipVerify": True},
        },
    ),
    "every-worker-field": spec_of(
        worker={
            "command": ["node", "worker.js"],
            "args": ["--verbose"],
            "env": [
                {"name": "REDIS_URL", "value": "redis://$(QUEUEWORKER_REDIS_HOST)"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "app", "key": "token", "optional": True}}},
            ],
            "envFrom": [{"prefix": "APP_", "configMapRef": {"name": "app"}}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi", "cpu": 1}},
            "serviceAccountName": "killmail",
            "imagePullPolicy": "IfNotPresent",
            "imagePullSecrets": [{"name": "registry"}],
        },
    ),
    "pod-template": spec_of(
        worker={
            "healthPort": 8080,
            "podTemplate": {
                "metadata": {"labels": {"team": "killboard"}, "annotations": {"prometheus.io/scrape": "true"}},
                "spec": {
                    "nodeSelector": {"disk": "fast"},
                    "terminationGracePeriodSeconds": 1,
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "data", "emptyDir": {}}],
                    "containers": [
                        {
                            "name": "worker",
                            "env": [
                                {"name": "QUEUEWORKER_PREFIX", "value": "other"},
                                {"name": "MODE", "value": "fast"},
                            ],
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                            "securityContext": {"runAsUser": 1000, "readOnlyRootFilesystem": None},
                        },
                        {"name": "proxy", "image": "example/proxy:1"},
                    ],
                },
            },
        },
    ),
}
