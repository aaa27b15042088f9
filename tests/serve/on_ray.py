"""A Ray of two nodes on this machine, a deployment on it, and what is to hold, in a process of its own: Ray forks.

Writes one JSON object to the file that it is given: what was seen.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import ray
import ray.exceptions
from ray.cluster_utils import Cluster
from ray.util import list_named_actors

from edgegen.config import RayWorkerSection
from edgegen.serve.workers import checks
from edgegen.serve.workers.messages import Job, Pace, Report
from edgegen.serve.workers.protocol import AbstractWorker, OnProgress
from edgegen.serve.workers.ray_serve import RayWorker

REPLICAS = 2


def replicas() -> list[dict]:
    """Return the replicas that are alive, with their process and their node."""
    found = [actor for actor in list_named_actors(all_namespaces=True) if actor["name"].startswith("SERVE_REPLICA")]
    asked = [
        ray.get_actor(actor["name"], namespace=actor["namespace"]).__ray_call__.remote(whereabouts) for actor in found
    ]
    alive = []
    for answer in asked:
        with contextlib.suppress(ray.exceptions.RayError):  # of one that was killed a moment ago
            alive.append(ray.get(answer, timeout=20))
    return alive


def whereabouts(actor) -> dict:
    """Tell where an actor lives; runs inside of it."""
    del actor
    return {"pid": os.getpid(), "node": ray.get_runtime_context().get_node_id()}


async def killed_mid_picture(worker: RayWorker) -> dict:
    """Kill the node's replicas one after the other while a picture is made, until the busy one was among them."""
    seen: list[int] = []
    begun = asyncio.Event()

    def notice(progress) -> None:
        seen.append(progress.step)
        begun.set()

    idle = await worker.run(checks.job("before", seed=5), lambda progress: None)
    victims = [replica["pid"] for replica in replicas()]
    job = checks.job("killed", steps=60, seed=5, pace=Pace(step_s=0.03))
    running = asyncio.create_task(worker.run(job, notice))
    await begun.wait()
    began_s = time.monotonic()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    at = seen[-1]
    report = await running
    return {
        "killed_at": at,
        "victims": len(victims),
        "steps": seen,
        "same": report.png_b64 == idle.png_b64,
        "took_s": time.monotonic() - began_s,
        "alive": worker.alive,
        "replaced": not {replica["pid"] for replica in replicas()} & set(victims),
    }


class Shared(AbstractWorker):
    """A deployment that stays for the next check: to deploy takes seconds, and most checks are about what comes then."""

    def __init__(self, worker: RayWorker):
        self.node, self.abilities, self._worker, self._open = worker.node, worker.abilities, worker, False

    async def open(self, *, on_lost, on_joined) -> None:
        del on_lost, on_joined
        self._open = True

    async def load(self, model: str, *, pad_s: float) -> float:
        return await self._worker.load(model, pad_s=pad_s)

    async def evict(self, model: str) -> None:
        await self._worker.evict(model)

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        return await self._worker.run(job, on_progress)

    def retarget(self, job_id: str, steps: int) -> None:
        self._worker.retarget(job_id, steps)

    def release(self, job_id: str) -> None:
        self._worker.release(job_id)

    async def close(self) -> None:
        self._open = False

    @property
    def alive(self) -> bool:
        return self._open and self._worker.alive


async def main() -> dict:
    section = RayWorkerSection(kind="ray", replicas=REPLICAS, cpus=1.0)
    told: dict = {"checks": []}

    def make() -> RayWorker:
        return RayWorker("ray", section, models=("shapes-s",), maker="instant")

    worker = make()
    lost: list[str] = []
    await worker.open(on_lost=lost.append, on_joined=lambda: None)
    told["nodes"] = len({replica["node"] for replica in replicas()})
    for check in checks.CHECKS:
        if check is not checks.refuses_when_closed:
            await check(lambda: Shared(worker))
            told["checks"].append(check.__name__)
    told["killed"] = await killed_mid_picture(worker)
    told["lost"] = lost
    await worker.close()
    await checks.refuses_when_closed(make)
    told["checks"].append(checks.refuses_when_closed.__name__)
    return told


if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, namespace="edgegen")
    try:
        Path(sys.argv[1]).write_text(json.dumps(asyncio.run(main())))
    finally:
        ray.shutdown()
        cluster.shutdown()
