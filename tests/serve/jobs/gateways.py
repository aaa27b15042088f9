"""Gateways that keep jobs, with workers inside of this process that give and take checkpoints."""

import base64
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from edgegen.config import Config
from edgegen.serve.assembly import Gateway
from edgegen.serve.compose import Maker, compose
from edgegen.serve.run import Live, in_thread
from edgegen.serve.storage.blobs import Blobs
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.place import Storage
from edgegen.serve.workers.instant import InstantWorker
from edgegen.serve.workers.messages import Job, Progress, Report
from edgegen.serve.workers.protocol import ReleasedError
from serve.conftest import measured_fleet, slow, small_config

BODY = {"prompt": "a red circle", "edgegen": {"steps": 16, "nodes": ["edge-1"], "models": ["shapes-s"]}}
ENDED = ("done", "refused", "failed", "cancelled")


class KeepingWorker(InstantWorker):
    """Its checkpoint says which picture after which step; going on from one, it makes only the steps that are left."""

    def __init__(self, node: str, seen: list[tuple[str, int]]):
        super().__init__(node)
        self._seen = seen  # picture, and the step from which it was begun

    async def run(self, job: Job, on_progress: Callable[[Progress], None]) -> Report:
        done = 0
        if job.checkpoint_b64:
            name, done = json.loads(base64.b64decode(job.checkpoint_b64))
            assert name == job.id, "a checkpoint of another picture"
        self._seen.append((job.id, done))

        def told(progress: Progress) -> None:
            step = progress.step + done
            kept = base64.b64encode(json.dumps([job.id, step]).encode()).decode()
            every = job.keep_every and step % job.keep_every == 0
            on_progress(
                dataclasses.replace(progress, step=step, steps=job.steps, checkpoint_b64=kept if every else None)
            )

        try:
            return await super().run(dataclasses.replace(job, steps=job.steps - done), told)
        except ReleasedError as given:
            step = given.step + done
            kept = base64.b64encode(json.dumps([job.id, step]).encode()).decode() if step else None
            raise ReleasedError(step, kept) from None


@dataclasses.dataclass
class Place:
    """A database and a folder, for one gateway after the other."""

    url: str
    folder: Path
    seen: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def gateway(
        self,
        *,
        config: Config | None = None,
        step_s: float = 0.001,
        keeping: bool = True,
        maker: Maker = "inside",
        **jobs,
    ) -> Gateway:
        """Return a gateway on this place; `jobs` are fields of that section."""
        chosen = config or small_config()
        section = chosen.jobs.model_copy(update={"lease": 1.0, **jobs})
        chosen = chosen.model_copy(update={"jobs": section})
        storage = Storage(Database(self.url), Blobs(str(self.folder)), 3600.0)
        gateway = compose(chosen, slow(measured_fleet(chosen), step_s), maker=maker, storage=storage)
        if keeping:
            workers = gateway.runtime.roads.workers
            workers.update({name: KeepingWorker(name, self.seen) for name in workers})
        return gateway

    @contextmanager
    def serving(self, **options) -> Iterator[httpx.Client]:
        """Serve from this place and return a client."""
        with in_thread(lambda: self.gateway(**options)) as live, client_of(live) as client:
            yield client


def client_of(live: Live) -> httpx.Client:
    return httpx.Client(base_url=live.url, timeout=20)


def accepted(client: httpx.Client, body: dict, key: str | None = None) -> dict:
    answer = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 202, answer.text
    return answer.json()


def ended(client: httpx.Client, job_id: str, *, seconds: float = 15.0) -> dict:
    """Wait until a job has ended and return it."""
    return until(client, job_id, lambda job: job["status"] in ENDED, seconds=seconds)


def until(client: httpx.Client, job_id: str, condition: Callable[[dict], bool], *, seconds: float = 15.0) -> dict:
    until_s = time.monotonic() + seconds
    while not condition(job := client.get(f"/v1/jobs/{job_id}").json()):
        assert time.monotonic() < until_s, f"it did not happen in time: {job}"
        time.sleep(0.02)
    return job


def story(client: httpx.Client, job_id: str, after: int | None = None) -> list[tuple[int, str, dict]]:
    """Return the events of a job until its end: number, kind, data."""
    headers = {"Last-Event-ID": str(after)} if after is not None else {}
    text = client.get(f"/v1/jobs/{job_id}/events", headers=headers).text.replace("\r\n", "\n")
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found
