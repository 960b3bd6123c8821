"""Probes: when to ask, whom to ask, and what an answer changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from processnode.client import Object
from processnode.environment import ConfigError

logger = logging.getLogger(__name__)

Execute = Callable[[list[str], float], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of a container with Kubernetes' defaults filled in by the API server."""

    spec: Object
    container: Object
    ip: str

    async def outcomes(self, execute: Execute, report: Callable[[bool], None]) -> None:
        """Ask for ever; report True or False each time that the threshold of successes or failures is reached."""
        successes = failures = 0
        await asyncio.sleep(self.spec.get("initialDelaySeconds", 0))
        while True:
            if await self._ask(execute):
                successes, failures = successes + 1, 0
            else:
                successes, failures = 0, failures + 1
            if successes >= self.spec.get("successThreshold", 1):
                report(True)
            elif failures >= self.spec.get("failureThreshold", 3):
                report(False)
            await asyncio.sleep(self.spec.get("periodSeconds", 10))

    async def _ask(self, execute: Execute) -> bool:
        timeout = float(self.spec.get("timeoutSeconds", 1))
        if "exec" in self.spec:
            return await execute(self.spec["exec"]["command"], timeout)
        try:
            async with asyncio.timeout(timeout):
                if "httpGet" in self.spec:
                    return await self._http(self.spec["httpGet"])
                _, writer = await asyncio.open_connection(*self._address(self.spec["tcpSocket"]))
                writer.close()
                return True
        except (OSError, TimeoutError, aiohttp.ClientError):
            return False
        except ConfigError as error:
            logger.warning("%s", error)
            return False

    async def _http(self, action: Object) -> bool:
        host, port = self._address(action)
        url = f"{action.get('scheme', 'HTTP').lower()}://{host}:{port}{action.get('path', '/')}"
        headers = {header["name"]: header["value"] for header in action.get("httpHeaders", [])}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(url, ssl=False, allow_redirects=False) as response,
        ):
            return 200 <= response.status < 400

    def _address(self, action: Object) -> tuple[str, int]:
        return action.get("host") or self.ip, port_number(action["port"], self.container)


def port_number(port: int | str, container: Object) -> int:
    """Return a port by its number or by its name in the container's list."""
    if isinstance(port, int):
        return port
    for declared in container.get("ports", []):
        if declared.get("name") == port:
            return int(declared["containerPort"])
    return int(port) if port.isdigit() else _no_such_port(port, container)


def _no_such_port(port: str, container: Object) -> int:
    raise ConfigError(f"probe: container {container['name']} has no port named {port!r}")
