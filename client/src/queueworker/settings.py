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
        host, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "")
        if not host:
            host, port = text, ""
        return cls(host=host.strip("[]"), port=int(port) if port else default_port)

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
        prefix = REDIS_PREFIX if any(name.startswith(REDIS_PREFIX) for name in environment) else FALLBACK_PREFIX
        values = {k.removeprefix(prefix): v for k, v in environment.items() if k.startswith(prefix) and v != ""}
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
            "nodes": _nodes_of(values.get("SENTINEL_NODES", ""), default_port=26379),
            "username": values.get("SENTINEL_USERNAME"),
            "password": values.get("SENTINEL_PASSWORD"),
        }
    elif "CLUSTER_NODES" in values:
        fields["cluster"] = {"nodes": _nodes_of(values["CLUSTER_NODES"], default_port=6379)}
    else:
        fields |= {"host": values.get("HOST", "localhost"), "port": values.get("PORT", 6379)}
    return fields


def _tls_of(values: Mapping[str, str]) -> dict[str, object] | None:
    if values.get("TLS", "false").lower() not in {"true", "1"}:
        return None
    return {
        "ca_file": values.get("TLS_CA_FILE"),
        "certificate_file": values.get("TLS_CERT_FILE"),
        "key_file": values.get("TLS_KEY_FILE"),
        "server_name": values.get("TLS_SERVER_NAME"),
        "insecure_skip_verify": values.get("TLS_INSECURE", "false").lower() in {"true", "1"},
    }


def _nodes_of(text: str, *, default_port: int) -> tuple[Node, ...]:
    return tuple(Node.parse(part.strip(), default_port=default_port) for part in text.split(",") if part.strip())
