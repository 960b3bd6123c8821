"""The way to the API server: a kubeconfig, a service account, a proxy of the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError

_DEFAULT = "~/.kube/config"
_REMEDY = "name a kubeconfig, or run in a pod with a service account"


@dataclass(frozen=True, slots=True)
class Way:
    """How the API server is reached."""

    configuration: Configuration
    login: str
    """What to check where it does not accept the credentials."""


async def load(*, kubeconfig: str | None, context: str | None) -> Way:
    """Return the way by a kubeconfig, else of the pod's own service account, else of the default kubeconfig.

    Raises ClusterError where there is none or it cannot be read.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and context is None:
            login = await _load_default(configuration)
        else:
            login = await _load(configuration, kubeconfig=kubeconfig, context=context)
    except ConfigException as error:
        raise _no_way(f"{error}; {_REMEDY}") from error
    except OSError as error:
        raise _no_way(f"{error.filename or _path(kubeconfig)}: {error.strerror}; {_REMEDY}") from error
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        # The library looks at nothing before it takes it apart; what it says may hold a token.
        raise _no_way(f"{_path(kubeconfig)} is no kubeconfig; name another") from None
    return Way(configuration, login)


def environment_proxy(host: str) -> str | None:
    """Return the proxy that the environment names for the API server, as most programs understand it."""
    server = urlsplit(host)
    proxy = getproxies().get(server.scheme)
    return None if proxy is None or (server.hostname and proxy_bypass(server.hostname)) else proxy


async def _load_default(configuration: Configuration) -> str:
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        return await _load(configuration, kubeconfig=None, context=None)
    return "the pod's service account"


async def _load(configuration: Configuration, *, kubeconfig: str | None, context: str | None) -> str:
    path = _path(kubeconfig)
    if not _is_there(path):
        # The library takes it for an empty one, and misses a key in it.
        raise _no_way(f"there is no file {path}; {_REMEDY}")
    loader = await load_kube_config(  # type: ignore[no-untyped-call]
        path, context, client_configuration=configuration, persist_config=False
    )
    user = (loader.current_context.get("context") or {}).get("user")
    return f"the token or certificate of the user {user} in {path}"


def _path(kubeconfig: str | None) -> str:
    # The library looks at KUBECONFIG when it is imported, and never again.
    return kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT


def _is_there(paths: str) -> bool:
    return any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path)


def _no_way(why: str) -> ClusterError:
    return ClusterError(f"no way to the cluster: {why}", reason=ConditionReason.CLUSTER_DENIED)
