"""One container: started, probed, restarted by policy with back-off, stopped; its state at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from processnode.client import Object
from processnode.environment import ConfigError
from processnode.probes import Probe
from processnode.process import Host, Launch, Process
from processnode.status import timestamp

_RETRY_SECONDS = 0.5
_GLANCE_SECONDS = 0.1

Prepare = Callable[[Object], Awaitable[Launch]]


class Container:
    """Runs one container of a pod. `changed` is called after each change of what `status` returns.

    The first restart comes at once, the next after `backoff_seconds[0]`, doubling up to `backoff_seconds[1]`.
    """

    def __init__(
        self,
        spec: Object,
        *,
        ip: str,
        restart_policy: str,
        host: Host,
        prepare: Prepare,
        changed: Callable[[], None],
        grace_seconds: float,
        backoff_seconds: tuple[float, float],
    ) -> None:
        self.spec = spec
        self.ended = False
        self.restart_policy = restart_policy
        self._ip = ip
        self._host = host
        self._prepare = prepare
        self._changed = changed
        self._grace = grace_seconds
        self._first_backoff, self._longest_backoff = backoff_seconds
        self._state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: Object = {}
        self._restarts = 0
        self._ready = self._started = False
        self._process: Process | None = None
        self._launch: Launch | None = None
        self._ending: asyncio.Task[None] | None = None
        self._deadline: Callable[[], float] = lambda: 0.0
        self._stopping = asyncio.Event()
        self._unhealthy = asyncio.Event()

    @property
    def exit_code(self) -> int | None:
        """The status of the last end, None while it runs or waits."""
        code = self._state.get("terminated", {}).get("exitCode")
        return None if code is None else int(code)

    def status(self) -> Object:
        """Return the containerStatuses entry."""
        image = self.spec["image"]
        return {
            "name": self.spec["name"],
            "image": image,
            "imageID": f"process://{image}",
            **({"containerID": f"process://{self._process.pid}"} if self._process else {}),
            "state": self._state,
            "lastState": self._last_state,
            "ready": self._ready,
            "started": self._started,
            "restartCount": self._restarts,
        }

    def wait_for(self, reason: str, message: str = "") -> None:
        """Say why the container has not started."""
        self._state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self._changed()

    async def run(self) -> None:
        """Run until the container has ended for good."""
        while not self._stopping.is_set():
            if (process := await self._start()) is not None:
                await self._live(process)
                if not self._restarts_after(self.exit_code):
                    break
                await self._back_off()
        self.ended = True
        self._changed()

    async def stop(self, *, deadline: Callable[[], float]) -> None:
        """Ask the process to end; kill it at the deadline (loop time), which may come nearer meanwhile."""
        self._deadline = deadline
        self._stopping.set()
        if self._process is not None:
            await end(self._process, deadline=deadline)

    def _restarts_after(self, code: int | None) -> bool:
        if self._stopping.is_set() or self.restart_policy == "Never":
            return False
        return self.restart_policy == "Always" or code != 0

    async def _start(self) -> Process | None:
        try:
            self._launch = await self._prepare(self.spec)
            if self._stopping.is_set():
                return None
            self._process = await self._host.start(self._launch)
        except (ConfigError, OSError) as error:
            reason = error.reason if isinstance(error, ConfigError) else "RunContainerError"
            self.wait_for(reason, str(error))
            await self._pause(_RETRY_SECONDS)
            return None
        if self._stopping.is_set():
            # `stop` came while the process was being started and found none to end.
            self._ending = asyncio.create_task(end(self._process, deadline=self._deadline))
        self._unhealthy.clear()
        self._started = "startupProbe" not in self.spec
        self._ready = self._started and "readinessProbe" not in self.spec
        self._state = {"running": {"startedAt": timestamp(datetime.now(UTC))}}
        self._changed()
        return self._process

    async def _live(self, process: Process) -> None:
        started_at = self._state["running"]["startedAt"]
        probing = asyncio.create_task(self._probe(process))
        killing = asyncio.create_task(self._kill_when_unhealthy(process))
        try:
            code = await asyncio.shield(process.exited)
        finally:
            for task in (probing, killing):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._ready = self._started = False
        terminated = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": started_at,
            "finishedAt": timestamp(datetime.now(UTC)),
            "containerID": f"process://{process.pid}",
        }
        if code > 128:
            terminated["signal"] = code - 128
        self._state = {"terminated": terminated}
        self._changed()

    async def _back_off(self) -> None:
        self._last_state, seconds = self._state, 0.0
        if self._restarts:
            seconds = min(self._first_backoff * 2 ** (self._restarts - 1), self._longest_backoff)
            self.wait_for("CrashLoopBackOff", f"back-off {seconds:g}s restarting failed container={self.spec['name']}")
        await self._pause(seconds)
        if self._stopping.is_set():
            self._state = self._last_state
        else:
            self._restarts += 1

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _probe(self, process: Process) -> None:
        async def execute(command: list[str], timeout: float) -> bool:
            assert self._launch is not None
            return await process.execute(command, self._launch.environment, timeout) == 0

        if "startupProbe" in self.spec:
            await self._await_startup(execute)
        async with asyncio.TaskGroup() as group:
            for name, report in (("readinessProbe", self._set_ready), ("livenessProbe", self._set_alive)):
                if name in self.spec:
                    group.create_task(self._probe_of(name).outcomes(execute, report))

    async def _await_startup(self, execute: Callable[[list[str], float], Awaitable[bool]]) -> None:
        passed = asyncio.Event()

        def report(success: bool) -> None:
            passed.set() if success else self._unhealthy.set()

        probing = asyncio.create_task(self._probe_of("startupProbe").outcomes(execute, report))
        try:
            await passed.wait()
        finally:
            probing.cancel()
        self._started = True
        self._set_ready("readinessProbe" not in self.spec)
        self._changed()

    def _probe_of(self, name: str) -> Probe:
        return Probe(spec=self.spec[name], container=self.spec, ip=self._ip)

    def _set_ready(self, ready: bool) -> None:
        if ready != self._ready:
            self._ready = ready
            self._changed()

    def _set_alive(self, alive: bool) -> None:
        if not alive:
            self._unhealthy.set()

    async def _kill_when_unhealthy(self, process: Process) -> None:
        await self._unhealthy.wait()
        failed = self.spec["livenessProbe" if self._started else "startupProbe"]
        grace = float(failed.get("terminationGracePeriodSeconds", self._grace))
        until = asyncio.get_running_loop().time() + grace
        await end(process, deadline=lambda: until)


async def end(process: Process, *, deadline: Callable[[], float]) -> None:
    """Send SIGTERM, wait until the deadline (loop time, asked again and again), then SIGKILL; wait for the end."""
    loop = asyncio.get_running_loop()
    if not process.exited.done():
        process.terminate()
    while not process.exited.done() and (left := deadline() - loop.time()) > 0:
        await asyncio.wait({process.exited}, timeout=min(left, _GLANCE_SECONDS))
    process.kill()
    await process.exited
