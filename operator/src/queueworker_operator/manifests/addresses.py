"""Which Redis hosts the operator refuses: those that mean the operator's own machine or the cloud's metadata.

Who may create a QueueWorker chooses the host that the operator connects to from its own network position. A literal is
checked here before anything is resolved; what a name resolves to is checked with `refused_address` at each connect.
"""

import ipaddress
import socket

from queueworker_operator.api.v1alpha1 import Redis

_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "metadata"})
_DOMAINS = (".localhost", ".localhost.localdomain", "metadata.google.internal")
_METADATA = frozenset({ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")})
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def refused_hosts(redis: Redis) -> list[str]:
    """Return a sentence for each host of the spec that is refused by what it is called; empty when all may pass."""
    hosts = [redis.host] if redis.host is not None else []
    hosts += [node.host for group in (redis.sentinel, redis.cluster) if group is not None for node in group.nodes]
    return [sentence for sentence in map(refused_host, hosts) if sentence is not None]


def refused_host(host: str) -> str | None:
    """Say why a host is refused by what it is called, or return None: then it may be resolved."""
    name = host.strip("[]").rstrip(".").lower()
    if name in _NAMES or name.endswith(_DOMAINS):
        return _sentence(host, "names this machine or the cloud's metadata service")
    address = _literal(name)
    return None if address is None else _refusal(host, address)


def refused_address(address: str) -> str | None:
    """Say why an address that a host resolved to is refused, or return None."""
    return _refusal(address, ipaddress.ip_address(address.partition("%")[0]))


def _literal(name: str) -> Address | None:
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        pass
    try:
        # 127.1, 0x7f000001 and 2130706433 are 127.0.0.1 to every resolver.
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeEncodeError):
        return None


def _refusal(host: str, address: Address) -> str | None:
    address = _carried(address)
    if address.is_loopback or address.is_unspecified:
        return _sentence(host, "is a loopback address")
    if address.is_link_local or address in _METADATA:
        return _sentence(host, "is a link-local or metadata address")
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        return _sentence(host, "is no address of one server")
    return None


def _carried(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one only wraps."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _sentence(host: str, why: str) -> str:
    return f"the Redis host {host} {why}: name the Redis as the workers reach it, a Service for example"
