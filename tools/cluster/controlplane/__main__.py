"""`python -m controlplane build|up|down`: what the make targets call."""

from __future__ import annotations

import argparse
import sys

from controlplane.background import Home, down, serve, up
from controlplane.binary import build
from controlplane.errors import ClusterError

_HOW_TO = """\
The control plane is ready. It has no node: pods stay Pending until you start one (see tools/cluster/README.md).

  export KUBECONFIG={kubeconfig}
  {kubectl} get namespaces

`make cluster-down` ends it and removes its data."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors are one message on stderr and status 1."""
    parser = argparse.ArgumentParser(prog="controlplane", description="A Kubernetes control plane on this host.")
    parser.add_argument("command", choices=["build", "up", "down", "serve"], help="serve: up, in the foreground")
    try:
        run(parser.parse_args(arguments).command)
    except ClusterError as error:
        print(f"controlplane: {error}", file=sys.stderr)
        return 1
    return 0


def run(command: str) -> None:
    """Run one command and print its result."""
    home = Home.default()
    match command:
        case "build":
            print(build())
        case "up":
            up(home)
            print(_HOW_TO.format(kubeconfig=home.kubeconfig, kubectl=home.kubectl))
        case "down":
            print("The control plane is gone." if down(home) else "No control plane was running.")
        case "serve":
            serve(home)


if __name__ == "__main__":
    sys.exit(main())
