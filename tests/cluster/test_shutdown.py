"""The end of the operator: it keeps nobody waiting, from its first request on."""

import asyncio
import http.client
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import aiohttp
import pytest
import yaml
from acceptance import OperatorProcess, Story, running_operator
from adapter_server import serving
from aiohttp import web
from stalls import Stalls

from controlplane.plane import ControlPlane
from queueworker.settings import ConnectionSettings

LEFT_SECONDS = 5.0
"""kopf gives as much to tasks that do not end by themselves, so no end in less has any."""


def test_a_scraper_that_stays_connected_does_not_hold_up_the_end(control_plane, crd, namespace, stalls):
    with (
        running_operator(control_plane, namespace) as operator,
        closing(http.client.HTTPConnection("127.0.0.1", operator.port, timeout=30)) as scraper,
    ):
        scraper.request("GET", "/metrics")
        answer = scraper.getresponse()
        assert b"process_cpu_seconds_total" in answer.read()
        assert not answer.will_close
        told_at = time.monotonic()
        operator.stop()
        assert taken(told_at, stalls) < LEFT_SECONDS, operator.log.read_text()[-4000:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_the_server_does_not_answer_the_first_request(control_plane, namespace, number, stalls):
    operator = OperatorProcess(control_plane, namespace)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        config = yaml.safe_load(operator.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        operator.kubeconfig.write_text(yaml.safe_dump(config))
        operator.start(ready=False)
        with silent.accept()[0]:
            _ends_on(operator, number, stalls)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_the_first_decisions_wait_for_redis(control_plane, crd, namespace, number, stalls):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        redis = ConnectionSettings(host="127.0.0.1", port=silent.getsockname()[1])
        with closing(Story(control_plane, namespace, "silent", redis)) as story:
            story.apply()
        operator = OperatorProcess(control_plane, namespace)
        operator.start(ready=False)
        with silent.accept()[0]:
            _ends_on(operator, number, stalls)


async def test_while_kopf_asks_what_kinds_there_are(control_plane, crd, namespace, tmp_path, stalls):
    operator, asked = OperatorProcess(control_plane, namespace), asyncio.Event()
    async with _session(control_plane, operator) as session:

        async def held(request: web.Request) -> web.StreamResponse:
            if request.path == "/apis/apps/v1":
                asked.set()
                await asyncio.Event().wait()
            async with session.get(request.path_qs) as answer:
                return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)

        async with serving(held, tmp_path) as operator.kubeconfig:
            operator.start(ready=False)
            await asyncio.wait_for(asked.wait(), timeout=60)
            await asyncio.to_thread(_ends_on, operator, signal.SIGTERM, stalls)


def taken(told_at: float, stalls: Stalls) -> float:
    """Return how long it took since then, without what the machine kept.

    That is 1 s at most where five processes share a core, so a machine that is busy breaks no bound here.
    """
    return time.monotonic() - told_at - stalls.since(told_at)


@asynccontextmanager
async def _session(plane: ControlPlane, operator: OperatorProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session on the real server with the rights of an operator."""
    token = yaml.safe_load(operator.kubeconfig.read_text())["users"][0]["user"]["token"]
    tls = ssl.create_default_context(cafile=str(plane.access.ca_file))
    async with aiohttp.ClientSession(
        plane.access.server,
        connector=aiohttp.TCPConnector(ssl=tls),
        headers={"Authorization": f"Bearer {token}"},
    ) as session:
        yield session


def _ends_on(operator: OperatorProcess, number: signal.Signals, stalls: Stalls) -> None:
    assert operator.process is not None
    told_at = time.monotonic()
    operator.process.send_signal(number)
    code = operator.ends()
    seconds = taken(told_at, stalls)
    log = operator.log.read_text()
    operator.log.unlink()
    assert code == 0, log[-4000:]
    assert seconds < LEFT_SECONDS, log[-4000:]
    assert "Traceback" not in log
