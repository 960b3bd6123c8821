"""`queueworker get` before an API server that refuses, lacks the CRD, or is not there: one line with what to do."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_process import run_here


@contextmanager
def answering(status: int, body: str) -> Iterator[int]:
    """Serve the same answer to every request on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def kubeconfig(directory: Path, server: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "alice", "user": {"token": "s3cret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "alice", "namespace": "jobs"}}],
        "current-context": "x",
    }
    file = directory / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


def refused(*arguments: str, file: Path) -> str:
    done = run_here(None, *arguments, "--kubeconfig", str(file))
    assert (done.returncode, done.stdout) == (5, "")
    [line] = done.stderr.splitlines()
    assert "s3cret" not in line
    return line


def test_a_token_that_is_not_accepted_is_the_users_in_the_kubeconfig(tmp_path: Path) -> None:
    status = {"kind": "Status", "message": "Unauthorized", "code": 401}
    with answering(401, json.dumps(status)) as port:
        file = kubeconfig(tmp_path, f"http://127.0.0.1:{port}")
        line = refused("get", file=file)
    assert line == (
        "error: cannot list the QueueWorkers in jobs: Unauthorized: the credentials are not accepted; "
        f"check the token or certificate of the user alice in {file}"
    )


@pytest.mark.parametrize(
    "said",
    [
        "404 page not found\n",
        '{"kind": "Status", "message": "the server could not find the requested resource", "code": 404}',
    ],
)
@pytest.mark.parametrize(("arguments", "attempt"), [(["get"], "list the QueueWorkers in jobs"), (["why", "mail"], "")])
def test_where_the_crd_is_not_installed_it_is_said_how_to(
    said: str, arguments: list[str], attempt: str, tmp_path: Path
) -> None:
    with answering(404, said) as port:
        line = refused(*arguments, file=kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
    assert line.startswith(f"error: cannot {attempt}")
    assert line.endswith(": the CRD is not installed: queueworker crd | kubectl apply -f -")


def test_a_queueworker_that_is_not_there_is_no_missing_crd(tmp_path: Path) -> None:
    said = 'queueworkers.queueworker.dev "mail" not found'
    with answering(404, json.dumps({"kind": "Status", "message": said, "code": 404})) as port:
        file = kubeconfig(tmp_path, f"http://127.0.0.1:{port}")
        done = run_here(None, "get", "mail", "--kubeconfig", str(file))
    assert (done.returncode, done.stderr) == (3, f"error: cannot read the QueueWorker jobs/mail: {said}\n")


def test_a_cluster_that_is_down_is_named_by_its_address(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = refused("get", file=kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
    assert line == (
        f"error: cannot list the QueueWorkers in jobs: the API server at 127.0.0.1:{port} is not reachable "
        "(Connection refused): is it up, and is this its address?"
    )


def test_a_port_that_speaks_no_tls_is_told(tmp_path: Path) -> None:
    with answering(200, "{}") as port:
        line = refused("get", file=kubeconfig(tmp_path, f"https://127.0.0.1:{port}"))
    assert "TLS to the API server failed (" in line, line
    assert ssl.SSLError.__name__ not in line
