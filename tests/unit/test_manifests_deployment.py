"""The Deployment of a QueueWorker, whole: against golden files, the Kubernetes schema and the restricted level.

After a change on purpose set QUEUEWORKER_UPDATE_GOLDEN=1, run this module once, and read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifest_specs import OWNER, SECRETS, SPECS, TLS, spec_of

from queueworker.settings import ConnectionSettings
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.manifests import ManifestError, render_deployment, with_replicas

GOLDEN = Path(__file__).parent / "golden"


def pod_of(body: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = body["spec"]["template"]["spec"]
    return pod


def worker_of(body: dict[str, Any]) -> dict[str, Any]:
    return next(container for container in pod_of(body)["containers"] if container["name"] == "worker")


def values_of(body: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in worker_of(body)["env"] if "value" in variable}


@pytest.mark.parametrize("name", SPECS)
def test_deployment_is_as_the_golden_file_says(name: str) -> None:
    rendered = yaml.safe_dump(json.loads(json.dumps(render_deployment(OWNER, SPECS[name], SECRETS))), sort_keys=False)
    path = GOLDEN / f"deployment-{name}.yaml"
    if os.environ.get("QUEUEWORKER_UPDATE_GOLDEN"):
        path.write_text(rendered, encoding="utf-8")

    assert rendered == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("version", ["1.30", "1.35"])
def test_deployment_is_valid_in_every_version_from_the_oldest(name: str, version: str) -> None:
    body = json.loads(json.dumps(render_deployment(OWNER, SPECS[name], SECRETS)))

    kubernetes_validate.validate(body, version, strict=True)
    kubernetes_validate.validate(with_replicas(body, 3), version, strict=True)


@pytest.mark.parametrize("name", [name for name in SPECS if name != "pod-template"])
def test_pods_are_restricted_by_default(name: str) -> None:
    body = render_deployment(OWNER, SPECS[name], SECRETS)
    pod, container = pod_of(body), worker_of(body)

    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert {"name": "tmp", "emptyDir": {}} in pod["volumes"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


@pytest.mark.parametrize("name", SPECS)
def test_no_secret_value_is_in_the_deployment(name: str) -> None:
    rendered = json.dumps(render_deployment(OWNER, SPECS[name], SECRETS))

    for secret in SECRETS.values():
        assert secret.uid not in rendered
        for value in secret.data.values():
            assert value.decode() not in rendered


def test_replicas_are_only_in_what_is_created() -> None:
    body = render_deployment(OWNER, spec_of(), {})

    assert "replicas" not in body["spec"]
    assert with_replicas(body, 0)["spec"]["replicas"] == 0
    assert "replicas" not in body["spec"]


def test_the_worker_reads_back_the_connection_that_the_spec_names() -> None:
    redis = {"sentinel": {"masterName": "m", "nodes": [{"host": "s1"}]}, "db": 3, "tls": TLS}

    read = ConnectionSettings.from_environment(values_of(render_deployment(OWNER, spec_of(redis=redis), SECRETS)))

    assert read.sentinel is not None
    assert [str(node) for node in read.sentinel.nodes] == ["s1:26379"]
    assert read.db == 3
    assert read.tls is not None
    assert read.tls.ca_file == "/etc/queueworker/tls/ca.crt"
    assert read.tls.key_file == "/etc/queueworker/tls/tls.key"
    assert read.tls.server_name == "redis.example.com"
    assert not read.tls.insecure_skip_verify


def test_dollars_in_names_reach_the_worker_as_they_are() -> None:
    """Kubernetes would expand $(HOME) in a value."""
    values = values_of(render_deployment(OWNER, spec_of(queues=[{"name": "a$(HOME)$b"}], prefix="p$$"), {}))

    assert json.loads(values["QUEUEWORKER_QUEUES"].replace("$$", "$")) == [{"name": "a$(HOME)$b", "concurrency": 1}]
    assert values["QUEUEWORKER_PREFIX"] == "p$$$$"


def test_a_variable_of_the_user_replaces_the_copy_under_the_prefix() -> None:
    body = render_deployment(
        OWNER, spec_of(worker={"redisEnvPrefix": "REDIS_", "env": [{"name": "REDIS_HOST", "value": "proxy"}]}), {}
    )

    names = [variable["name"] for variable in worker_of(body)["env"]]
    assert values_of(body)["REDIS_HOST"] == "proxy"
    assert values_of(body)["QUEUEWORKER_REDIS_HOST"] == "redis.killboard.svc"
    assert len(names) == len(set(names))


def test_a_missing_key_names_secret_and_key() -> None:
    redis = {"host": "redis", "auth": {"passwordSecretRef": {"name": "redis", "key": "typo"}}}

    with pytest.raises(ManifestError, match="the Secret redis has no key typo") as refused:
        render_deployment(OWNER, spec_of(redis=redis), SECRETS)

    assert refused.value.reason is ConditionReason.SECRET_NOT_FOUND


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"spec": {"containers": None}}, "removes the container worker"),
        ({"spec": {"containers": [{"image": "x"}]}}, "removes the container worker"),
        ({"spec": {"containers": "x"}}, "spec.containers must be a list of maps"),
        ({"spec": {"containers": [{"name": "worker", "env": "x"}]}}, "env must be a list of maps"),
        ({"spec": {"volumes": {"a": "b"}}}, "spec.volumes must be a list of maps"),
        ({"spec": "x"}, "spec must be a map"),
        ({"metadata": {"labels": ["x"]}}, "metadata.labels must be a map"),
    ],
)
def test_a_template_that_is_none_is_refused(template: dict[str, Any], said: str) -> None:
    with pytest.raises(ManifestError, match="podTemplate") as refused:
        render_deployment(OWNER, spec_of(worker={"podTemplate": template}), {})

    assert said in str(refused.value)
    assert refused.value.reason is ConditionReason.SPEC_INVALID
