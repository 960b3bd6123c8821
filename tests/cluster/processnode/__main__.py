"""`python -m processnode`: run a node agent until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from controlplane import Access, ClusterError, read_own_kubeconfig
from controlplane.toolchain import cache_directory
from processnode.agent import Agent, end_with_parent
from processnode.client import Client
from processnode.mountpoints import MountPoints
from processnode.pod import Node
from processnode.process import Host

logger = logging.getLogger("processnode")


def main() -> int:
    """Parse the flags and run; a kubeconfig of a foreign cluster is refused."""
    options = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        access = read_own_kubeconfig(options.kubeconfig)
    except ClusterError as error:
        print(f"processnode: {error}", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        try:
            directory = working_directory(options.directory, stack)
        except OSError as error:
            print(f"processnode: --directory {options.directory}: {error.strerror}; name another", file=sys.stderr)
            return 2
        asyncio.run(serve(options, access, directory))
    return 0


def working_directory(wanted: Path | None, stack: ExitStack) -> Path:
    """Return the directory for logs and volumes, made if need be; a temporary one goes with the stack."""
    if wanted is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="queueworker-node-")))
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the flags."""
    parser = argparse.ArgumentParser(prog="processnode", description="A Kubernetes node that runs pods as processes.")
    parser.add_argument("--kubeconfig", type=Path, default=os.environ.get("KUBECONFIG", "kubeconfig"))
    parser.add_argument("--name", default="process-node")
    parser.add_argument(
        "--directory", type=Path, help="where logs and volumes go, made if need be; default: a temporary one"
    )
    parser.add_argument("--backoff", type=float, nargs=2, default=(0.5, 10.0), metavar=("FIRST", "LONGEST"))
    parser.add_argument("--parent", type=int, help="end when this process is no longer the parent")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace, access: Access, directory: Path) -> None:
    """Run the agent until a signal or the parent's end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Client(access) as client:
        agent = Agent(options.name, node(options, access, directory, client))
        running = asyncio.create_task(agent.run(lambda: announce(options.name, directory)))
        ends = [running, asyncio.create_task(stop.wait())]
        if options.parent:
            ends.append(asyncio.create_task(end_with_parent(options.parent)))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def node(options: argparse.Namespace, access: Access, directory: Path, client: Client) -> Node:
    """Return what the pods of this agent share."""
    server = urlsplit(access.server)
    port = str(server.port)
    return Node(
        client=client,
        host=Host(
            [Path(sys.prefix), Path(sys.base_prefix), Path.cwd(), directory.resolve()],
            MountPoints(cache_directory() / "mount-points"),
        ),
        directory=directory.resolve(),
        base_environment={
            # The interpreter of the tests comes first: `python` in a pod is the one with the locked packages.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "KUBERNETES_SERVICE_HOST": str(server.hostname),
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
        },
        backoff_seconds=tuple(options.backoff),
    )


def announce(name: str, directory: Path) -> None:
    """Say that pods can come, on the log and for those who wait for the file."""
    logger.info("node %s is ready; logs and volumes: %s", name, directory)
    (directory / "ready").touch()


if __name__ == "__main__":
    sys.exit(main())
