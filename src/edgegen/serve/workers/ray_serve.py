"""A node whose pictures are made by a Ray Serve deployment: replicas and their number are Ray's affair, decisions are ours.

Ray sends every picture to a replica with room, replaces replicas that die, and scales between two bounds. A picture whose
replica dies is given to Ray again, from its last checkpoint where there is one and with the same seed, so it comes out the
same; it counts as failed only after `ATTEMPTS`. The optional extra `cluster`.
"""

import asyncio
import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

try:
    import ray
    import ray.exceptions
    import ray.serve
except ImportError as missing:
    from edgegen.core.errors import ConfigError

    raise ConfigError("a worker of the kind 'ray' needs Ray: pip install 'edgegen[cluster]'") from missing

from ray.serve.exceptions import RayServeException

from edgegen.config import RayWorkerSection
from edgegen.core.errors import WorkerError
from edgegen.serve.workers.errands import Errands
from edgegen.serve.workers.messages import Job, LineError, Progress, Report, decode, encode_job
from edgegen.serve.workers.protocol import AbstractWorker, JobError, OnProgress, WorkerGoneError
from edgegen.serve.workers.studio import Studio

log = structlog.get_logger(__name__)

ATTEMPTS = 4
AGAIN_S = 0.2  # before the next attempt; Ray needs a moment to notice which replicas are left
HEALTH_EVERY_S = 5.0
MISSES = 2  # looks in a row without a replica after which the node counts as lost
READY_S = 60.0  # that the start waits for replicas; a node without them is absent until they are there
NAME = "Studio"
_QUEUED = 256  # pictures that may wait in Ray; the dispatcher sends far fewer


class _Cluster:
    """The connection of this process to Ray, which its workers share."""

    def __init__(self) -> None:
        self._lock, self._users, self._mine = threading.Lock(), 0, False

    def enter(self, address: str | None) -> None:
        """Connect, or start a Ray of our own without an address, unless that was done already."""
        with self._lock:
            if not ray.is_initialized():
                ray.init(address=address, include_dashboard=False, log_to_driver=False, namespace="edgegen")
                self._mine = True
            ray.serve.start(proxy_location="Disabled")  # requests come through handles, so no port is opened
            self._users += 1

    def leave(self) -> None:
        """Disconnect with the last user, if this connected."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._mine:
                ray.shutdown()
                self._mine = False


_CLUSTER = _Cluster()


class RayWorker(AbstractWorker):
    """The gateway's end of one deployment."""

    def __init__(
        self,
        node: str,
        section: RayWorkerSection,
        *,
        models: Sequence[str] = (),
        maker: str = "builtin",
        folders: Mapping[str, str] | None = None,
    ):
        self.node = node
        self._section = section
        self._arguments = (maker, dict(folders or {}), section.side_by_side, tuple(models))
        self._app = f"edgegen-{node}-{os.getpid()}"
        self._handle: Any = None
        self._deploying: asyncio.Task[Any] | None = None
        self._entered = False
        self._gone: asyncio.Future[str] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._replicas: dict[str, int] = {}

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        self._deploying = asyncio.create_task(asyncio.to_thread(self._deploy))
        await asyncio.wait({self._deploying}, timeout=READY_S)
        if self._deploying.done():
            self._handle = self._deployed(self._deploying)
            self._gone = asyncio.get_running_loop().create_future()
        else:
            log.warning("Ray has no room for the replicas yet", node=self.node)
        self._keeper = asyncio.create_task(self._keep(on_lost, on_joined), name=f"ray {self.node}")

    async def load(self, model: str, *, pad_s: float) -> float:
        """Return after the padding: replicas bring the node's models into memory before they take work."""
        self._there()
        await asyncio.sleep(pad_s)
        return pad_s

    async def evict(self, model: str) -> None:
        del model

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        gone = self._there()
        making = asyncio.create_task(self._make(job, on_progress))
        try:
            await asyncio.wait({making, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done():
                raise WorkerGoneError(f"the replicas of node {self.node!r} are gone: {gone.result()}")
            return making.result()
        finally:
            if not making.done():
                making.cancel()
                await asyncio.wait({making})

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result("the gateway is closing")
        self._handle = None
        if self._deploying is not None:
            await asyncio.to_thread(self._withdraw)  # which ends a deploying that still waits, too
            await asyncio.wait({self._deploying}, timeout=READY_S)
            self._deploying = None

    @property
    def alive(self) -> bool:
        return self._gone is not None and not self._gone.done()

    def told(self) -> dict[str, Any]:
        return {"replicas": self._replicas} if self._replicas else {}

    # pictures

    async def _make(self, job: Job, on_progress: OnProgress) -> Report:
        latest, reason = _Latest(job, on_progress), ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(latest)
            except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError, RayServeException) as error:
                reason = type(error).__name__
                log.warning("a replica broke off", node=self.node, job=job.id, attempt=attempt, error=reason)
            except ray.exceptions.RayError as error:
                raise JobError(f"Ray could not make it: {type(error).__name__}", retry=True) from error
            await asyncio.sleep(AGAIN_S * attempt)
        raise JobError(f"its replica died {ATTEMPTS} times; the last time: {reason}", retry=True)

    async def _attempt(self, latest: "_Latest") -> Report:
        """Let a replica make a picture. What it tells goes through the same books as a process's messages."""
        orders: list[bytes] = []
        errands = Errands(self.node, orders.append)
        running = asyncio.create_task(errands.run(latest.job, latest.progress))
        response = self._handle.options(stream=True).make.remote(encode_job(latest.job))
        try:
            async for line in response:
                errands.hear(decode(line))
            if not running.done():
                await asyncio.wait({running}, timeout=1.0)
            if not running.done():
                raise JobError("a replica fell silent", retry=True)
            return running.result()
        except LineError as error:
            raise JobError(f"a replica sent what is no message: {error}", retry=True) from error
        finally:
            running.cancel()
            with contextlib.suppress(Exception):
                response.cancel()  # nothing happens to what has ended
            await asyncio.wait({running})

    # life

    def _deploy(self) -> Any:
        section = self._section
        _CLUSTER.enter(section.address)
        self._entered = True
        most, scale = section.max_replicas, {}
        if most is not None and most > section.replicas:
            scale["autoscaling_config"] = {"min_replicas": section.replicas, "max_replicas": most}
        else:
            scale["num_replicas"] = section.replicas
        deployment: Any = ray.serve.deployment(
            Studio,
            name=NAME,
            max_ongoing_requests=section.side_by_side,
            max_queued_requests=_QUEUED,
            ray_actor_options={"num_cpus": section.cpus, "num_gpus": section.gpus},
            graceful_shutdown_timeout_s=2.0,
            graceful_shutdown_wait_loop_s=0.5,
            **scale,
        )
        return ray.serve.run(deployment.bind(*self._arguments), name=self._app, route_prefix=None)

    def _deployed(self, deploying: asyncio.Task[Any]) -> Any:
        try:
            return deploying.result()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise WorkerError(f"Ray could not deploy node {self.node!r}: {reason}") from error

    def _withdraw(self) -> None:
        if not self._entered:
            return
        self._entered = False
        try:
            ray.serve.delete(self._app)
        except Exception as error:
            log.warning("the deployment could not be ended", node=self.node, error=f"{type(error).__name__}: {error}")
        _CLUSTER.leave()

    def _look(self) -> dict[str, int]:
        """Return how many replicas are in which state."""
        app = ray.serve.status().applications.get(self._app)
        deployment = app.deployments.get(NAME) if app is not None else None
        return {str(getattr(s, "value", s)): n for s, n in deployment.replica_states.items()} if deployment else {}

    async def _keep(self, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        """Look after the replicas for ever."""
        misses = 0
        if self._handle is None:
            assert self._deploying is not None
            await asyncio.wait({self._deploying})
            self._handle = self._deployed(self._deploying)
        while True:
            await asyncio.sleep(HEALTH_EVERY_S)
            try:
                self._replicas = await asyncio.to_thread(self._look)
            except Exception as error:  # whatever Ray raises: nothing can be said about the replicas
                self._replicas = {}
                log.warning("Ray does not answer", node=self.node, error=f"{type(error).__name__}: {error}")
            well = self._replicas.get("RUNNING", 0) > 0
            misses = 0 if well else misses + 1
            if self.alive and misses >= MISSES:
                assert self._gone is not None
                reason = "no replica is running"
                self._gone.set_result(reason)
                on_lost(reason)
            elif well and not self.alive:
                self._gone = asyncio.get_running_loop().create_future()
                on_joined()

    def _there(self) -> asyncio.Future[str]:
        if self._gone is None or self._gone.done():
            raise WorkerGoneError(f"node {self.node!r} has no replicas at the moment")
        return self._gone


class _Latest:
    """A job as it would be given to the next replica, and what was told about it so far."""

    def __init__(self, job: Job, on_progress: OnProgress):
        self.job, self._on_progress, self._step = job, on_progress, 0

    def progress(self, progress: Progress) -> None:
        """Tell a step once, though a picture may have to begin again."""
        if progress.checkpoint_b64 is not None:
            self.job = dataclasses.replace(self.job, checkpoint_b64=progress.checkpoint_b64)
        if progress.step > self._step:
            self._step = progress.step
            self._on_progress(progress)
