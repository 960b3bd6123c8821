"""What the server says of itself, judged. Pure: values are what INFO, ROLE and TIME brought."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from queueworker.doctor.findings import Finding, error, ok, unknown, warning
from queueworker.settings import ConnectionSettings, TlsSettings

_LEAST_VERSION = (6, 2)
_SKEW_WARNING_MS = 1000
_SKEW_ERROR_MS = 30_000
_MEMORY_WARNING = 0.8
_MEMORY_ERROR = 0.95


def version(info: Mapping[str, Any]) -> Finding:
    """Judge the version: BullMQ's scripts need commands of 6.2."""
    told = str(info.get("redis_version", ""))
    name = "Valkey" if "valkey_version" in info else "Redis"
    shown = str(info.get("valkey_version", told))
    try:
        major, minor = (int(part) for part in told.split(".")[:2])
    except ValueError:
        return unknown("version", f"the server says {told!r} of its version", "find out whether it is 6.2 or newer")
    if (major, minor) < _LEAST_VERSION:
        return error("version", f"{name} {shown} is too old", "upgrade to Redis 6.2 or Valkey 8 at least")
    return ok("version", f"{name} {shown}")


def eviction(info: Mapping[str, Any]) -> Finding:
    """Judge what happens when memory is full: an evicted key is a lost job."""
    policy = info.get("maxmemory_policy")
    if policy is None:
        return unknown("eviction", "INFO does not tell maxmemory-policy", "see that it is noeviction")
    if policy == "noeviction":
        return ok("eviction", "maxmemory-policy is noeviction")
    remedy = "set maxmemory-policy to noeviction"
    if int(info.get("maxmemory", 0)):
        return error("eviction", f"maxmemory-policy is {policy}: a full server throws jobs away", remedy)
    return warning("eviction", f"maxmemory-policy is {policy}; no limit is set, so nothing is evicted yet", remedy)


def memory(info: Mapping[str, Any]) -> Finding:
    """Judge the room that is left: on a full server workers can neither take nor finish jobs."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    of = "maxmemory" if limit else "the host's memory"
    limit = limit or int(info.get("total_system_memory", 0))
    if not used or not limit:
        return unknown("memory", "INFO does not tell how much memory there is", "watch the memory of the server")
    share, shown = used / limit, f"{used / 2**20:.0f} of {limit / 2**20:.0f} MiB of {of} are used"
    remedy = "raise maxmemory, or remove finished jobs: queueworker clear QUEUE --completed"
    if share >= _MEMORY_ERROR:
        return error("memory", shown, remedy)
    return warning("memory", shown, remedy) if share >= _MEMORY_WARNING else ok("memory", shown)


def persistence(info: Mapping[str, Any]) -> Finding:
    """Judge what a crash of the server costs."""
    if "aof_enabled" not in info:
        return unknown("persistence", "INFO does not tell whether AOF is on", "see that appendonly is yes")
    if not int(info["aof_enabled"]):
        message = "AOF is off: a crash loses every job added or finished since the last snapshot"
        return warning("persistence", message, "set appendonly to yes")
    if str(info.get("aof_last_write_status", "ok")) != "ok":
        return error("persistence", "the last write of the AOF failed", "look at the server's log and its disk")
    return ok("persistence", "AOF is on")


def role(reply: Sequence[Any]) -> Finding:
    """Judge the role: only a master takes writes."""
    told = str(reply[0])
    if told == "master":
        return ok("role", "master")
    return error("role", f"the server's role is {told}", "connect to the master, or through Sentinel")


def clock(server_ms: float, local_ms: float) -> Finding:
    """Judge the difference between the clocks: producers and workers reckon delays by their own."""
    skew = server_ms - local_ms
    shown = f"the server's clock is {abs(skew) / 1000:.1f} s {'ahead of' if skew > 0 else 'behind'} this host's"
    remedy = "synchronize the clocks (NTP) of this host and of the server"
    if abs(skew) >= _SKEW_ERROR_MS:
        return error("clock", shown, remedy)
    if abs(skew) >= _SKEW_WARNING_MS:
        return warning("clock", shown, remedy)
    return ok("clock", f"the clocks differ by {abs(skew):.0f} ms")


def tls(settings: ConnectionSettings) -> Finding:
    """Judge how the connection is protected."""
    return _unprotected(settings) if settings.tls is None else _protected(settings.tls)


def _protected(settings: TlsSettings) -> Finding:
    if settings.insecure_skip_verify:
        message = "TLS is on, but the server is not verified: anybody in between can read and change jobs"
        return warning("tls", message, "set the CA in QUEUEWORKER_REDIS_TLS_CA_FILE, and leave out TLS_INSECURE")
    return ok("tls", "TLS is on and the server is verified")


def _unprotected(settings: ConnectionSettings) -> Finding:
    if settings.host is not None and _is_loopback(settings.host):
        return ok("tls", "not used, the connection does not leave this host")
    message = "TLS is off: job data and the password travel in clear text"
    return warning("tls", message, "switch TLS on, or see that the network is trusted")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
