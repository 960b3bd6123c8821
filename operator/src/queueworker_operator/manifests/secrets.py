"""Which Secrets a QueueWorker's connection rests on, and a digest that changes with them but tells nothing of them."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Protocol

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import Redis, RedisAuth
from queueworker_operator.manifests.errors import ManifestError
from queueworker_operator.manifests.names import CERTIFICATE_FILE, KEY_FILE


class SecretValues(Protocol):
    """A Secret that was read."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def uid(self) -> str:
        """Its metadata.uid."""
        ...

    @property
    def data(self) -> Mapping[str, bytes]:
        """Its decoded values."""
        ...


def worker_secrets(redis: Redis) -> dict[str, frozenset[str]]:
    """Return the Secrets of the workers' connection, by name, each with the keys that are used."""
    return _grouped([*_password(redis.auth), *_shared(redis)])


def operator_secrets(redis: Redis) -> dict[str, frozenset[str]]:
    """Return the Secrets of the operator's own connection, by name, each with the keys that are used."""
    return _grouped([*_password(redis.operator_auth or redis.auth), *_shared(redis)])


def secret_value(secrets: Mapping[str, SecretValues], *, name: str, key: str) -> bytes:
    """Return one value; raises ManifestError with SecretNotFound where the Secret or its key is not there."""
    secret = secrets.get(name)
    if secret is None:
        raise ManifestError(f"the Secret {name} was not read", reason=ConditionReason.SECRET_NOT_FOUND)
    if key not in secret.data:
        raise ManifestError(
            f"the Secret {name} has no key {key}: add it, or name another key in spec.redis",
            reason=ConditionReason.SECRET_NOT_FOUND,
        )
    return secret.data[key]


def connection_digest(redis: Redis, secrets: Mapping[str, SecretValues]) -> str | None:
    """Return the HMAC-SHA256 of the values that the workers connect with, or None where there are none.

    It stands on the pods, which more people may read than may read Secrets; a plain hash would let them try
    passwords against it. The key is therefore one that they do not have: the Secret's metadata.uid, random and shown
    only to those who may read the Secret (unless something else refers to the Secret by uid: an owner reference, an
    event). It is also there again after a restart, so nothing of our own has to be kept.
    A Secret that was deleted and made anew has another uid and rolls the pods, whatever it holds.
    Only the keys in use count. Raises ManifestError where one of them is missing.
    """
    used = worker_secrets(redis)
    if not used:
        return None
    total = hashlib.sha256()
    for name in sorted(used):
        total.update(_digest(secrets, name=name, keys=used[name]))
    return total.hexdigest()


def _digest(secrets: Mapping[str, SecretValues], *, name: str, keys: frozenset[str]) -> bytes:
    values = {key: secret_value(secrets, name=name, key=key) for key in sorted(keys)}
    mac = hmac.new(secrets[name].uid.encode(), digestmod=hashlib.sha256)
    for part in (name.encode(), *(part for key, value in values.items() for part in (key.encode(), value))):
        # The length keeps apart what would read the same when put together.
        mac.update(len(part).to_bytes(8, "big") + part)
    return mac.digest()


def _shared(redis: Redis) -> list[tuple[str, str]]:
    found = _password(redis.sentinel.auth) if redis.sentinel is not None else []
    if redis.tls is not None and redis.tls.ca_secret_ref is not None:
        found.append((redis.tls.ca_secret_ref.name, redis.tls.ca_secret_ref.key))
    if redis.tls is not None and redis.tls.client_certificate_secret_ref is not None:
        name = redis.tls.client_certificate_secret_ref.name
        found += [(name, CERTIFICATE_FILE), (name, KEY_FILE)]
    return found


def _password(auth: RedisAuth | None) -> list[tuple[str, str]]:
    if auth is None or auth.password_secret_ref is None:
        return []
    return [(auth.password_secret_ref.name, auth.password_secret_ref.key)]


def _grouped(used: list[tuple[str, str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(key for other, key in used if other == name) for name, _ in sorted(used)}
