"""How to reach a Redis: one typed model, and the environment variables that carry it into a worker.

The variable names are the contract between operator and worker (and are written only here).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from queueworker.errors import SettingsError

REDIS_PREFIX = "QUEUEWORKER_REDIS_"
FALLBACK_PREFIX = "REDIS_"
TLS_DIRECTORY = "/etc/queueworker/tls"
_NAMES = (
    *("HOST", "PORT", "DB", "USERNAME", "PASSWORD"),
    *("SENTINEL_MASTER", "SENTINEL_NODES", "SENTINEL_USERNAME", "SENTINEL_PASSWORD", "CLUSTER_NODES"),
    *("TLS", "TLS_CA_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_SERVER_NAME", "TLS_INSECURE"),
)

Port = Annotated[int, Field(ge=1, le=65535)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Node(_Model):
    """One address of a Sentinel or of a Cluster."""

    host: str = Field(min_length=1, max_length=253)
    port: Port = 6379

    @classmethod
    def parse(cls, text: str, *, default_port: int) -> Self:
        """Read `host:port`, `host` or `[ipv6]:port`; raises ValueError."""
        host, port = _host_and_port(text)
        if not host or port == "" or not (port or "0").isdecimal():
            raise ValueError(f"{text!r} is no address: write host, host:port or [ipv6]:port")
        return cls(host=host, port=int(port) if port is not None else default_port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class SentinelSettings(_Model):
    """A group of Sentinels and the master that they watch; the auth is the Sentinels' own."""

    master_name: str = Field(min_length=1)
    nodes: tuple[Node, ...] = Field(min_length=1)
    username: str | None = None
    password: SecretStr | None = None


class ClusterSettings(_Model):
    """Some nodes of a Redis Cluster; the others are discovered."""

    nodes: tuple[Node, ...] = Field(min_length=1)


class TlsSettings(_Model):
    """TLS to Redis. The server is verified unless `insecure_skip_verify` says not to."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False


class ConnectionSettings(_Model):
    """How to reach a Redis: exactly one of host, sentinel and cluster."""

    host: str | None = None
    port: Port = 6379
    db: int = Field(default=0, ge=0, le=65535)
    sentinel: SentinelSettings | None = None
    cluster: ClusterSettings | None = None
    username: str | None = None
    password: SecretStr | None = None
    tls: TlsSettings | None = None

    @model_validator(mode="after")
    def _exactly_one_topology(self) -> Self:
        named = [name for name in ("host", "sentinel", "cluster") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                f"exactly one of host, sentinel and cluster is needed, not {' and '.join(named) or 'none'}"
            )
        if self.cluster is not None and self.db:
            raise ValueError("a Cluster has one database only: db must be 0")
        return self

    @property
    def address(self) -> str:
        """What to call this Redis in a message; holds no secret."""
        if self.sentinel is not None:
            return f"{self.sentinel.master_name}@{','.join(map(str, self.sentinel.nodes))}"
        if self.cluster is not None:
            return ",".join(map(str, self.cluster.nodes))
        return f"{Node(host=self.host or '', port=self.port)}/{self.db}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the connection from `QUEUEWORKER_REDIS_*`, else from `REDIS_*`, else localhost.

        Raises SettingsError naming the variable.
        """
        prefix = prefix_in(environment)
        values = _values_of(environment, prefix)
        try:
            return cls.model_validate(_fields_of(values))
        except ValidationError as error:
            # pydantic's own text repeats the input, which may be a password.
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "connection"
            raise SettingsError(f"{prefix}* in the environment: {where}: {first['msg']}") from None
        except ValueError as error:
            raise SettingsError(f"{prefix}* in the environment: {error}") from None

    def to_environment(self, *, prefix: str = REDIS_PREFIX) -> dict[str, str]:
        """Return the variables that `from_environment` reads, secrets in clear: for a child process only."""
        values: dict[str, str | None] = {
            "DB": str(self.db),
            "USERNAME": self.username,
            "PASSWORD": self.password.get_secret_value() if self.password else None,
        }
        if self.sentinel is not None:
            values |= {
                "SENTINEL_MASTER": self.sentinel.master_name,
                "SENTINEL_NODES": ",".join(map(str, self.sentinel.nodes)),
                "SENTINEL_USERNAME": self.sentinel.username,
                "SENTINEL_PASSWORD": self.sentinel.password.get_secret_value() if self.sentinel.password else None,
            }
        elif self.cluster is not None:
            values |= {"CLUSTER_NODES": ",".join(map(str, self.cluster.nodes))}
        else:
            values |= {"HOST": self.host, "PORT": str(self.port)}
        if self.tls is not None:
            values |= {
                "TLS": "true",
                "TLS_CA_FILE": self.tls.ca_file,
                "TLS_CERT_FILE": self.tls.certificate_file,
                "TLS_KEY_FILE": self.tls.key_file,
                "TLS_SERVER_NAME": self.tls.server_name,
                "TLS_INSECURE": "true" if self.tls.insecure_skip_verify else None,
            }
        return {prefix + name: value for name, value in values.items() if value is not None}


def prefix_in(environment: Mapping[str, str]) -> str:
    """Return the prefix of the variables that `from_environment` reads: ours if one of ours is set, else `REDIS_`."""
    return REDIS_PREFIX if _values_of(environment, REDIS_PREFIX) else FALLBACK_PREFIX


def _values_of(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    # Kubernetes gives every pod REDIS_PORT=tcp://10.0.0.1:6379 and more beside a Service named redis.
    named = {name: environment.get(prefix + name, "") for name in _NAMES}
    return {name: value for name, value in named.items() if value and not value.startswith("tcp://")}


def _fields_of(values: Mapping[str, str]) -> dict[str, object]:
    fields: dict[str, object] = {
        "db": values.get("DB", 0),
        "username": values.get("USERNAME"),
        "password": values.get("PASSWORD"),
        "tls": _tls_of(values),
    }
    if "SENTINEL_MASTER" in values or "SENTINEL_NODES" in values:
        fields["sentinel"] = {
            "master_name": values.get("SENTINEL_MASTER", ""),
            "nodes": _nodes_of(values, "SENTINEL_NODES", default_port=26379),
            "username": values.get("SENTINEL_USERNAME"),
            "password": values.get("SENTINEL_PASSWORD"),
        }
    elif "CLUSTER_NODES" in values:
        fields["cluster"] = {"nodes": _nodes_of(values, "CLUSTER_NODES", default_port=6379)}
    else:
        fields |= {"host": values.get("HOST", "localhost"), "port": values.get("PORT", 6379)}
    return fields


def _tls_of(values: Mapping[str, str]) -> dict[str, object] | None:
    if not _flag(values, "TLS"):
        unused = [name for name in values if name.startswith("TLS_")]
        if unused and "TLS" not in values:
            # Whoever names a CA wants TLS: going on in clear text must be said, not guessed.
            raise ValueError(f"{unused[0]} is set, but TLS is not: set TLS to true or false")
        return None
    return {
        "ca_file": values.get("TLS_CA_FILE"),
        "certificate_file": values.get("TLS_CERT_FILE"),
        "key_file": values.get("TLS_KEY_FILE"),
        "server_name": values.get("TLS_SERVER_NAME"),
        "insecure_skip_verify": _flag(values, "TLS_INSECURE"),
    }


def _flag(values: Mapping[str, str], name: str) -> bool:
    text = values.get(name, "false").lower()
    if text not in {"true", "1", "false", "0"}:
        raise ValueError(f"{name} must be true or false")
    return text in {"true", "1"}


def _nodes_of(values: Mapping[str, str], name: str, *, default_port: int) -> tuple[Node, ...]:
    try:
        parts = values.get(name, "").split(",")
        return tuple(Node.parse(part.strip(), default_port=default_port) for part in parts if part.strip())
    except ValidationError as error:
        raise ValueError(f"{name}: {error.errors(include_input=False, include_url=False)[0]['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _host_and_port(text: str) -> tuple[str, str | None]:
    """Split an address; the port is None where none is named."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return "", None
        return host, rest[1:] if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None
